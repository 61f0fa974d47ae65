"""What spaces around a reference table share: reading the reference, its blocks, and the checks of options.

Not here: what any space makes of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from limbeck.errors import InputError
from limbeck.models import Row, Table, family_table

__all__ = ["checked_kernels", "checked_numbers", "checked_size", "find_blocks", "reference_table"]


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


def checked_numbers(where: str, name: str, values: Any, *, low: float, high: float, whole: bool = False) -> list[Any]:
    """The distinct values, every one a number (a whole one if asked) in the range."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable) or not (found := list(values)):
        raise InputError(f"{where}: {name} must be a list of numbers, got {values!r}")
    kinds = (int,) if whole else (int, float)
    for value in found:
        if type(value) not in kinds or not low <= value <= high:
            raise InputError(f"{where}: {name} must be {'whole ' * whole}numbers from {low} to {high}, got {value!r}")
    return list(dict.fromkeys(found))


def checked_kernels(where: str, kernels: Any) -> list[int]:
    """The distinct kernel sides, odd and from 1 to 31."""
    found = checked_numbers(where, "kernels", kernels, low=1, high=31, whole=True)
    if even := [one for one in found if one % 2 == 0]:
        raise InputError(f"{where}: kernels must be odd, got {even[0]}")
    return found


def checked_size(where: str, picture_size: Any) -> tuple[int, int]:
    """The data's (height, width), given as such or as one side."""
    size = (picture_size, picture_size) if isinstance(picture_size, int) else tuple(picture_size)
    if len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise InputError(f"{where}: picture_size must be a side or (height, width) in pixels, got {picture_size!r}")
    return size


def reference_table(
    where: str, reference: str | Table, num_classes: int, size: tuple[int, ...], small_images: bool | None
) -> Table:
    """The table that a space changes: the one given, or that of one of our families at the data's size."""
    if isinstance(reference, Table):
        return replace(reference, num_classes=num_classes)
    if ":" in reference:
        raise InputError(f"{where}: reference '{reference}' has no table to change; name one of our own families")
    height, width = size
    return family_table(reference, num_classes=num_classes, input_size=(height, width), small_images=small_images)
