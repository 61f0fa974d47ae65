"""The MnasNets as tables, from the block strings of their authors' code. Not here: anything that computes."""

from __future__ import annotations

from dataclasses import replace

from limbeck.models.block_text import read_blocks
from limbeck.models.table import Head, Row, Table

__all__ = ["mnasnet_a1", "mnasnet_b1", "mnasnet_d1", "mnasnet_d1_320", "mnasnet_small"]

A1 = (
    "r1_k3_s11_e1_i32_o16_noskip",
    "r2_k3_s22_e6_i16_o24",
    "r3_k5_s22_e3_i24_o40_se0.25",
    "r4_k3_s22_e6_i40_o80",
    "r2_k3_s11_e6_i80_o112_se0.25",
    "r3_k5_s22_e6_i112_o160_se0.25",
    "r1_k3_s11_e6_i160_o320",
)
B1 = (
    "r1_k3_s11_e1_i32_o16_noskip",
    "r3_k3_s22_e3_i16_o24",
    "r3_k5_s22_e3_i24_o40",
    "r3_k5_s22_e6_i40_o80",
    "r2_k3_s11_e6_i80_o96",
    "r4_k5_s22_e6_i96_o192",
    "r1_k3_s11_e6_i192_o320_noskip",
)
SMALL = (
    "r1_k3_s11_e1_i16_o8",
    "r1_k3_s22_e3_i8_o16",
    "r2_k3_s22_e6_i16_o16",
    "r4_k5_s22_e6_i16_o32_se0.25",
    "r3_k3_s11_e6_i32_o32_se0.25",
    "r3_k5_s22_e6_i32_o88_se0.25",
    "r1_k3_s11_e6_i88_o144",
)
D1 = (
    "r1_k3_s11_e9_i32_o24",
    "r3_k3_s22_e9_i24_o36",
    "r5_k3_s22_e9_i36_o48",
    "r4_k5_s22_e9_i48_o96",
    "r5_k7_s11_e3_i96_o96",
    "r3_k3_s22_e9_i96_o80",
    "r1_k7_s11_e6_i80_o320_noskip",
)
D1_320 = (
    "r3_k5_s11_e6_i32_o24",
    "r4_k7_s22_e9_i24_o36",
    "r5_k5_s22_e9_i36_o48",
    "r5_k7_s22_e6_i48_o96",
    "r5_k3_s11_e9_i96_o144",
    "r5_k5_s22_e6_i144_o160",
    "r1_k7_s11_e9_i160_o320",
)


def mnasnet(name: str, blocks: tuple[str, ...], stem: int = 32, dropout: float = 0.2) -> Table:
    """What they share: ReLU, a squeeze that follows the block's input, a last convolution that is never scaled."""
    return Table(
        name=name,
        stem=Row("conv", stem, stride=2),
        rows=read_blocks(blocks, entering=stem, where=name),
        head=Head(conv_channels=1280, conv_scaling="fixed"),
        dropout=dropout,
        bn_eps=1e-3,
        se_from="input",
        se_divisor=1,
        se_gate="sigmoid",
    )


def mnasnet_a1() -> Table:
    """MnasNet-A1: 3,887,038 parameters, 311.6M multiply-accumulates at 224.

    **Source:** Tan et al. 2019, arXiv 1807.11626, Fig. 7, and the block strings of the authors' code.
    **Differs:** batch-norm momentum 0.1, not the code's 0.01: running statistics must follow within a short training.
    """
    return mnasnet("mnasnet_a1", A1)


def mnasnet_b1() -> Table:
    """MnasNet-B1, without squeeze-excite: 4,383,312 parameters, 314.4M multiply-accumulates at 224.

    **Source:** the block strings of the authors' code of arXiv 1807.11626. Momentum as in A1.
    """
    return mnasnet("mnasnet_b1", B1)


def mnasnet_small() -> Table:
    """MnasNet-small: 2,030,264 parameters, 68.3M multiply-accumulates at 224.

    **Source:** the block strings of the authors' code of arXiv 1807.11626, whose first block takes 16 filters by its
    words and 8 in truth, and so adds no input; timm's adds it, and its weights bring that. Momentum as in A1.
    """
    return mnasnet("mnasnet_small", SMALL, stem=8, dropout=0.0)


def mnasnet_d1() -> Table:
    """MnasNet-D1, searched for detection: 3,638,404 parameters, 967.7M multiply-accumulates at 224.

    **Source:** the block strings of the authors' code of arXiv 1807.11626. Momentum as in A1.
    """
    return replace(mnasnet("mnasnet_d1", D1), inner_divisor=1)  # 9 x 36 channels are no multiple of 8


def mnasnet_d1_320() -> Table:
    """MnasNet-D1-320, searched for detection at 320: 6,932,240 parameters, 1,807.7M multiply-accumulates at 224
    (3,687.9M at 320).

    **Source:** the block strings of the authors' code of arXiv 1807.11626. Momentum as in A1.
    """
    return replace(mnasnet("mnasnet_d1_320", D1_320), inner_divisor=1, input_size=(320, 320))
