"""Wide ResNets for CIFAR, of pre-activation blocks. Not here: blocks that activate their sum (`resnet`)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.models.cifar.network import CifarNetwork, Keep, draw_convolutions

__all__ = ["CifarWideResNet"]


class WideBlock(nn.Module):
    """Norm, activation, 3x3 convolution, twice; the input is added, by a 1x1 convolution where the width changes.

    The first norm is applied by the network, which may have to show its output as the stage before.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.convShortcut = None  # the checkpoints' name
        if in_channels != channels:
            self.convShortcut = nn.Conv2d(in_channels, channels, 1, stride, bias=False)

    def forward(self, x: Tensor, normed: Tensor) -> Tensor:
        """The input and `bn1` of it -> [N, C', H', W']; a projected shortcut starts from the activated input."""
        active = F.relu(normed)
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.convShortcut is None else self.convShortcut(active))


class CifarWideResNet(CifarNetwork):
    """A wide ResNet: three stages of `(depth - 4) / 6` blocks, `widen` times 16, 32 and 64 channels wide.

    Stages are the plain sums that blocks give, without norm and activation; `stage1.preact` is the norm that comes
    next, before its activation.

    **Source:** Zagoruyko & Komodakis 2016, arXiv 1605.07146; layers, names and fresh weights as in the published code of
    CRD (RepDistiller), without dropout in the blocks.

    Args:
        name: as in `CifarNetwork`.
        depth: convolutions on the longest path, 6 n + 4.
        widen: factor on the widths.
        owns: as in `CifarNetwork`.
    """

    def __init__(self, name: str, *, depth: int, widen: int, **owns: Any) -> None:
        super().__init__(name, stages=3, **owns)
        channels = 16
        self.conv1 = nn.Conv2d(self.in_channels, channels, 3, 1, 1, bias=False)
        for number in (1, 2, 3):
            blocks, width = nn.ModuleList(), 8 * 2**number * widen
            for i in range((depth - 4) // 6):
                blocks.append(WideBlock(channels, width, 2 if number > 1 and i == 0 else 1))
                channels = width
            self.add_module(f"block{number}", nn.ModuleDict({"layer": blocks}))
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()  # a part, so that the last map, which is no stage, can be tapped
        self.fc = nn.Linear(channels, self.num_classes)
        draw_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    @property
    def last_layer(self) -> nn.Module:
        """The classifier."""
        return self.fc

    def maps(self, x: Tensor, keep: Keep) -> Tensor:
        """The last stage, normalised and activated; every stage passes through `keep`."""
        x = keep("stem", self.conv1(x))
        for number, stage in enumerate(self.numbered, start=1):
            for i, block in enumerate(getattr(self, f"block{number}")["layer"]):
                normed = block.bn1(x)
                if number > 1 and i == 0:
                    keep(f"stage{number - 1}.preact", normed)
                x = block(x, normed)
            keep(stage, x)
        return self.relu(keep("stage3.preact", self.bn1(x)))
