"""ShuffleNets V1 and V2 for CIFAR. Not here: ImageNet's (torchvision's, by `torchvision:NAME`)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.models.cifar.network import CifarNetwork, Keep

__all__ = ["CifarShuffleNetV1", "CifarShuffleNetV2"]


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` groups."""
    return x if groups == 1 else x.unflatten(1, (groups, x.shape[1] // groups)).transpose(1, 2).flatten(1, 2)


def pointwise(in_channels: int, out_channels: int, groups: int = 1) -> nn.Conv2d:
    """A 1x1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=False)


def depthwise(channels: int, stride: int) -> nn.Conv2d:
    """A depthwise 3x3 convolution without bias."""
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)


class GroupedUnit(nn.Module):
    """ShuffleNetV1's unit: grouped 1x1, shuffle, depthwise, grouped 1x1; gives its sum *before* the activation.

    With a stride, the pooled input is appended instead of added.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, groups: int) -> None:
        super().__init__()
        inside, self.stride = channels // 4, stride
        self.groups = 1 if in_channels == 24 else groups  # the stem's 24 channels are not grouped
        self.conv1, self.bn1 = pointwise(in_channels, inside, self.groups), nn.BatchNorm2d(inside)
        self.conv2, self.bn2 = depthwise(inside, stride), nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = pointwise(inside, channels, groups), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] -> the output after and before its activation."""
        out = shuffle(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        preact = torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], 1) if self.stride == 2 else out + x
        return F.relu(preact), preact


class SplitUnit(nn.Module):
    """ShuffleNetV2's unit of stride 1: half of the channels pass, the others are convolved; then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = pointwise(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = depthwise(half, 1), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, C, H, W] -> the output; and it before activation and shuffle, which is how the literature taps it."""
        passed, out = x.chunk(2, 1)
        preact = self.bn3(self.conv3(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(out)))))))
        return shuffle(torch.cat([passed, F.relu(preact)], 1), 2), torch.cat([passed, preact], 1)


class DownUnit(nn.Module):
    """ShuffleNetV2's unit of stride 2: two branches over all channels, joined and shuffled."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1, self.bn1 = depthwise(in_channels, 2), nn.BatchNorm2d(in_channels)
        self.conv2, self.bn2 = pointwise(in_channels, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = pointwise(in_channels, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = depthwise(half, 2), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = pointwise(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `SplitUnit`."""
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = self.bn4(self.conv4(F.relu(self.bn3(self.conv3(x)))))
        preact = torch.cat([left, self.bn5(self.conv5(right))], 1)
        return shuffle(F.relu(preact), 2), preact


class ShuffleNet(CifarNetwork):
    """What both versions share: a 1x1 stem without stride, three stages that halve the sides, torch's fresh weights."""

    def __init__(self, name: str, **owns: Any) -> None:
        super().__init__(name, stages=3, **owns)
        self.conv1, self.bn1 = pointwise(self.in_channels, 24), nn.BatchNorm2d(24)

    @property
    def last_layer(self) -> nn.Module:
        """The classifier."""
        return self.linear

    def maps(self, x: Tensor, keep: Keep) -> Tensor:
        """The last stage; every stage passes through `keep`."""
        x = keep("stem", F.relu(self.bn1(self.conv1(x))))
        for number, stage in enumerate(self.numbered, start=1):
            preact = x
            for unit in getattr(self, f"layer{number}"):
                x, preact = unit(x)
            keep(f"{stage}.preact", preact)
            keep(stage, x)
        return x


class CifarShuffleNetV1(ShuffleNet):
    """ShuffleNetV1 of three groups: 4, 8 and 4 units of 240, 480 and 960 channels.

    **Source:** Zhang et al. 2018, arXiv 1707.01083, Table 1; as in the published code of CRD (RepDistiller): the inner
    width of a strided unit is a quarter of what it computes, without the channels that the pooled input appends.

    Args:
        name: as in `CifarNetwork`.
        owns: as in `CifarNetwork`.
    """

    def __init__(self, name: str, **owns: Any) -> None:
        super().__init__(name, **owns)
        channels = 24
        for number, (width, depth) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
            first = GroupedUnit(channels, width - channels, 2, groups=3)
            others = [GroupedUnit(width, width, 1, groups=3) for _ in range(depth - 1)]
            self.add_module(f"layer{number}", nn.ModuleList([first, *others]))
            channels = width
        self.linear = nn.Linear(channels, self.num_classes)


class CifarShuffleNetV2(ShuffleNet):
    """ShuffleNetV2 of width 1: 4, 8 and 4 units of 116, 232 and 464 channels, a last convolution of 1024.

    **Source:** Ma et al. 2018, arXiv 1807.11164, Table 5; layers and names as in the published code of CRD
    (RepDistiller).

    Args:
        name: as in `CifarNetwork`.
        owns: as in `CifarNetwork`.
    """

    has_head = True

    def __init__(self, name: str, **owns: Any) -> None:
        super().__init__(name, **owns)
        channels = 24
        for number, (width, depth) in enumerate(((116, 4), (232, 8), (464, 4)), start=1):
            others = [SplitUnit(width) for _ in range(depth - 1)]
            self.add_module(f"layer{number}", nn.ModuleList([DownUnit(channels, width), *others]))
            channels = width
        self.conv2, self.bn2 = pointwise(channels, 1024), nn.BatchNorm2d(1024)
        self.linear = nn.Linear(1024, self.num_classes)

    def maps(self, x: Tensor, keep: Keep) -> Tensor:
        """The last 1x1 convolution's output; every stage passes through `keep`."""
        return keep("head", F.relu(self.bn2(self.conv2(super().maps(x, keep)))))
