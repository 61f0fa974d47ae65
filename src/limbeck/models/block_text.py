"""Rows from MnasNet's own notation of blocks, such as `r3_k5_s22_e3_i24_o40_se0.25`. Not here: rows themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from limbeck.errors import InputError
from limbeck.models.rows import Row

__all__ = ["read_blocks"]

OPTION = re.compile(r"(se|[rkseio])([\d.]+)")
NEEDED = {"r": "repeats", "k": "kernel", "s": "strides", "e": "expansion", "i": "input filters", "o": "output filters"}


def read_blocks(
    blocks: Iterable[str], *, entering: int | None = None, activation: str = "relu", where: str = "blocks"
) -> tuple[Row, ...]:
    """Rows of `inverted` blocks from strings `r{repeats}_k{kernel}_s{sh}{sw}_e{expansion}_i{in}_o{out}[_se{ratio}][_noskip]`.

    The options of a block may come in any order. The filters that a block says it takes must be those that it is given,
    or it would be another block; a single block without expansion may say otherwise, which only takes its skip away
    (MnasNet-small: its authors' code compares the written number with the output's).

    Args:
        blocks: one string per row.
        entering: channels that the first block is given; None = those that it says.
        activation: of all.
        where: what to call them in messages.

    Raises:
        InputError: a string in another notation, or one that does not follow the block before it.

    **Source:** the published code of MnasNet (arXiv 1807.11626), `MnasNetDecoder`.

    Example:
        >>> read_blocks(["r1_k3_s11_e1_i32_o16_noskip"])[0].skip
        'none'
    """
    rows: list[Row] = []
    for block in blocks:
        row, says = read_block(block, activation, where)
        given = rows[-1].out_channels if rows else entering
        if given is not None and says != given:
            if row.expansion != 1 or row.repeats != 1:
                raise InputError(f"{where}: '{block}' takes {says} filters, and is given {given}")
            row = replace(row, skip="none")
        rows.append(row)
    return tuple(rows)


def read_block(block: str, activation: str, where: str) -> tuple[Row, int]:
    """One row, and the filters that it says it takes."""
    options: dict[str, str] = {}
    skip = "identity"
    for piece in block.split("_"):
        found = OPTION.fullmatch(piece)
        if piece == "noskip":
            skip = "none"
        elif found is None or found[1] in options:
            raise InputError(
                f"{where}: '{block}': cannot read '{piece}'; expected r, k, s, e, i, o or se with a number, once each, "
                f"or noskip"
            )
        else:
            options[found[1]] = found[2]
    if missing := [f"{key} ({word})" for key, word in NEEDED.items() if key not in options]:
        raise InputError(f"{where}: '{block}' lacks {', '.join(missing)}")
    try:
        repeats, kernel, takes, gives = (int(options[key]) for key in "rkio")
        expansion, se_ratio = float(options["e"]), float(options.get("se", 0))
    except ValueError as error:
        raise InputError(f"{where}: '{block}': {error}") from error
    strides = set(options["s"])
    if len(options["s"]) != 2 or len(strides) != 1 or not strides <= {"1", "2"}:
        raise InputError(f"{where}: '{block}': strides must be s11 or s22, got s{options['s']}")
    stride = int(options["s"][0])
    return Row("inverted", gives, kernel, stride, repeats, expansion, se_ratio, activation, skip), takes
