"""FBNet-C and Single-Path NAS as tables: networks of other searches over MnasNet's blocks. Not here: what computes."""

from __future__ import annotations

from limbeck.models.table import Head, Row, Table

__all__ = ["fbnet_c", "single_path_nas"]


def fbnet_c() -> Table:
    """FBNet-C: 5,572,200 parameters, 385.0M multiply-accumulates at 224.

    **Source:** Wu et al. 2019, arXiv 1812.03443; rows as in timm, whose weights fit. An expansion of 1 is a layer too.
    """
    rows = (
        (3, 1, 1, 1, 16),
        (3, 2, 1, 6, 24),
        (3, 1, 2, 1, 24),
        (5, 2, 1, 6, 32),
        (5, 1, 1, 3, 32),
        (5, 1, 1, 6, 32),
        (3, 1, 1, 6, 32),
        (5, 2, 1, 6, 64),
        (5, 1, 1, 3, 64),
        (5, 1, 2, 6, 64),
        (5, 1, 3, 6, 112),
        (5, 1, 1, 3, 112),
        (5, 2, 4, 6, 184),
        (3, 1, 1, 6, 352),
    )
    return Table(
        name="fbnet_c",
        stem=Row("conv", 16, stride=2),
        rows=tuple(
            Row("inverted", channels, kernel, stride, repeats, float(expansion), expands_at_one=expansion == 1)
            for kernel, stride, repeats, expansion, channels in rows
        ),
        head=Head(conv_channels=1984, conv_scaling="fixed"),
        dropout=0.2,
    )


def single_path_nas() -> Table:
    """Single-Path NAS for the Pixel 1: 4,421,616 parameters, 333.5M multiply-accumulates at 224.

    **Source:** Stamoulis et al. 2019, arXiv 1904.02877; rows as in timm, whose weights fit.
    """
    rows = (
        (3, 1, 1, 1, 16),
        (3, 2, 3, 3, 24),
        (5, 2, 1, 6, 40),
        (3, 1, 3, 3, 40),
        (5, 2, 1, 6, 80),
        (3, 1, 3, 3, 80),
        (5, 1, 1, 6, 96),
        (5, 1, 3, 3, 96),
        (5, 2, 4, 6, 192),
        (3, 1, 1, 6, 320),
    )
    return Table(
        name="single_path_nas",
        stem=Row("conv", 32, stride=2),
        rows=tuple(
            Row("inverted", channels, kernel, stride, repeats, float(expansion))
            for kernel, stride, repeats, expansion, channels in rows
        ),
        head=Head(conv_channels=1280, conv_scaling="fixed"),
        dropout=0.2,
    )
