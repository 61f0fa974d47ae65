"""The widths of a table that may shrink on their own, and the table with one of them changed.

Not here: which change pays (`proposals`, `netadapt`), weights (`truncate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from limbeck.errors import InputError
from limbeck.models import Row, Table
from limbeck.models.channels import tied_blocks

__all__ = ["WidthGroup", "join_rows", "split_rows", "width_groups", "with_widths"]


@dataclass(frozen=True)
class WidthGroup:
    """Rows that must give equally many channels, because residual additions join them.

    Attributes:
        width: channels that each of them gives.
        members: `stem`, `row0`, `row1` ..., in order.
    """

    width: int
    members: tuple[str, ...]


def width_groups(table: Table) -> tuple[WidthGroup, ...]:
    """The bottleneck widths of a table, from input to head, each with the rows that share it.

    Two rows share a width where one adds its input, which the other gave, to its output. Equal widths without an
    addition between them are free of each other. The blocks of one row share its width.

    **Source:** MobileNetV3 (arXiv 1905.02244, section 4.2): a bottleneck shrinks in all blocks that share its size, to
    keep the residual connections. The rule that finds them is ours.

    Example:
        >>> from limbeck.models import family_table
        >>> [(group.width, len(group.members)) for group in width_groups(family_table("mobilenet_v3_large"))]
        [(16, 2), (24, 2), (40, 3), (80, 4), (112, 2), (160, 3)]
    """
    names = ["stem", *(f"row{i}" for i, row in enumerate(table.rows) for _ in range(row.repeats))]
    groups: list[WidthGroup] = []
    for blocks in tied_blocks(table):
        members = tuple(dict.fromkeys(names[block] for block in blocks))
        if groups and members[0] == groups[-1].members[-1]:  # a row whose blocks do not add to each other
            members = tuple(dict.fromkeys((*groups.pop().members, *members)))
        width = table.stem.out_channels if members[0] == "stem" else table.rows[int(members[0][3:])].out_channels
        groups.append(WidthGroup(width, members))
    return tuple(groups)


def split_rows(table: Table) -> Table:
    """The same network with a row of its own for every block, so that one block can change."""
    rows = [
        replace(row, repeats=1, stride=row.stride if repeat == 0 else 1)
        for row in table.rows
        for repeat in range(row.repeats)
    ]
    return replace(table, rows=tuple(rows))


def join_rows(table: Table) -> Table:
    """The same network with as few rows as can say it: the opposite of `split_rows`."""
    rows: list[Row] = []
    for row in split_rows(table).rows:
        last = rows[-1] if rows else None
        if last is not None and row.stride == 1 and row == replace(last, repeats=1, stride=1):
            rows[-1] = replace(last, repeats=last.repeats + 1)
        else:
            rows.append(row)
    return replace(table, rows=tuple(rows))


def with_widths(
    table: Table, *, outputs: Mapping[str, int] | None = None, expansions: Mapping[int, int] | None = None
) -> Table:
    """A table of one block per row with other widths; everything that is not named keeps its channels.

    The widths inside blocks are kept in channels where a bottleneck changes (their ratio moves instead), and no skip
    appears or goes where widths come to be equal: it is the same graph, with fewer channels.

    Args:
        table: as `split_rows` gives it.
        outputs: new width by `stem`, `row0` ...; tied rows must be given together.
        expansions: new width inside the block, by the number of its row.

    Raises:
        InputError: a row of several blocks, a width inside that cannot be had, or tied rows of unequal widths.
    """
    outputs, expansions = outputs or {}, expansions or {}
    if any(row.repeats > 1 for row in table.rows):
        raise InputError(f"table '{table.name}': a row has several blocks; split_rows() first")
    (_,), *plans = table.blocks()
    stem = replace(table.stem, out_channels=outputs.get("stem", table.stem.out_channels))
    entering, rows = stem.out_channels, []
    for number, (row, (plan,)) in enumerate(zip(table.rows, plans, strict=True)):
        leaving = outputs.get(f"row{number}", row.out_channels)
        new = replace(row, out_channels=leaving)
        hidden = expansions.get(number, plan.hidden_channels)
        if plan.expands and (hidden, entering) != (plan.hidden_channels, plan.in_channels):
            new = replace(new, expansion=hidden / entering)
            if hidden == entering and row.block == "inverted":  # or the layer would vanish
                new = replace(new, expands_at_one=True)
        elif number in expansions and hidden != plan.hidden_channels:
            raise InputError(f"table '{table.name}': row{number} has no expansion to change")
        now = table.plan(new, entering, row.stride)
        if plan.skip != "none" and now.skip == "none":
            raise InputError(f"table '{table.name}': row{number} adds its input of {entering} channels to {leaving}")
        if plan.skip == "none" and now.skip != "none":
            new = replace(new, skip="none")
        if plan.expands and (now.hidden_channels != hidden or not now.expands):
            raise InputError(
                f"table '{table.name}': row{number} cannot have {hidden} channels inside; "
                f"multiples of {table.inner_divisor or table.divisor} can be had"
            )
        rows.append(new)
        entering = leaving
    return replace(table, stem=stem, rows=tuple(rows))
