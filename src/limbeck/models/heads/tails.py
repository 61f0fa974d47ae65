"""What dense networks do to a table's last rows: strides turned into dilation, widths halved. Not here: the heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from limbeck.errors import InputError
from limbeck.models.table import Row, Table

__all__ = ["dilate_tail", "halve_tail", "tail_start", "without_classifier"]


def tail_start(table: Table) -> int:
    """The row that the last resolution of a table begins with."""
    strided = [i for i, row in enumerate(table.rows) if row.stride == 2]
    if not strided:
        raise InputError(f"table '{table.name}': no row has a stride of 2, so that there is no last resolution")
    return strided[-1]


def without_classifier(table: Table, *, keep_conv: bool = True) -> Table:
    """The table whose head ends at its last convolution, or (`keep_conv=False`) at its rows."""
    conv = table.head.conv_channels if keep_conv else None
    return replace(table, head=replace(table.head, conv_channels=conv, feature_channels=None, feature_norm=False))


def split_first(row: Row, **changes: Any) -> list[Row]:
    """A row as its first block, changed, and the others, which have stride 1."""
    first = replace(row, repeats=1, **changes)
    return [first] if row.repeats == 1 else [first, replace(row, repeats=row.repeats - 1, stride=1)]


def dilate_tail(table: Table, output_stride: int, *, from_converted: bool = False) -> Table:
    """The table whose strides beyond `output_stride` are 1, with dilation in their place.

    A converted block keeps the dilation of those before it; the blocks after it have twice that.

    Args:
        table: of a classifier, mostly of stride 32.
        output_stride: of the picture to the last map, a power of two of at least 4.
        from_converted: whether the converted block has the doubled dilation already (torchvision).

    Raises:
        InputError: another output stride.

    **Source:** the published code of MobileNetV3 (arXiv 1905.02244), whose rate is raised after the converted layer.
    """
    if type(output_stride) is not int or output_stride < 4 or output_stride & (output_stride - 1):
        raise InputError(f"output_stride must be a power of two of at least 4, got {output_stride!r}")
    rows: list[Row] = []
    stride, dilation = table.stem.stride, 1
    for row in table.rows:
        if row.stride == 1 or stride * row.stride <= output_stride:
            stride *= row.stride
            rows.append(replace(row, dilation=row.dilation * dilation))
            continue
        first = dilation * 2 if from_converted else dilation
        dilation *= 2
        later = replace(row, stride=1, dilation=row.dilation * dilation)
        rows += [later] if first == dilation else split_first(later, dilation=row.dilation * first)
    return replace(table, rows=tuple(rows))


def halve_tail(table: Table, *, keep_first_inside: bool = False) -> Table:
    """The table with half the channels from its last stride on, the last convolution included.

    Args:
        table: with all channels.
        keep_first_inside: whether the first of these blocks keeps its inner width, which a detector reads (SSDLite);
            a segmenter halves it too.

    **Source:** MobileNetV3 (arXiv 1905.02244), sections 6.3 and 6.4, with the widths of its published code.
    """
    start, rows = tail_start(table), list(table.rows)
    tail: list[Row] = []
    for i, row in enumerate(rows[start:]):
        halved = replace(row, out_channels=row.out_channels // 2)
        if i == 0 and not keep_first_inside and halved.expansion != 1:
            tail += split_first(halved, expansion=halved.expansion / 2)
        else:
            tail.append(halved)
    conv = table.head.conv_channels
    head = replace(table.head, conv_channels=None if conv is None else conv // 2)
    return replace(table, rows=(*rows[:start], *tail), head=head)
