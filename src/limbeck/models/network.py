"""What every network of ours can do (`Network`), and the networks that tables describe (`TableNetwork`, `build`).

Not here: networks of other libraries (`library`), weights (`weights`, `storage`), names (`load`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import InputError, unknown_name
from limbeck.models.blocks import ACTIVATION_MODULES, ConvNorm, build_block, initialise
from limbeck.models.power import unit_power
from limbeck.models.table import Table
from limbeck.types import Outputs

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "INTERPOLATIONS", "Network", "TableNetwork", "build"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


class Network(nn.Module, ABC):
    """A picture network that owns its resize and normalisation.

    `forward` takes [N, C, H, W] in [0, 1] of any H, W and gives [N, K] logits; `observe` gives stages too, by name.
    Networks for signals take [N, C, T] instead, of any power; inside, and as stages, they are maps of height 1.

    Attributes:
        num_classes: K.
        input_size: (height, width) that pictures are resized to if they differ.
        mean, std: per channel, subtracted and divided after the resize; not part of the state dict but of
            `architecture()`.
        normalisation: `mean`, `std` and `interpolation` (of the resize) as plain values.
        table: the architecture as data; None where it is not ours.
        origin: `source` (what built it), `weights` (where they are from), `licence` (of the weights).
        filled: what `pretrained` weights could and could not fill (`weights.FillReport`); None without.
    """

    table: Table | None = None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        input_size: tuple[int, int],
        in_channels: int = 3,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: str = "bilinear",
        origin: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.input_size, self.in_channels = num_classes, input_size, in_channels
        self.register_buffer("mean", torch.empty(0), persistent=False)
        self.register_buffer("std", torch.empty(0), persistent=False)
        self.normalise_by(
            mean or (IMAGENET_MEAN if in_channels == 3 else (0.5,) * in_channels),
            std or (IMAGENET_STD if in_channels == 3 else (0.25,) * in_channels),
            interpolation,
        )
        self.origin: dict[str, Any] = origin or {"source": "limbeck", "weights": "random", "licence": "Apache-2.0"}
        self.filled: Any = None

    @property
    @abstractmethod
    def stage_names(self) -> tuple[str, ...]:
        """The stages that `observe` gives, from input to output."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample that the network takes without resizing it: (C, H, W); (C, T) of signals."""
        return (self.in_channels, *self.input_size)

    def further_stage_names(self) -> tuple[str, ...]:
        """Finer stages that `observe` takes beside `stage_names`."""
        return ()

    @property
    def exit_stage(self) -> str:
        """Where an early exit sits: at the last map but one, from which the end of the network starts."""
        numbered = [name for name in self.stage_names if re.fullmatch(r"stage\d+", name)]
        if not numbered:
            raise InputError(f"an exit needs a stage; this network has {', '.join(self.stage_names)}")
        return numbered[-1] if self.ends_in_convolution or len(numbered) == 1 else numbered[-2]

    @property
    def ends_in_convolution(self) -> bool:
        """Whether a 1x1 convolution after the last of `stage1`, `stage2` ... makes one more map before pooling."""
        return False

    @property
    def has_raw_maps(self) -> bool:
        """Whether maps are a residual stream that the network itself layer-normalises before it reads from it."""
        norms = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
        last = [part for part in self.modules() if isinstance(part, norms)][-1:]
        return bool(last) and isinstance(last[0], nn.LayerNorm)

    def normalise_by(self, mean: Sequence[float], std: Sequence[float], interpolation: str = "bilinear") -> None:
        """Set the normalisation and the resize, as the weights were trained with.

        Raises:
            InputError: not one value per channel, a std that is not positive, or an unknown interpolation.
        """
        if len(mean) != self.in_channels or len(std) != self.in_channels or min(std) <= 0:
            raise InputError(
                f"mean and std must have {self.in_channels} values each, std above 0; got {list(mean)}, {list(std)}"
            )
        if interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", interpolation, INTERPOLATIONS)
        device = self.mean.device
        self.mean = torch.tensor(mean, dtype=torch.float32, device=device).view(-1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float32, device=device).view(-1, 1, 1)
        self.normalisation = {"mean": list(mean), "std": list(std), "interpolation": interpolation}

    def prepare(self, inputs: Tensor) -> Tensor:
        """Resize to `input_size` (only if it differs: no resize in an exported graph of equal sizes) and normalise."""
        if tuple(inputs.shape[-2:]) != tuple(self.input_size):
            mode = self.normalisation["interpolation"]
            inputs = F.interpolate(
                inputs, size=self.input_size, mode=mode, align_corners=None if mode == "nearest" else False
            )
        return (inputs - self.mean) / self.std

    @abstractmethod
    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the asked stages of pictures that `prepare` gave; what each kind of network defines."""

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] in [0, 1] -> [N, K] logits."""
        return self.run(self.prepare(inputs), ())[0]

    def observe(self, inputs: Tensor, stages: Sequence[str] = ()) -> Outputs:
        """The same forward pass, returning the asked stages too.

        Raises:
            InputError: a stage that this network does not have.
        """
        for name in stages:
            if name not in self.stage_names and name not in self.further_stage_names():
                raise unknown_name("stage", name, (*self.stage_names, *self.further_stage_names()))
        out, found = self.run(self.prepare(inputs), stages)
        return Outputs(out, stages={name: found[name] for name in stages})

    def architecture(self) -> dict[str, Any]:
        """JSON from which `load_network` builds the same network again; each kind adds its own to these."""
        return {
            "schema": 1,
            "num_classes": self.num_classes,
            "input_size": list(self.input_size),
            "in_channels": self.in_channels,
            **self.normalisation,
            "origin": self.origin,
        }

    def params(self) -> int:
        """Trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def macs(self) -> int:
        """Multiply-accumulates of one picture at `input_size`, counted in a forward pass (attention included)."""
        from torch.utils.flop_counter import FlopCounterMode

        training = {module: module.training for module in self.modules()}
        self.eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self(torch.zeros(1, *self.sample_shape, device=self.mean.device))
        for module, mode in training.items():
            module.training = mode
        return counter.get_total_flops() // 2

    def layer_groups(self) -> list[list[str]]:
        """All parameter names in groups from input to head, for a learning rate that decays towards the input."""
        groups: dict[str, list[str]] = {}
        for name, _ in self.named_parameters():
            groups.setdefault(self.layer_of(name), []).append(name)
        return list(groups.values())

    def layer_of(self, parameter: str) -> str:
        """The layer group that a parameter belongs to."""
        return parameter.rsplit(".", 1)[0]


class Head(nn.Module):
    """The layers between rows and classifier: an optional 1x1 convolution, pooling, an optional feature layer."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        channels, head = table.rows[-1].out_channels, table.head
        self.conv = ConvNorm(channels, head.conv_channels, 1, 1, head.activation, table) if head.conv_channels else None
        channels = head.conv_channels or channels
        self.features = (
            nn.Linear(channels, head.feature_channels, bias=head.feature_bias) if head.feature_channels else None
        )
        self.norm = (
            nn.BatchNorm1d(head.feature_channels, eps=table.bn_eps, momentum=table.bn_momentum)
            if head.feature_channels and head.feature_norm
            else None
        )
        self.activation: Callable[[Tensor], Tensor] = ACTIVATION_MODULES[
            head.activation if head.feature_channels else "identity"
        ]()
        self.out_channels = head.feature_channels or channels

    def pool(self, inputs: Tensor) -> Tensor:
        """The last map [N, C, H, W] -> what the classifier reads, [N, C']."""
        x = inputs.mean((2, 3))
        if self.features is None:
            return x
        x = self.features(x)
        return self.activation(self.norm(x) if self.norm is not None else x)


