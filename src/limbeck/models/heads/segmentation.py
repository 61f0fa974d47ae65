"""Segmentation networks: a backbone with the head LR-ASPP (MobileNetV3) or R-ASPP (MobileNetV2). Not here: names, loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.blocks import ACTIVATION_MODULES, ConvNorm, initialise
from limbeck.models.heads.backbone import DenseNetwork, tap_shape
from limbeck.models.rows import CHOICES, check_choice, check_count, check_flag, check_number
from limbeck.models.table import Table
from limbeck.types import Outputs

__all__ = ["LiteReducedAspp", "ReducedAspp", "SegmentationDesign", "SegmentationNetwork", "enlarge", "low_tap"]

HEADS = ("lraspp", "raspp")


@dataclass(frozen=True)
class SegmentationDesign:
    """A segmentation head as data; the defaults are the paper's LR-ASPP on a map of stride 16.

    Attributes:
        head: `lraspp` or `raspp`.
        filters: channels inside.
        low: name of the backbone's finer map that `lraspp` reads (`heads.backbone.tap_names`); unused by `raspp`.
        pool_window: (height, width) of the averages that gate `lraspp`, at most the map; None = of the whole map.
        pool_stride: of these windows.
        gate: `hard_sigmoid` or `sigmoid`.
        gate_bias: whether the gate's convolution has a bias.
        align_corners: whether corners of maps coincide with corners of what they are enlarged to.
        classify_first: whether `lraspp` classifies the coarse map and enlarges the scores, which is the same function (a
            1x1 convolution and an interpolation commute) at a fraction of the work; the papers' counts are without.
        bn_eps: of the head's norms.
        dropout: probability before the classifier of `raspp`.
    """

    head: str = "lraspp"
    filters: int = 128
    low: str = ""
    pool_window: tuple[int, int] | None = (49, 49)
    pool_stride: tuple[int, int] = (16, 20)
    gate: str = "hard_sigmoid"
    gate_bias: bool = True
    align_corners: bool = True
    classify_first: bool = False
    bn_eps: float = 1e-5
    dropout: float = 0.1

    def __post_init__(self) -> None:
        where = "segmentation head"
        check_choice(self, "head", HEADS, where)
        check_choice(self, "gate", CHOICES["se_gate"], where)
        check_count(self, "filters", where)
        for field in ("gate_bias", "align_corners", "classify_first"):
            check_flag(self, field, where)
        check_number(self, "bn_eps", where, low=0, high=1, open_low=True)
        check_number(self, "dropout", where, low=0, high=0.999)
        for field in ("pool_window", "pool_stride"):
            pair = getattr(self, field)
            if isinstance(pair, list):
                object.__setattr__(self, field, pair := tuple(pair))  # as JSON has it
            fits = isinstance(pair, tuple) and len(pair) == 2 and all(type(side) is int and side > 0 for side in pair)
            if not fits and not (field == "pool_window" and pair is None):
                raise InputError(f"{where}: {field} must be (height, width) in positions of the map, got {pair!r}")


def low_tap(table: Table, *, stride: int = 8, last: bool = True) -> str:
    """The map that LR-ASPP reads beside the last one: of a picture's `stride`, inside the last block of that size.

    It is the depthwise output after its activation, before squeeze-excite; of blocks without such a layer, and with
    `last=False` (torchvision: of the first block of that size), it is what the block gives.

    Raises:
        InputError: no row is of that stride.
    """
    reached, rows = table.stem.stride, []
    for i, row in enumerate(table.rows):
        reached *= row.stride
        if reached == stride:
            rows.append(i)
    if not rows:
        raise InputError(f"table '{table.name}': no row gives a map of stride {stride}")
    row = table.rows[rows[-1]]
    if not last:
        return f"row{rows[0]}.0"
    return f"row{rows[-1]}.{row.repeats - 1}" + (".depthwise" if row.block == "inverted" and row.kernel_size else "")


class LiteReducedAspp(nn.Module):
    """LR-ASPP: a 1x1 convolution of the last map, gated by averages of it, plus class scores of one finer map.

    **Source:** Howard et al. 2019, arXiv 1905.02244, section 6.4 and Fig. 10, with the head of its published code.
    """

    def __init__(self, table: Table, design: SegmentationDesign, high: int, low: int) -> None:
        super().__init__()
        self.design = design
        self.project = ConvNorm(high, design.filters, 1, 1, "relu", replace(table, bn_eps=design.bn_eps))
        self.gate = nn.Conv2d(high, design.filters, 1, bias=design.gate_bias)
        self.gate_activation = ACTIVATION_MODULES[design.gate]()
        self.low_classifier = nn.Conv2d(low, table.num_classes, 1)
        self.classifier = nn.Conv2d(design.filters, table.num_classes, 1)

    def pool(self, high: Tensor) -> Tensor:
        """Averages over windows of the last map, one per `pool_stride`; what is left over at the right and bottom has one more
        of what is there, so that no gate is blind to a part of the picture (at the papers' sizes nothing is left over).
        """
        height, width = int(high.shape[-2]), int(high.shape[-1])
        window = self.design.pool_window or (height, width)
        window = (min(window[0], height), min(window[1], width))
        if window == (height, width):
            return high.mean((2, 3), keepdim=True)  # exported as the pooling that every runtime has
        return F.avg_pool2d(high, window, self.design.pool_stride, ceil_mode=True, count_include_pad=False)

    def forward(self, high: Tensor, low: Tensor | None) -> tuple[Tensor, Tensor]:
        """The last map and the finer one -> what the classifier reads [N, F, H, W], logits at the finer map's size."""
        assert low is not None
        gate = self.gate_activation(self.gate(self.pool(high)))
        if gate.shape[-2:].numel() > 1:
            gate = enlarge(gate, high.shape[-2:], self.design.align_corners)
        context = self.project(high) * gate
        size, corners = low.shape[-2:], self.design.align_corners
        if self.design.classify_first:
            scores = enlarge(self.classifier(context), size, corners)
        else:
            scores = self.classifier(enlarge(context, size, corners))
        return context, scores + self.low_classifier(low)


class ReducedAspp(nn.Module):
    """R-ASPP: a 1x1 convolution of the last map and one of its mean, joined by another, then the classifier.

    **Source:** Sandler et al. 2018, arXiv 1801.04381, section 6.3: DeepLabv3's head without atrous branches; widths as
    MobileNetV3's Table 7 counts them.
    """

    def __init__(self, table: Table, design: SegmentationDesign, high: int) -> None:
        super().__init__()
        conventions, filters = replace(table, bn_eps=design.bn_eps), design.filters
        self.project = ConvNorm(high, filters, 1, 1, "relu", conventions)
        self.picture = ConvNorm(high, filters, 1, 1, "relu", conventions)
        self.join = ConvNorm(2 * filters, filters, 1, 1, "relu", conventions)
        self.dropout = nn.Dropout(design.dropout)
        self.classifier = nn.Conv2d(filters, table.num_classes, 1)

    def forward(self, high: Tensor, low: Tensor | None) -> tuple[Tensor, Tensor]:
        """The last map -> what the classifier reads [N, F, H, W], logits of the same size."""
        picture = self.picture(high.mean((2, 3), keepdim=True))
        context = self.join(torch.cat([self.project(high), picture.expand(-1, -1, *high.shape[-2:])], 1))
        return context, self.classifier(self.dropout(context))


def enlarge(maps: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Maps at another size by linear interpolation, as they are where they have it."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=align_corners)


class SegmentationNetwork(DenseNetwork):
    """A class for every pixel: [N, K, H, W] logits at the size of the pictures that were given.

    Stages beside a backbone's: `context` = what the classifier reads, [N, F, h, w]; `logits` = [N, K, h, w] before they
    are enlarged to the picture (linearly, corners aligned as the design says).

    Args:
        table: the backbone (`heads.tails` gives dilated and narrower ones).
        design: the head.
        owns: as `Network` takes them.

    Raises:
        InputError: the design names a map that the backbone does not have.
    """

    head_stages = ("context", "logits")

    def __init__(self, table: Table, design: SegmentationDesign, **owns: Any) -> None:
        super().__init__(table, **owns)
        self.design = design
        high = self.backbone.out_channels
        if design.head == "lraspp":
            self.head: nn.Module = LiteReducedAspp(table, design, high, tap_shape(table, design.low)[0])
        else:
            self.head = ReducedAspp(table, design, high)
        self.taps = (design.low,) if design.head == "lraspp" else ()
        initialise(self)

    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits at the size of the head's map, and the asked stages."""
        high, found, taps = self.read(prepared, stages, self.taps)
        context, logits = self.head(high, taps.get(self.design.low))
        own = {"context": context, "logits": logits}
        return logits, found | {name: own[name] for name in stages if name in own}

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> [N, K, H, W] logits."""
        return enlarge(super().forward(inputs), inputs.shape[-2:], self.design.align_corners)

    def observe(self, inputs: Tensor, stages: Sequence[str] = ()) -> Outputs:
        """The same forward pass, returning the asked stages too.

        Raises:
            InputError: a stage that this network does not have.
        """
        seen = super().observe(inputs, stages)
        return replace(seen, out=enlarge(seen.out, inputs.shape[-2:], self.design.align_corners))

    def architecture(self) -> dict[str, Any]:
        """The table and the head's design beside what every network has."""
        whole = {"table": self.table.to_json(), "design": asdict(self.design)}
        return {"kind": "segmentation", **super().architecture(), **whole}
