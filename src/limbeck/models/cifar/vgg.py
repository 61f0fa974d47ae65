"""VGGs for CIFAR, with batch norm and one dense layer. Not here: ImageNet's, with three."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.models.cifar.network import CifarNetwork, Keep, draw_convolutions, stage_and_preact

__all__ = ["CifarVGG"]


class CifarVGG(CifarNetwork):
    """Five groups of 3x3 convolutions with batch norm, a 2x2 max pooling between them, global average pooling.

    Stages: `stem` = the first group's output, `stage1` ... `stage4` = those of the others. The last two groups work at
    one resolution, unless pictures have 64 pixels or more.

    **Source:** Simonyan & Zisserman 2015, arXiv 1409.1556, Table 1 (11, 13, 16, 19 layers); 8 layers, names and fresh
    weights as in the published code of CRD (RepDistiller).

    Args:
        name: as in `CifarNetwork`.
        depths: convolutions in each group.
        owns: as in `CifarNetwork`.
    """

    def __init__(self, name: str, *, depths: Sequence[int], **owns: Any) -> None:
        super().__init__(name, stages=4, **owns)
        channels = self.in_channels
        for number, (width, depth) in enumerate(zip((64, 128, 256, 512, 512), depths, strict=True)):
            layers: list[nn.Module] = []
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            self.add_module(f"block{number}", nn.Sequential(*layers[:-1]))
        self.classifier = nn.Linear(channels, self.num_classes)
        draw_convolutions(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        self.pooled = 4 if max(self.input_size) >= 64 else 3  # groups that are followed by a max pooling

    @property
    def last_layer(self) -> nn.Module:
        """The classifier."""
        return self.classifier

    def maps(self, x: Tensor, keep: Keep) -> Tensor:
        """The last group's output; every stage passes through `keep`."""
        x = keep("stem", F.relu(self.block0(x)))
        for number, stage in enumerate(self.numbered, start=1):
            if number <= self.pooled:
                x = F.max_pool2d(x, 2)
            x = stage_and_preact(keep, stage, getattr(self, f"block{number}")(x), F.relu)
        return x