class TableNetwork(Network):
    """The network that a table describes.

    Stages: `stem`; `stage1`, `stage2` ... = the last output at each resolution of the rows (stage1 is the finest);
    `head` = the last map before pooling, [N, C, H, W]; `pool` = what the classifier reads, [N, C]. Finer: `row0`,
    `row1` ...
    """

    table: Table

    def __init__(self, table: Table, **owns: Any) -> None:
        if table.dims == 1:
            owns = {**owns, "mean": (0.0,) * table.in_channels, "std": (1.0,) * table.in_channels}
        super().__init__(
            num_classes=table.num_classes, input_size=table.input_size, in_channels=table.in_channels, **owns
        )
        self.table = table
        (stem,), *rows = table.blocks()
        self.stem = build_block(stem, table)
        self.rows = nn.ModuleList(nn.ModuleList(build_block(plan, table) for plan in plans) for plans in rows)
        self.head = Head(table)
        self.dropout = nn.Dropout(table.dropout)
        self.classifier = nn.Linear(self.head.out_channels, table.num_classes)
        last = [i for i in range(len(rows)) if i + 1 == len(rows) or table.rows[i + 1].stride > 1]
        self.stage_rows = {f"stage{number}": i for number, i in enumerate(last, start=1)}
        initialise(self)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """`stem`, `stage1` ... , `head`, `pool`."""
        return ("stem", *self.stage_rows, "head", "pool")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample: (C, H, W), or (C, T) where the table is one of signals."""
        return super().sample_shape if self.table.dims == 2 else (self.in_channels, self.input_size[1])

    def prepare(self, inputs: Tensor) -> Tensor:
        """As of any network; signals of any length are brought to unit power."""
        if self.table.dims == 2:
            return super().prepare(inputs)
        return unit_power(inputs, self.in_channels, self.table.name).unsqueeze(2)

    @property
    def ends_in_convolution(self) -> bool:
        """Whether the head has a convolution before pooling."""
        return self.head.conv is not None

    def further_stage_names(self) -> tuple[str, ...]:
        """`row0`, `row1` ..."""
        return tuple(f"row{i}" for i in range(len(self.rows)))

    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the asked stages."""
        places = {name: f"row{self.stage_rows[name]}" if name in self.stage_rows else name for name in stages}
        wanted, seen = set(places.values()), {}  # only what was asked is kept alive

        def keep(place: str, value: Tensor) -> Tensor:
            if place in wanted:
                seen[place] = value
            return value

        x = keep("stem", self.stem(prepared))
        for i, row in enumerate(self.rows):
            for block in row:
                x = block(x)
            keep(f"row{i}", x)
        x = keep("head", self.head.conv(x) if self.head.conv is not None else x)
        x = self.head.pool(x)
        logits = self.classifier(self.dropout(keep("pool", x)))
        return logits, {name: seen[place] for name, place in places.items()}

    def architecture(self) -> dict[str, Any]:
        """The table beside what every network has."""
        return {"kind": "table", **super().architecture(), "table": self.table.to_json()}

    def params(self) -> int:
        """Trainable parameters, from the table."""
        return self.table.params()

    def macs(self) -> int:
        """Multiply-accumulates of one picture at `input_size`, from the table."""
        return self.table.macs()

    def layer_of(self, parameter: str) -> str:
        """Stem, each row, head, classifier."""
        pieces = parameter.split(".")
        return ".".join(pieces[:2]) if pieces[0] == "rows" else pieces[0]


def build(
    table: Table,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: str = "bilinear",
    origin: dict[str, Any] | None = None,
) -> TableNetwork:
    """Build the network of `table` with fresh weights (torch's random state); ImageNet's normalisation by default."""
    return TableNetwork(table, mean=mean, std=std, interpolation=interpolation, origin=origin)
