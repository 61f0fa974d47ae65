"""MobileNetV3-Large and -Small as tables, and what is made of them. Not here: anything that computes."""

from __future__ import annotations

from dataclasses import replace

from limbeck.models.table import Head, Row, Table

__all__ = [
    "mobilenet_v3_large",
    "mobilenet_v3_large_minimal",
    "mobilenet_v3_rw",
    "mobilenet_v3_small",
    "mobilenet_v3_small_minimal",
]


def bneck(
    kernel_size: int, inside: int, entering: int, out_channels: int, se: bool, activation: str, stride: int
) -> Row:
    """One line of the paper's tables, with the inner width written as the paper does."""
    return Row(
        "inverted",
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        expansion=inside / entering,
        se_ratio=0.25 if se else 0.0,
        activation=activation,
    )


def mobilenet_v3_large() -> Table:
    """MobileNetV3-Large: 5,483,032 parameters, 216.6M multiply-accumulates at 224.

    **Source:** Howard et al. 2019, arXiv 1905.02244, Table 1. Batch-norm eps 1e-3 as in the authors' code; libraries'
    weights bring their own.
    **Differs:** batch-norm momentum 0.1, not the paper's 0.01: running statistics must follow within a short training.
    """
    relu, swish = "relu", "hard_swish"
    return Table(
        name="mobilenet_v3_large",
        stem=Row("conv", 16, stride=2, activation=swish),
        rows=(
            bneck(3, 16, 16, 16, False, relu, 1),
            bneck(3, 64, 16, 24, False, relu, 2),
            bneck(3, 72, 24, 24, False, relu, 1),
            bneck(5, 72, 24, 40, True, relu, 2),
            bneck(5, 120, 40, 40, True, relu, 1),
            bneck(5, 120, 40, 40, True, relu, 1),
            bneck(3, 240, 40, 80, False, swish, 2),
            bneck(3, 200, 80, 80, False, swish, 1),
            bneck(3, 184, 80, 80, False, swish, 1),
            bneck(3, 184, 80, 80, False, swish, 1),
            bneck(3, 480, 80, 112, True, swish, 1),
            bneck(3, 672, 112, 112, True, swish, 1),
            bneck(5, 672, 112, 160, True, swish, 2),
            bneck(5, 960, 160, 160, True, swish, 1),
            bneck(5, 960, 160, 160, True, swish, 1),
        ),
        head=Head(conv_channels=960, feature_channels=1280, activation=swish),
        dropout=0.2,
        bn_eps=1e-3,
    )


def mobilenet_v3_small() -> Table:
    """MobileNetV3-Small: 2,542,856 parameters, 56.5M multiply-accumulates at 224.

    **Source:** Howard et al. 2019, arXiv 1905.02244, Table 2, with the last version's feature layer of 1024 channels,
    which its wider networks scale (1280 at 1.25 is what gives Table 9's counts) and its narrower ones keep.
    **Differs:** no squeeze-excite on the last convolution, which the table ticks and no code has; momentum as in Large.
    """
    relu, swish = "relu", "hard_swish"
    return Table(
        name="mobilenet_v3_small",
        stem=Row("conv", 16, stride=2, activation=swish),
        rows=(
            bneck(3, 16, 16, 16, True, relu, 2),
            bneck(3, 72, 16, 24, False, relu, 2),
            bneck(3, 88, 24, 24, False, relu, 1),
            bneck(5, 96, 24, 40, True, swish, 2),
            bneck(5, 240, 40, 40, True, swish, 1),
            bneck(5, 240, 40, 40, True, swish, 1),
            bneck(5, 120, 40, 48, True, swish, 1),
            bneck(5, 144, 48, 48, True, swish, 1),
            bneck(5, 288, 48, 96, True, swish, 2),
            bneck(5, 576, 96, 96, True, swish, 1),
            bneck(5, 576, 96, 96, True, swish, 1),
        ),
        head=Head(conv_channels=576, feature_channels=1024, activation=swish, feature_scaling="at_least"),
        dropout=0.2,
        bn_eps=1e-3,
    )


def minimalistic(table: Table) -> Table:
    """The same widths with ReLU, kernels of 3x3 and no squeeze-excite: what every accelerator has."""
    return replace(
        table,
        name=f"{table.name}_minimal",
        stem=replace(table.stem, activation="relu"),
        rows=tuple(replace(row, kernel_size=3, se_ratio=0.0, activation="relu") for row in table.rows),
        head=replace(table.head, activation="relu"),
    )


def mobilenet_v3_large_minimal() -> Table:
    """Minimalistic MobileNetV3-Large: 3,924,288 parameters, 209.1M multiply-accumulates at 224.

    **Source:** the published code of arXiv 1905.02244: ReLU everywhere, kernels of 3x3, no squeeze-excite.
    """
    return minimalistic(mobilenet_v3_large())


def mobilenet_v3_small_minimal() -> Table:
    """Minimalistic MobileNetV3-Small: 2,044,736 parameters, 52.3M multiply-accumulates at 224.

    **Source:** the published code of arXiv 1905.02244: ReLU everywhere, kernels of 3x3, no squeeze-excite.
    """
    return minimalistic(mobilenet_v3_small())


def mobilenet_v3_rw() -> Table:
    """The first MobileNetV3-Large of timm: 5,479,918 parameters, 216.6M multiply-accumulates at 224.

    **Source:** timm's `mobilenetv3_rw`: squeeze widths are not rounded, the squeeze has the block's activation, the
    feature layer has no bias, and the first block adds no input.
    """
    large = mobilenet_v3_large()
    return replace(
        large,
        name="mobilenet_v3_rw",
        rows=(replace(large.rows[0], skip="none"), *large.rows[1:]),
        head=replace(large.head, feature_bias=False),
        se_divisor=1,
        se_activation="block",
    )
