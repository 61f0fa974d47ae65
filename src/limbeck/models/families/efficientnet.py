"""EfficientNet-B0 and -Lite0 as tables. Not here: anything that computes."""

from __future__ import annotations

from dataclasses import replace

from limbeck.models.table import Head, Row, Table

__all__ = ["efficientnet_b0", "efficientnet_lite0"]


def efficientnet_b0() -> Table:
    """EfficientNet-B0: 5,288,548 parameters, 385.8M multiply-accumulates at 224.

    **Source:** Tan and Le 2019, arXiv 1905.11946, Table 1; batch-norm eps 1e-3 as in the authors' code.
    **Differs:** batch-norm momentum 0.1, not the code's 0.01: running statistics must follow within a short training.
    No stochastic depth.
    """
    rows = (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )
    return Table(
        name="efficientnet_b0",
        stem=Row("conv", 32, stride=2, activation="silu"),
        rows=tuple(
            Row("inverted", channels, kernel, stride, repeats, float(expansion), 0.25, "silu")
            for expansion, kernel, stride, channels, repeats in rows
        ),
        head=Head(conv_channels=1280, activation="silu"),
        dropout=0.2,
        bn_eps=1e-3,
        se_from="input",
        se_divisor=1,
        se_gate="sigmoid",
        se_activation="silu",
    )


def efficientnet_lite0() -> Table:
    """EfficientNet-Lite0: 4,652,008 parameters, 385.2M multiply-accumulates at 224.

    **Source:** the authors' code of the Lite family: B0 without squeeze-excite, with ReLU6 for SiLU; its wider
    networks keep the stem and the last convolution. Momentum and stochastic depth as in B0.
    """
    b0 = efficientnet_b0()
    return replace(
        b0,
        name="efficientnet_lite0",
        stem=replace(b0.stem, activation="relu6"),
        rows=tuple(replace(row, se_ratio=0.0, activation="relu6") for row in b0.rows),
        head=replace(b0.head, activation="relu6", conv_scaling="fixed"),
    )
