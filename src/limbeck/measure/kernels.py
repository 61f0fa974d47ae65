"""The pieces that a network's latency is the sum of: whole fused blocks and the head, each as data and as a module.

A runtime fuses a convolution with its norm and activation, and keeps a block's maps in cache: so a block is timed as one
piece, never operator by operator. Not here: timing them (a callable's business), tables of latencies (`latency_table`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.files import fingerprint
from limbeck.models import Head, Row, Table
from limbeck.models.blocks import build_block
from limbeck.models.costs import BlockPlan, block_cost, head_costs
from limbeck.models.network import Head as HeadModule
from limbeck.models.rows import from_mapping

__all__ = ["Kernel", "kernel_features", "kernel_module", "kernels_of"]

NUMBERS = (
    "entering",
    "inside",
    "leaving",
    "squeezed",
    "pixels_in",
    "pixels_out",
    "dense",
    "depthwise",
    "weights",
    "maps",
)
KINDS = ("conv", "separable", "inverted", "fused", "head")
ACTIVATIONS = ("relu", "relu6", "hard_swish", "silu", "identity")


@dataclass(frozen=True)
class Kernel:
    """A fused block or a head, at the size at which it works.

    Attributes:
        height, width: of the map that enters, in pixels.
        plan: the block; None for a head.
        head: the head; None for a block.
        channels: entering a head; 0 for a block.
        num_classes: of a head; 0 for a block.
        padding, se_gate, se_activation, dims: as in `Table`; plain where they make no difference to this piece.
    """

    height: int
    width: int
    plan: BlockPlan | None = None
    head: Head | None = None
    channels: int = 0
    num_classes: int = 0
    padding: str = "symmetric"
    se_gate: str = "sigmoid"
    se_activation: str = "relu"
    dims: int = 2

    @property
    def entering(self) -> int:
        """Channels of the map that enters."""
        return self.channels if self.plan is None else self.plan.in_channels

    @property
    def key(self) -> str:
        """Equal for equal pieces."""
        return fingerprint(asdict(self))

    @property
    def kind(self) -> str:
        """The block's name, or `head`."""
        return "head" if self.plan is None else self.plan.block

    def describe(self) -> str:
        """Such as `inverted k5 s2 24-72-40 at 56x56`."""
        place = f"at {self.height}x{self.width}"
        if self.plan is None:
            assert self.head is not None
            several = [self.channels, self.head.conv_channels, self.head.feature_channels, self.num_classes]
            return f"head {'-'.join(str(width) for width in several if width)} {place}"
        plan = self.plan
        widths = f"{plan.in_channels}-{plan.hidden_channels}-{plan.out_channels}"
        squeeze = f" se{plan.squeeze_channels}" if plan.squeeze_channels else ""
        return f"{plan.block} k{plan.kernel_size} s{plan.stride} {widths}{squeeze} {plan.activation} {place}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, *, where: str) -> Kernel:
        """Read what `to_json` wrote.

        Raises:
            InputError: a key is unknown or missing.
        """
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected an object with the fields of a kernel")
        known = dict(value)
        for name, kind in (("plan", BlockPlan), ("head", Head)):
            if known.get(name) is not None:
                known[name] = from_mapping(kind, known[name], f"{where}.{name}")
        kernel: Kernel = from_mapping(cls, known, where)
        return kernel


def kernels_of(table: Table) -> list[Kernel]:
    """The pieces of a network in order: stem, blocks, head."""
    (height, width), found = table.input_size, []
    for plans in table.blocks():
        for plan in plans:
            has_gate = plan.squeeze_channels > 0
            kernel = Kernel(height, width, plan, dims=table.dims)
            if table.padding == "same" and plan.stride > 1:
                kernel = replace(kernel, padding="same")
            if has_gate:
                act = plan.activation if table.se_activation == "block" else table.se_activation
                kernel = replace(kernel, se_gate=table.se_gate, se_activation=act)
            found.append(kernel)
            cost = block_cost(plan, height, width, table.dims)
            height, width = cost.height, cost.width
    channels = table.rows[-1].out_channels
    plain = replace(table.head, conv_scaling="fixed", feature_scaling="fixed")  # what a width multiplier would do
    head = Kernel(height, width, head=plain, channels=channels, num_classes=table.num_classes, dims=table.dims)
    return [*found, head]


