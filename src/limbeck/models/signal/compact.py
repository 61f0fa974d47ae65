"""The students of signal knowledge distillation: a small CNN, and a MobileNetV2 for signals as a table.

Not here: what they learn from (`clst`).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.models.rows import Row
from limbeck.models.signal.network import Keep, SignalNetwork
from limbeck.models.table import Head, Table

__all__ = ["KdCnn", "kd_mobilenet"]


class KdCnn(SignalNetwork):
    """Four convolutions of stride 2 with norm and ReLU, then the mean over time.

    **Differs:** a reconstruction; of KD-CNN in arXiv 2312.17446 no more than the name is known.

    Args:
        name: as in `SignalNetwork`.
        dropout: before the classifier.
        owns: as in `SignalNetwork`.
    """

    def __init__(self, name: str, *, dropout: float = 0.3, **owns: Any) -> None:
        super().__init__(name, stages=4, options={"dropout": dropout}, **owns)
        channels = self.in_channels
        for number, (width, kernel_size) in enumerate(((32, 7), (48, 5), (64, 5), (64, 5)), start=1):
            conv = nn.Conv1d(channels, width, kernel_size, 2, kernel_size // 2, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            self.add_module(f"conv{number}", conv)
            self.add_module(f"norm{number}", nn.BatchNorm1d(width))
            channels = width
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, self.num_classes))

    @property
    def last_layer(self) -> nn.Module:
        """Dropout and the classifier."""
        return self.classifier

    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """The last map's mean."""
        x = frames
        for number, stage in enumerate(self.numbered, start=1):
            x = keep(stage, F.relu(getattr(self, f"norm{number}")(getattr(self, f"conv{number}")(x))))
        return x.mean(2)

    def layer_of(self, parameter: str) -> str:
        """Each convolution with its norm, classifier."""
        return parameter.partition(".")[0].replace("norm", "conv")


def kd_mobilenet() -> Table:
    """Inverted residuals with depthwise kernels of 5 samples, for frames of 128.

    **Source:** the blocks of MobileNetV2 (arXiv 1801.04381).
    **Differs:** a reconstruction; of KD-MobileNet in arXiv 2312.17446 no more than the name is known.
    """
    rows = ((16, 1, 1), (24, 2, 2), (24, 1, 2), (32, 2, 4), (32, 1, 4), (64, 2, 4), (64, 1, 4), (96, 1, 4))
    return Table(
        name="kd_mobilenet",
        stem=Row("conv", 16, kernel_size=7, activation="relu6"),
        rows=tuple(
            Row("inverted", channels, kernel_size=5, stride=stride, expansion=expansion, activation="relu6")
            for channels, stride, expansion in rows
        ),
        head=Head(conv_channels=192, activation="relu6"),
        num_classes=11,
        in_channels=2,
        input_size=(1, 128),
        dropout=0.2,
        dims=1,
    )
