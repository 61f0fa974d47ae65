"""The block-wise space around a reference table: width, depth, kernel, expansion per block, and the input resolution.

Not here: what any other space looks like (`spaces`), and what a point costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limbeck.errors import InputError
from limbeck.models import Row, Table, family_table
from limbeck.models.costs import make_divisible
from limbeck.models.rows import EXPANDING
from limbeck.search.space import Point, Scalar, Space

__all__ = ["BlockBuilder", "find_blocks", "mobilenet_blocks"]

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
    size = (picture_size, picture_size) if isinstance(picture_size, int) else tuple(picture_size)
    if len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise InputError(f"{where}: picture_size must be a side or (height, width) in pixels, got {picture_size!r}")
    sides = _input_sides(where, min(size), input_sizes)
    side = min(sides, key=lambda one: (abs(one - min(size)), -one))
    table = _reference_table(where, reference, num_classes, size, small_images)
    table = replace(table, input_size=_at_side(size, side))
    factors = {
        "widths": [float(one) for one in _checked(where, "widths", widths, low=0.01, high=8.0)],
        "expansions": [float(one) for one in _checked(where, "expansions", expansions, low=0.01, high=8.0)],
    }
    layers = _checked(where, "depths", depths, low=-64, high=64, whole=True)
    kernel_sizes = _checked(where, "kernels", kernels, low=1, high=31, whole=True)
    if even := [one for one in kernel_sizes if one % 2 == 0]:
        raise InputError(f"{where}: kernels must be odd, got {even[0]}")

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


def find_blocks(table: Table) -> tuple[tuple[int, int], ...]:
    """(first, end) of each run of rows with one design, output width and kernel; a stride of 2 begins a new one."""
    begins = [
        index
        for index, row in enumerate(table.rows)
        if index == 0 or row.stride == 2 or _alike(row) != _alike(table.rows[index - 1])
    ]
    return tuple(zip(begins, [*begins[1:], len(table.rows)], strict=True))


def _alike(row: Row) -> tuple[str, int, int]:
    return row.block, row.out_channels, row.kernel_size


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
        return sorted(_checked(where, "input_sizes", input_sizes, low=4, high=4096, whole=True))
    step = 8 if side >= 64 else 2
    shares = {max(min(side, 8), step * round(side * share / step)) for share in INPUT_SHARES if share < 1}
    return sorted({side, *shares})


def _checked(where: str, name: str, values: Any, *, low: float, high: float, whole: bool = False) -> list[Any]:
    """The distinct values, every one a number (a whole one if asked) in the range."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or not (found := list(values)):
        raise InputError(f"{where}: {name} must be a list of numbers, got {values!r}")
    kinds = (int,) if whole else (int, float)
    for value in found:
        if type(value) not in kinds or not low <= value <= high:
            raise InputError(f"{where}: {name} must be {'whole ' * whole}numbers from {low} to {high}, got {value!r}")
    return list(dict.fromkeys(found))


def _reference_table(
    where: str, reference: str | Table, num_classes: int, size: tuple[int, ...], small_images: bool | None
) -> Table:
    if isinstance(reference, Table):
        return replace(reference, num_classes=num_classes)
    if ":" in reference:
        raise InputError(f"{where}: reference '{reference}' has no table to change; name one of our own families")
    height, width = size
    return family_table(reference, num_classes=num_classes, input_size=(height, width), small_images=small_images)
