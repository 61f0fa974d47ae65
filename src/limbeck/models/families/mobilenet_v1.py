"""MobileNetV1 as a table. Not here: anything that computes."""

from __future__ import annotations

from limbeck.models.table import Head, Row, Table

__all__ = ["mobilenet_v1"]


def mobilenet_v1() -> Table:
    """MobileNetV1: thirteen depthwise-separable blocks; 4,231,976 parameters, 568.7M multiply-accumulates at 224.

    **Source:** Howard et al. 2017, arXiv 1704.04861, Table 1.
    **Differs:** ReLU6, as in the authors' later code and every published weight; the paper says ReLU.
    """

    def separable(out_channels: int, stride: int, repeats: int = 1) -> Row:
        return Row("separable", out_channels, stride=stride, repeats=repeats, activation="relu6", skip="none")

    return Table(
        name="mobilenet_v1",
        stem=Row("conv", 32, stride=2, activation="relu6"),
        rows=(
            separable(64, 1),
            separable(128, 2),
            separable(128, 1),
            separable(256, 2),
            separable(256, 1),
            separable(512, 2),
            separable(512, 1, repeats=5),
            separable(1024, 2),
            separable(1024, 1),
        ),
        head=Head(),
        dropout=0.2,
    )
