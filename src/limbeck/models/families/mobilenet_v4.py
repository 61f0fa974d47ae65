"""MobileNetV4-Conv-S and -M as tables. Not here: anything that computes; the hybrid networks' attention."""

from __future__ import annotations

from limbeck.models.table import Head, Row, Table

__all__ = ["mobilenet_v4_conv_medium", "mobilenet_v4_conv_small"]


def universal(
    start: int, kernel: int, expansion: float, out_channels: int, *, stride: int = 1, repeats: int = 1
) -> Row:
    """A universal inverted bottleneck: depthwise kernels before and after the expansion, 0 = none."""
    return Row("inverted", out_channels, kernel, stride, repeats, float(expansion), start_kernel_size=start)


def mobilenet_v4(name: str, rows: tuple[Row, ...], side: int) -> Table:
    """What they share: ReLU, no squeeze-excite, a feature layer with a norm and without a bias."""
    return Table(
        name=name,
        stem=Row("conv", 32, stride=2),
        rows=rows,
        head=Head(conv_channels=960, feature_channels=1280, feature_bias=False, feature_norm=True),
        input_size=(side, side),
        dropout=0.2,
    )


def mobilenet_v4_conv_small() -> Table:
    """MobileNetV4-Conv-S: 3,774,024 parameters, 186.0M multiply-accumulates at 224.

    **Source:** Qin et al. 2024, arXiv 2404.10518; rows as in timm, whose weights fit.
    """
    rows = (
        Row("conv", 32, stride=2),
        Row("conv", 32, kernel_size=1),
        Row("conv", 96, stride=2),
        Row("conv", 64, kernel_size=1),
        universal(5, 5, 3, 96, stride=2),
        universal(0, 3, 2, 96, repeats=4),
        universal(3, 0, 4, 96),
        universal(3, 3, 6, 128, stride=2),
        universal(5, 5, 4, 128),
        universal(0, 5, 4, 128),
        universal(0, 5, 3, 128),
        universal(0, 3, 4, 128, repeats=2),
    )
    return mobilenet_v4("mobilenet_v4_conv_small", rows, 224)


def mobilenet_v4_conv_medium() -> Table:
    """MobileNetV4-Conv-M: 9,715,512 parameters, 827.6M multiply-accumulates at 224 (1,080.2M at 256, its own size).

    **Source:** Qin et al. 2024, arXiv 2404.10518; rows as in timm, whose weights fit.
    """
    rows = (
        Row("fused", 48, stride=2, expansion=4.0),
        universal(3, 5, 4, 80, stride=2),
        universal(3, 3, 2, 80),
        universal(3, 5, 6, 160, stride=2),
        universal(3, 3, 4, 160, repeats=2),
        universal(3, 5, 4, 160),
        universal(3, 3, 4, 160),
        universal(3, 0, 4, 160),
        universal(0, 0, 2, 160),
        universal(3, 0, 4, 160),
        universal(5, 5, 6, 256, stride=2),
        universal(5, 5, 4, 256),
        universal(3, 5, 4, 256, repeats=2),
        universal(0, 0, 4, 256),
        universal(3, 0, 4, 256),
        universal(3, 5, 2, 256),
        universal(5, 5, 4, 256),
        universal(0, 0, 4, 256, repeats=2),
        universal(5, 0, 2, 256),
    )
    return mobilenet_v4("mobilenet_v4_conv_medium", rows, 256)
