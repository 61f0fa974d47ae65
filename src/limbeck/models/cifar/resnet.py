"""ResNets for CIFAR: three stages of narrow basic blocks, or ImageNet's four stages behind a 3x3 stem.

Not here: pre-activation blocks (`wide_resnet`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.models.cifar.network import CifarNetwork, Keep, draw_convolutions, stage_and_preact

__all__ = ["BasicBlock", "Bottleneck", "CifarResNet"]


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A padded convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False)


class Residual(nn.Module):
    """What both blocks share: the shortcut, a 1x1 convolution and a norm wherever the shape changes (option B)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
            )

    def shortcut(self, x: Tensor) -> Tensor:
        """The input in the output's shape."""
        return x if self.downsample is None else self.downsample(x)


class BasicBlock(Residual):
    """Two 3x3 convolutions; gives the sum *before* its activation."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(in_channels, channels, stride)
        self.conv1, self.bn1 = convolution(in_channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = convolution(channels, channels, 3), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x)


class Bottleneck(Residual):
    """1x1, 3x3 (which has the stride), 1x1 to four times the width; gives the sum *before* its activation."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__(in_channels, channels, stride)
        self.conv1, self.bn1 = convolution(in_channels, channels, 1), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = convolution(channels, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = convolution(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return self.bn3(self.conv3(out)) + self.shortcut(x)


class CifarResNet(CifarNetwork):
    """A ResNet with a 3x3 stem of stride 1 and no max pooling; every stage but the first halves the sides.

    **Source:** He et al. 2016, arXiv 1512.03385, section 4.2 (three stages) and Table 1 (four); layers, names and fresh
    weights as in the published code of CRD (RepDistiller).
    **Differs:** from section 4.2 as CRD does: projected shortcuts (B), not padded ones (A).

    Args:
        name: as in `CifarNetwork`.
        stem: channels of the first convolution.
        widths: channels of each stage.
        depths: blocks of each stage.
        bottleneck: `Bottleneck` blocks instead of `BasicBlock`.
        owns: as in `CifarNetwork`.
    """

    def __init__(
        self,
        name: str,
        *,
        stem: int,
        widths: Sequence[int],
        depths: Sequence[int],
        bottleneck: bool = False,
        **owns: Any,
    ) -> None:
        super().__init__(name, stages=len(widths), **owns)
        block = Bottleneck if bottleneck else BasicBlock
        self.conv1, self.bn1 = convolution(self.in_channels, stem, 3), nn.BatchNorm2d(stem)
        channels = stem
        for number, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            blocks = []
            for i in range(depth):
                blocks.append(block(channels, width, 2 if number > 1 and i == 0 else 1))
                channels = width * block.expansion
            self.add_module(f"layer{number}", nn.ModuleList(blocks))
        self.fc = nn.Linear(channels, self.num_classes)
        draw_convolutions(self)

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """RepDistiller's networks of four stages say `shortcut` and `linear` for what those of three call otherwise."""
        return {
            re.sub(r"^linear\.", "fc.", name.replace(".shortcut.", ".downsample.")): value
            for name, value in state.items()
        }

    @property
    def last_layer(self) -> nn.Module:
        """The classifier."""
        return self.fc

    def maps(self, x: Tensor, keep: Keep) -> Tensor:
        """The last stage; every stage passes through `keep`."""
        x = keep("stem", F.relu(self.bn1(self.conv1(x))))
        for number, stage in enumerate(self.numbered, start=1):
            *blocks, last = getattr(self, f"layer{number}")
            for block in blocks:
                x = F.relu(block(x))
            x = stage_and_preact(keep, stage, last(x), F.relu)
        return x
