"""SSDLite: a backbone, further maps and separable predictors of classes and boxes at every anchor.

Not here: names of detectors (`names`), choosing boxes (`detections`), losses (`tasks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.blocks import ConvNorm, initialise
from limbeck.models.heads.anchors import ANCHORS, anchor_shapes, make_anchors
from limbeck.models.heads.backbone import DenseNetwork, tap_shape
from limbeck.models.heads.detections import SCORES, AnchorOutputs
from limbeck.models.rows import check_choice
from limbeck.models.table import Table

__all__ = ["DetectionDesign", "DetectionNetwork"]

PRIOR_LOGIT = -4.6  # of every class before training under sigmoid scores: 1 %
HEAD_STD = 0.03


@dataclass(frozen=True)
class DetectionDesign:
    """An SSDLite head as data; the defaults are the paper's.

    Attributes:
        fine: name of the backbone's map of stride 16 that the first predictors read (`heads.backbone.tap_names`); the
            second ones read its last map.
        extra_channels: of the further maps, each of half the size of the one before.
        anchors: `paper` (three on the first map, six on the others) or `torchvision` (six on all).
        scores: what logits mean: `sigmoid` (focal loss) or `softmax` (SSD's loss); outputs carry it along. It also sets
            the first bias of the classes.
    """

    fine: str
    extra_channels: tuple[int, ...] = (512, 256, 256, 128)
    anchors: str = "paper"
    scores: str = "sigmoid"

    def __post_init__(self) -> None:
        where = "detection head"
        check_choice(self, "anchors", ANCHORS, where)
        check_choice(self, "scores", SCORES, where)
        extra = self.extra_channels
        if isinstance(extra, list):
            object.__setattr__(self, "extra_channels", extra := tuple(extra))  # as JSON has it
        if not isinstance(extra, tuple) or not all(type(one) is int and one > 1 for one in extra):
            raise InputError(f"{where}: extra_channels must be whole numbers above 1, got {extra!r}")


def predictor(channels: int, out_channels: int, conventions: Table) -> nn.Sequential:
    """3x3 depthwise with norm and ReLU6, then 1x1 with a bias."""
    depthwise = ConvNorm(channels, channels, 3, 1, "relu6", conventions, groups=channels)
    return nn.Sequential(depthwise, nn.Conv2d(channels, out_channels, 1))


def further_map(channels: int, out_channels: int, conventions: Table) -> nn.Sequential:
    """1x1 to half the channels, 3x3 depthwise of stride 2, 1x1; norm and ReLU6 after each."""
    half = out_channels // 2
    return nn.Sequential(
        ConvNorm(channels, half, 1, 1, "relu6", conventions),
        ConvNorm(half, half, 3, 2, "relu6", conventions, groups=half),
        ConvNorm(half, out_channels, 1, 1, "relu6", conventions),
    )


class DetectionNetwork(DenseNetwork):
    """SSDLite: `AnchorOutputs` of each picture, resized to `input_size` without regard to its sides.

    Stages beside a backbone's: `map1` ... = the maps that the predictors read, the finest first.

    Args:
        table: the backbone (`heads.tails` halves the channels of its last rows); K of it is without the background.
        design: the head.
        owns: as `Network` takes them.

    Raises:
        InputError: the design names a map that the backbone does not have.

    **Source:** Sandler et al. 2018, arXiv 1801.04381, section 6.2; Howard et al. 2019, arXiv 1905.02244, section 6.3,
    with the maps and widths of its published code.
    """

    anchors: Tensor

    def __init__(self, table: Table, design: DetectionDesign, **owns: Any) -> None:
        super().__init__(table, **owns)
        self.design = design
        channels = [tap_shape(table, design.fine)[0], self.backbone.out_channels, *design.extra_channels]
        self.map_channels = {f"map{i + 1}": width for i, width in enumerate(channels)}
        self.head_stages = tuple(self.map_channels)
        per_position = [len(shapes) for shapes in anchor_shapes(len(channels), design.anchors)]
        self.further = nn.ModuleList(further_map(before, after, table) for before, after in pairwise(channels[1:]))
        self.classes, self.boxes = (
            nn.ModuleList(
                predictor(width, count * outputs, table) for width, count in zip(channels, per_position, strict=True)
            )
            for outputs in (table.num_classes + 1, 4)
        )
        self.register_buffer("anchors", make_anchors(self.map_sizes(), design.anchors), persistent=False)
        initialise(self)
        self.draw_head()

    def map_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each map that predictors read, at `input_size`."""
        table = self.table
        sizes = [tap_shape(table, self.design.fine)[1:], tap_shape(table, f"row{len(table.rows) - 1}")[1:]]
        for _ in self.design.extra_channels:
            height, width = sizes[-1]
            sizes.append((-(-height // 2), -(-width // 2)))
        return sizes

    def draw_head(self) -> None:
        """Draw the head's convolutions from N(0, 0.03^2); classes start rare under sigmoid scores."""
        for layer in [*self.further.modules(), *self.classes.modules(), *self.boxes.modules()]:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=HEAD_STD)
        if self.design.scores == "sigmoid":
            for part in self.classes:
                nn.init.constant_(part[1].bias, PRIOR_LOGIT)

    def run(self, prepared: Tensor, stages: Sequence[str]) -> tuple[AnchorOutputs, dict[str, Tensor]]:  # type: ignore[override]
        """The outputs and the asked stages."""
        last, found, taps = self.read(prepared, stages, (self.design.fine,))
        maps = [taps[self.design.fine], last]
        for further in self.further:
            maps.append(further(maps[-1]))
        own = dict(zip(self.head_stages, maps, strict=True))
        logits, deltas = by_anchor(self.classes, maps, self.num_classes + 1), by_anchor(self.boxes, maps, 4)
        out = SCORES[self.design.scores](logits, deltas, self.anchors)
        return out, found | {name: own[name] for name in stages if name in own}

    def forward(self, inputs: Tensor) -> AnchorOutputs:  # type: ignore[override]
        """[N, C, H, W] in [0, 1] -> logits [N, A, K + 1], offsets [N, A, 4], anchors [A, 4]."""
        return self.run(self.prepare(inputs), ())[0]

    def architecture(self) -> dict[str, Any]:
        """The table and the head's design beside what every network has."""
        whole = {"table": self.table.to_json(), "design": asdict(self.design)}
        return {"kind": "detection", **super().architecture(), **whole}


def by_anchor(predictors: nn.ModuleList, maps: Sequence[Tensor], columns: int) -> Tensor:
    """What each map's predictor says, [N, A, columns], in the order of `make_anchors`."""
    rows = []
    for predict, feature in zip(predictors, maps, strict=True):
        # [N, anchors * columns, H, W] -> [N, H, W, anchors * columns] -> one row per anchor
        rows.append(predict(feature).permute(0, 2, 3, 1).reshape(feature.shape[0], -1, columns))
    return torch.cat(rows, 1)
