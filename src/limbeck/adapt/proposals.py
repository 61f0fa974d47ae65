"""The next narrower networks: for every width that may shrink, the widest choice that is enough faster as measured.

Not here: which of them is taken (`netadapt`), how a latency is measured (a callable's business).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from limbeck.adapt.widths import split_rows, width_groups, with_widths
from limbeck.errors import InputError
from limbeck.models import Table

__all__ = ["Direction", "Latencies", "Proposal", "directions", "narrowest", "propose"]

Latencies = Callable[[Sequence[Table]], Sequence["float | Exception"]]


@dataclass(frozen=True)
class Direction:
    """One width of a network that may shrink on its own.

    Attributes:
        kind: `expansion` (inside one block) or `width` (a bottleneck, in all blocks that share it).
        members: the rows, as in `WidthGroup`; one row for an expansion.
        width: channels now.
        widths: what it may become, descending.
    """

    kind: Literal["expansion", "width"]
    members: tuple[str, ...]
    width: int
    widths: tuple[int, ...]

    def table(self, table: Table, width: int) -> Table:
        """`table` with this width changed.

        Raises:
            InputError: the table cannot have it.
        """
        if self.kind == "expansion":
            return with_widths(table, expansions={int(self.members[0].removeprefix("row")): width})
        return with_widths(table, outputs=dict.fromkeys(self.members, width))

    def describe(self, width: int) -> str:
        """Such as `expansion of block 11: 480 -> 400`; the stem is block 0."""
        numbers = [0 if name == "stem" else int(name.removeprefix("row")) + 1 for name in self.members]
        blocks = f"block {numbers[0]}" if len(numbers) == 1 else f"blocks {numbers[0]}-{numbers[-1]}"
        return f"{self.kind} of {blocks}: {self.width} -> {width}"


@dataclass(frozen=True)
class Proposal:
    """A network that is enough faster.

    Attributes:
        what: the change in words.
        table: the network, one block per row.
        latency_ms: as measured beside the network that it comes from.
    """

    what: str
    table: Table
    latency_ms: float


def directions(table: Table, *, grid: int = 8, min_width: int = 8) -> list[Direction]:
    """Everything in a table of one block per row that may shrink: each block's expansion, then each bottleneck width.

    Args:
        table: as `split_rows` gives it.
        grid: widths are multiples of this.
        min_width: no width below this.
    """

    def found(kind: Literal["expansion", "width"], members: tuple[str, ...], width: int) -> Direction:
        draft = Direction(kind, members, width, ())
        lower = range((width - 1) // grid * grid, max(min_width, 1) - 1, -grid)
        return replace(draft, widths=tuple(one for one in lower if _can_be(draft, table, one)))

    (_, *plans) = table.blocks()
    several = [
        *(
            found("expansion", (f"row{number}",), plan.hidden_channels)
            for number, (plan,) in enumerate(plans)
            if plan.expands
        ),
        *(found("width", group.members, group.width) for group in width_groups(table)),
    ]
    return [one for one in several if one.widths]


def narrowest(table: Table, *, grid: int = 8, min_width: int = 8) -> Table:
    """The table with every width at its least: what no latency target may be below."""
    table = split_rows(table)
    for kind in ("expansion", "width"):  # an expansion of more than 64 times is no row
        for direction in directions(table, grid=grid, min_width=min_width):
            if direction.kind == kind:
                table = direction.table(table, direction.widths[-1])
    return table


def propose(
    table: Table, latencies: Latencies, *, current_ms: float, delta_ms: float, grid: int = 8, min_width: int = 8
) -> tuple[float, list[Proposal]]:
    """For every width that may shrink, the widest choice that is at least `delta_ms` faster as measured.

    All directions are searched at once: each round times one width of every direction in one call. The narrowest comes
    first, which drops the directions that have nothing to give; then the answer is bracketed, by interpolation and by
    halving in turn. In the end all answers are timed once more beside the network that they come from, and one that
    does not hold there becomes narrower until it does.

    Args:
        table: as `split_rows` gives it.
        latencies: tables -> milliseconds each, or what went wrong with that one.
        current_ms: latency of `table`.
        delta_ms: least gain.
        grid: widths are multiples of this.
        min_width: no width below this.

    Returns:
        The latency of `table` as measured beside the proposals, and the proposals; none where nothing is enough faster.

    **Source:** MobileNetV3 (arXiv 1905.02244, section 4.2): both kinds of proposals, and delta. The search is ours.

    Raises:
        InputError: the network itself cannot be timed any more.
    """
    enough_ms = current_ms - delta_ms
    brackets = [_Bracket(one, current_ms) for one in directions(table, grid=grid, min_width=min_width)]
    turn = 0
    while asked := [one for one in brackets if one.choose(enough_ms, interpolate=turn % 2 == 1)]:
        tables = [one.direction.table(table, one.direction.widths[one.chosen]) for one in asked]
        for bracket, latency in zip(asked, _timed(latencies, tables), strict=True):
            bracket.learn(latency, enough_ms)
        turn += 1
    return _confirmed(table, latencies, [one for one in brackets if one.is_open], current_ms, delta_ms)


class _Bracket:
    """Between which widths of a direction the answer lies: at `slow` it is not enough faster, at `fast` it is."""

    def __init__(self, direction: Direction, current_ms: float) -> None:
        self.direction, self.is_open, self.chosen = direction, True, -1
        self.slow, self.slow_ms = -1, current_ms
        self.fast, self.fast_ms = len(direction.widths), math.nan

    def choose(self, enough_ms: float, *, interpolate: bool) -> bool:
        """Choose the place in `widths` that is timed next; False = nothing is left to find out."""
        if not self.is_open or self.fast - self.slow == 1:
            return False
        if self.fast == len(self.direction.widths):
            self.chosen = self.fast - 1
            return True
        place = (self.slow + self.fast) // 2
        if interpolate and self.slow_ms > self.fast_ms:
            share = (self.slow_ms - enough_ms) / (self.slow_ms - self.fast_ms)
            place = math.ceil(self.slow + share * (self.fast - self.slow))
        self.chosen = min(max(place, self.slow + 1), self.fast - 1)
        return True

    def learn(self, latency_ms: float, enough_ms: float) -> None:
        """Take in how long the chosen width takes."""
        if latency_ms <= enough_ms:
            self.fast, self.fast_ms = self.chosen, latency_ms
        elif self.fast == len(self.direction.widths):  # not even the narrowest
            self.is_open = False
        else:
            self.slow, self.slow_ms = self.chosen, latency_ms


def _confirmed(
    table: Table, latencies: Latencies, brackets: list[_Bracket], current_ms: float, delta_ms: float
) -> tuple[float, list[Proposal]]:
    kept: dict[int, Proposal] = {}
    indices = {number: bracket.fast for number, bracket in enumerate(brackets)}
    first = current_ms
    while indices:
        tables = [brackets[one].direction.table(table, brackets[one].direction.widths[i]) for one, i in indices.items()]
        beside, *timed = _timed(latencies, [table, *tables])
        if not math.isfinite(beside):
            raise InputError(f"adapt: the network '{table.name}' cannot be timed any more")
        first = first if kept else beside
        again = {}
        for (number, index), changed, latency in zip(indices.items(), tables, timed, strict=True):
            direction = brackets[number].direction
            if latency <= beside - delta_ms:
                # told relative to the first timing of the table, so that all proposals have one scale
                scaled = latency if beside == first else latency * first / beside
                kept[number] = Proposal(direction.describe(direction.widths[index]), changed, scaled)
            elif index + 1 < len(direction.widths):
                again[number] = index + 1
        indices = again
    return first, [kept[number] for number in sorted(kept)]


def _timed(latencies: Latencies, tables: list[Table]) -> list[float]:
    answers = latencies(tables)
    if len(answers) != len(tables):
        raise ValueError(f"latencies returned {len(answers)} results for {len(tables)} tables")
    return [math.inf if isinstance(one, Exception) else float(one) for one in answers]


def _can_be(direction: Direction, table: Table, width: int) -> bool:
    try:
        direction.table(table, width)
    except InputError:
        return False
    return True