def kernel_module(kernel: Kernel) -> nn.Module:
    """The piece as a module with fresh weights: [N, C, H, W] in; a map, or logits [N, K], out."""
    conventions = Table(
        name="kernel",
        stem=Row("conv", 8),
        rows=(Row("conv", kernel.channels or 8),),
        head=kernel.head or Head(),
        num_classes=kernel.num_classes or 1,
        input_size=(kernel.height, kernel.width),
        padding=kernel.padding,
        se_gate=kernel.se_gate,
        se_activation=kernel.se_activation,
        dims=kernel.dims,
    )
    return build_block(kernel.plan, conventions) if kernel.plan is not None else _HeadPiece(conventions)


class _HeadPiece(nn.Module):
    def __init__(self, conventions: Table) -> None:
        super().__init__()
        self.head = HeadModule(conventions)
        self.classifier = nn.Linear(self.head.out_channels, conventions.num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, K]."""
        x = inputs if self.head.conv is None else self.head.conv(inputs)
        return self.classifier(self.head.pool(x))


def kernel_features(kernel: Kernel) -> dict[str, float]:
    """What a predictor sees of a piece: widths, sizes, multiply-accumulates of each kind, weights, memory moved; by name.

    Counts are logarithms (of 1 + count), so that a distance is a ratio; choices are 0 or 1.
    """
    counts, flags = (_of_head(kernel), {}) if kernel.plan is None else _of_block(kernel, kernel.plan)
    features = {name: math.log1p(counts.get(name, 0.0)) for name in NUMBERS}
    features |= {f"is_{kind}": float(kernel.kind == kind) for kind in KINDS}
    features |= {"kernel_size": 0.0, "start_kernel_size": 0.0, "stride": 1.0, "has_skip": 0.0, "has_squeeze": 0.0}
    activation = kernel.plan.activation if kernel.plan is not None else kernel.head.activation if kernel.head else ""
    features |= {f"does_{name}": float(activation == name) for name in ACTIVATIONS}
    return features | flags


def _of_block(kernel: Kernel, plan: BlockPlan) -> tuple[dict[str, float], dict[str, float]]:
    cost = block_cost(plan, kernel.height, kernel.width, kernel.dims)
    before, after = kernel.height * kernel.width, cost.height * cost.width
    taps = plan.kernel_size if kernel.dims == 1 else plan.kernel_size**2
    start = plan.start_kernel_size if kernel.dims == 1 else plan.start_kernel_size**2
    depthwise = start * plan.in_channels * before
    if plan.block in ("inverted", "separable"):
        depthwise += taps * plan.hidden_channels * after
    inner = plan.hidden_channels * (before + after) if plan.expands else 0
    counts = {
        "entering": plan.in_channels,
        "inside": plan.hidden_channels,
        "leaving": plan.out_channels,
        "squeezed": plan.squeeze_channels,
        "pixels_in": before,
        "pixels_out": after,
        "dense": cost.macs - depthwise,
        "depthwise": depthwise,
        "weights": cost.params,
        "maps": plan.in_channels * before + inner + plan.out_channels * after,
    }
    flags = {
        "kernel_size": float(plan.kernel_size),
        "start_kernel_size": float(plan.start_kernel_size),
        "stride": float(plan.stride),
        "has_skip": float(plan.skip != "none"),
        "has_squeeze": float(plan.squeeze_channels > 0),
    }
    return {name: float(count) for name, count in counts.items()}, flags


def _of_head(kernel: Kernel) -> dict[str, float]:
    head = kernel.head
    assert head is not None
    parts = head_costs(
        kernel.channels,
        head.conv_channels,
        head.feature_channels,
        head.feature_bias,
        head.feature_norm,
        kernel.num_classes,
        kernel.height,
        kernel.width,
    ).values()
    pixels = kernel.height * kernel.width
    counts = {
        "entering": kernel.channels,
        "inside": head.conv_channels or 0,
        "leaving": kernel.num_classes,
        "squeezed": head.feature_channels or 0,
        "pixels_in": pixels,
        "pixels_out": 1,
        "dense": sum(part.macs for part in parts),
        "weights": sum(part.params for part in parts),
        "maps": (kernel.channels + (head.conv_channels or 0)) * pixels,
    }
    return {name: float(count) for name, count in counts.items()}
