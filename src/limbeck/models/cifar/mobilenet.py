"""MobileNets as the CIFAR literature trims them. Not here: ImageNet's (`limbeck.models.families`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from limbeck.models.cifar.network import CIFAR_MEAN, CIFAR_STD, CifarNetwork, Keep, draw_convolutions
from limbeck.models.families.mobilenet_v1 import mobilenet_v1
from limbeck.models.network import TableNetwork, build

__all__ = ["CifarMobileNetV2", "cifar_mobilenet_v1"]


def cifar_mobilenet_v1(
    name: str, *, num_classes: int, input_size: tuple[int, int], in_channels: int, dropout: float
) -> TableNetwork:
    """MobileNetV1 with ReLU and a stem without stride, so that 32 pixels end at 2.

    **Source:** Howard et al. 2017, arXiv 1704.04861, Table 1; the stem as in the code that the CIFAR literature shares.
    """
    table = mobilenet_v1()
    table = replace(
        table,
        name=name,
        stem=replace(table.stem, stride=1, activation="relu"),
        rows=tuple(replace(row, activation="relu") for row in table.rows),
        num_classes=num_classes,
        in_channels=in_channels,
        input_size=input_size,
        dropout=dropout,
    )
    known = {"mean": CIFAR_MEAN, "std": CIFAR_STD} if in_channels == 3 else {}
    return build(table, **known)


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Padded convolution without bias, norm, ReLU."""
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]


class InvertedResidual(nn.Module):
    """1x1 expansion (even of factor 1), 3x3 depthwise, linear 1x1 projection, plus the input if it fits."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = in_channels * expansion
        self.conv = nn.Sequential(
            *conv_norm(in_channels, inside, 1),
            *conv_norm(inside, inside, 3, stride, groups=inside),
            *conv_norm(inside, out_channels, 1)[:-1],
        )
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return x + self.conv(x) if self.adds_input else self.conv(x)


class CifarMobileNetV2(CifarNetwork):
    """MobileNetV2 of half the width, with a strided stem, so that 32 pixels end at 2.

    Stages: `stage1` ... `stage4` = the last block at 16, 8, 4 and 2 pixels. Its blocks end without an activation:
    `stage1.preact` is `stage1`.

    **Source:** Sandler et al. 2018, arXiv 1801.04381, Table 2; as in the published code of CRD (RepDistiller): widths
    not rounded to a multiple of 8, ReLU, an expansion layer in every block, 24 channels' stage without stride, the last
    convolution of full width.

    Args:
        name: as in `CifarNetwork`.
        owns: as in `CifarNetwork`.
    """

    has_head = True
    # Expansion, channels at full width, blocks, stride of the first; and the rows that end a stage.
    rows = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    stage_rows = (1, 2, 4, 6)

    def __init__(self, name: str, **owns: Any) -> None:
        super().__init__(name, stages=len(self.stage_rows), **owns)
        channels = 16
        self.conv1 = nn.Sequential(*conv_norm(self.in_channels, channels, 3, 2))
        self.blocks = nn.ModuleList()
        for expansion, width, depth, stride in self.rows:
            row = []
            for i in range(depth):
                row.append(InvertedResidual(channels, width // 2, stride if i == 0 else 1, expansion))
                channels = width // 2
            self.blocks.append(nn.Sequential(*row))
        self.conv2 = nn.Sequential(*conv_norm(channels, 1280, 1))
        self.classifier = nn.Sequential(nn.Linear(1280, self.num_classes))
        draw_convolutions(self)
        nn.init.normal_(self.classifier[0].weight, std=0.01)
        nn.init.zeros_(self.classifier[0].bias)

    @property
    def last_layer(self) -> nn.Module:
        """The classifier."""
        return self.classifier

    def maps(self, x: Tensor, keep: Keep) -> Tensor:
        """The last 1x1 convolution's output; every stage passes through `keep`."""
        x = keep("stem", self.conv1(x))
        for i, row in enumerate(self.blocks):
            x = row(x)
            if i in self.stage_rows:
                stage = self.numbered[self.stage_rows.index(i)]
                keep(stage, keep(f"{stage}.preact", x))
        return keep("head", self.conv2(x))
