"""MobileNetV2 as a table. Not here: anything that computes."""

from __future__ import annotations

from limbeck.models.table import Head, Row, Table

__all__ = ["mobilenet_v2"]


def mobilenet_v2() -> Table:
    """MobileNetV2: inverted residuals, linear bottlenecks; 3,504,872 parameters, 300.8M multiply-accumulates at 224.

    **Source:** Sandler et al. 2018, arXiv 1801.04381, Table 2. The last convolution never goes below 1280 channels.
    """
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    return Table(
        name="mobilenet_v2",
        stem=Row("conv", 32, stride=2, activation="relu6"),
        rows=tuple(
            Row("inverted", channels, stride=stride, repeats=repeats, expansion=float(expansion), activation="relu6")
            for expansion, channels, repeats, stride in rows
        ),
        head=Head(conv_channels=1280, activation="relu6", conv_scaling="at_least"),
        dropout=0.2,
    )
