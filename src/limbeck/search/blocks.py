"""The block-wise space around a reference table: width, depth, kernel, expansion per block, and the input resolution.

Not here: what any other space looks like (`spaces`), and what a point costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limbeck.models import Row, Table
from limbeck.models.costs import make_divisible
from limbeck.models.rows import EXPANDING
from limbeck.search.reference import checked_kernels, checked_numbers, checked_size, find_blocks, reference_table
from limbeck.search.space import Point, Scalar, Space

__all__ = ["BlockBuilder", "mobilenet_blocks"]

INPUT_SHARES = (0.5, 0.75, 1.0)  # of the picture's side, where no input sizes are given


def mobilenet_blocks(
    reference: str | Table = "mobilenet_v3_small",
    *,
    num_classes: int,
    picture_size: int | tuple[int, int],
    widths: Sequence[float] = (0.5, 0.75, 1.0),
    depths: Sequence[int] = (-1, 0, 1),
    kernels: Sequence[int] = (3, 5),
    expansions: Sequence[float] = (0.5, 0.75, 1.0),
    input_sizes: Sequence[int] | None = None,
    small_images: bool | None = None,
) -> Space:
    """A factorized space: every block of the reference chooses for itself, one resolution goes for all.

    A block is a run of rows with the same output width and kernel; a stride of 2 begins a new one. Its choices are
    `width` (multiplies the output channels), `depth` (layers added or taken away), `kernel` (sides in pixels) and
    `expansion` (multiplies the width inside the blocks); `input_size` is the shorter side in pixels.

    What the reference has is always among the choices, and the reference point builds the reference itself. Every point
    builds. Values that could not, or that would build what another value builds, are no choices: a depth that leaves no
    layer, widths that round to the same channels, an expansion for a block that expands nothing. Layers are taken and
    added at the end of a block, so the layer with the stride stays. An expansion does not fall below 1.

    Args:
        reference: a name of one of our families, or a table (whose strides are then kept).
        num_classes: K.
        picture_size: of the data, side or (height, width); the reference works at the input size nearest to it.
        widths: factors on a block's output channels.
        depths: layers more or less.
        kernels: sides, odd.
        expansions: factors on a block's inner width.
        input_sizes: shorter sides; the longer follows in proportion. None = 1/2, 3/4 and all of the picture's.
        small_images: stem without stride, as in `create_model`; decided by `picture_size` for all points alike.

    Raises:
        InputError: a value out of range, or a reference without a table.

    **Source:** Tan et al. 2019, arXiv 1807.11626, section 4 (factorized hierarchical search space).
    **Differs:** resolution is searched, block type, squeeze-excite and skip are kept as in the reference; expansion is
    a factor, so that references with different expansions inside a block fit.
    """
    where = "space 'mobilenet_blocks'"
    size = checked_size(where, picture_size)
    sides = _input_sides(where, min(size), input_sizes)
    side = min(sides, key=lambda one: (abs(one - min(size)), -one))
    table = reference_table(where, reference, num_classes, size, small_images)
    table = replace(table, input_size=_at_side(size, side))
    factors = {
        "widths": [float(one) for one in checked_numbers(where, "widths", widths, low=0.01, high=8.0)],
        "expansions": [float(one) for one in checked_numbers(where, "expansions", expansions, low=0.01, high=8.0)],
    }
    layers = checked_numbers(where, "depths", depths, low=-64, high=64, whole=True)
    kernel_sizes = checked_kernels(where, kernels)

    choices: dict[str, tuple[Scalar, ...]] = {"input_size": tuple(sides)}
    own: Point = {"input_size": side}
    blocks = find_blocks(table)
    for index, (first, end) in enumerate(blocks):
        rows = table.rows[first:end]
        depth = sum(row.repeats for row in rows)
        ids: dict[str, list[Any]] = {
            "width": _distinct_widths(rows[0].out_channels, factors["widths"], table.divisor),
            "depth": sorted({0, *(one for one in layers if depth + one >= 1)}),
            "kernel": sorted({rows[0].kernel_size, *kernel_sizes}),
        }
        if any(_expands(row) for row in rows):
            ids["expansion"] = sorted({1.0, *factors["expansions"]})
        choices |= {f"block{index}.{name}": tuple(values) for name, values in ids.items()}
        mine = {"width": 1.0, "depth": 0, "kernel": rows[0].kernel_size, "expansion": 1.0}
        own |= {f"block{index}.{name}": mine[name] for name in ids}
    origin = {"builder": "limbeck.search:mobilenet_blocks", "reference": table.to_json()}
    return Space("mobilenet_blocks", choices, BlockBuilder(table, blocks), own, origin)


@dataclass(frozen=True)
class BlockBuilder:
    """Builds the table of a point; plain data, so that it can be sent to another process.

    Attributes:
        reference: what the choices change.
        blocks: (first, end) of each block in the reference's rows.
    """

    reference: Table
    blocks: tuple[tuple[int, int], ...]

    def __call__(self, point: Point) -> Table:
        """The reference with every block as the point says."""
        rows: list[Row] = []
        for index, (first, end) in enumerate(self.blocks):
            chosen = {name: point.get(f"block{index}.{name}") for name in ("width", "depth", "kernel", "expansion")}
            rows += self._block(self.reference.rows[first:end], **chosen)
        size = _at_side(self.reference.input_size, int(point["input_size"]))
        table = replace(self.reference, rows=tuple(rows), input_size=size)
        return table if table == self.reference else replace(table, name=f"{table.name}-searched")

    def _block(self, rows: Sequence[Row], *, width: Any, depth: Any, kernel: Any, expansion: Any) -> list[Row]:
        channels = _scaled_width(rows[0].out_channels, width, self.reference.divisor)
        changed = [
            replace(
                row,
                out_channels=channels,
                kernel_size=kernel,
                expansion=max(1.0, row.expansion * expansion) if _expands(row) else row.expansion,
            )
            for row in rows
        ]
        return _with_depth(changed, sum(row.repeats for row in rows) + depth)


def _expands(row: Row) -> bool:
    return row.block in EXPANDING and row.expansion > 1


def _with_depth(rows: list[Row], depth: int) -> list[Row]:
    """Take layers from the end, or repeat the last row more often, until there are `depth` of them."""
    kept: list[Row] = []
    left = depth
    for place, row in enumerate(rows):
        repeats = left if place == len(rows) - 1 else min(row.repeats, left)
        if repeats > 0:
            kept.append(replace(row, repeats=repeats))
        left -= repeats
    return kept


def _scaled_width(channels: int, factor: float, divisor: int) -> int:
    """As `Table.scaled` rounds; a published width that is no multiple of the divisor stays as it is at 1."""
    return channels if factor == 1 else make_divisible(channels * factor, divisor)


def _distinct_widths(channels: int, factors: Iterable[float], divisor: int) -> list[float]:
    """The factors that give different channels; 1 stands for the reference's own."""
    kept = {channels: 1.0}
    for factor in sorted(set(factors), key=lambda one: abs(one - 1)):
        kept.setdefault(_scaled_width(channels, factor, divisor), factor)
    return sorted(kept.values())


def _at_side(size: tuple[int, ...], side: int) -> tuple[int, int]:
    height, width = size
    scale = side / min(size)
    return (side, round(width * scale)) if height <= width else (round(height * scale), side)


def _input_sides(where: str, side: int, input_sizes: Sequence[int] | None) -> list[int]:
    if input_sizes is not None:
        return sorted(checked_numbers(where, "input_sizes", input_sizes, low=4, high=4096, whole=True))
    step = 8 if side >= 64 else 2
    shares = {max(min(side, 8), step * round(side * share / step)) for share in INPUT_SHARES if share < 1}
    return sorted({side, *shares})
