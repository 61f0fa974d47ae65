"""Narrower forms of a network drawn at random, for what is measured before an adaptation. None of them is a proposal."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from limbeck.adapt.proposals import directions
from limbeck.adapt.widths import split_rows
from limbeck.errors import InputError
from limbeck.models import Table

__all__ = ["draw_narrowings"]

REPEATS = 100  # draws in a row that bring nothing new, after which a table counts as drawn out


def draw_narrowings(table: Table, *, grid: int = 8, min_width: int = 8, seed: int = 0) -> Iterator[Table]:
    """Networks that an adaptation may come to: the table itself first, then narrower ones, none twice.

    For each a share is drawn, then that share of its widths on the grid, the others as they are: so near forms of the
    table come as often as far ones.

    Args:
        table: the seed's.
        grid: widths are multiples of this.
        min_width: no width below this.
        seed: of the draw.

    Yields:
        Tables of one block per row.
    """
    chance, start = random.Random(seed), split_rows(table)
    several = directions(start, grid=grid, min_width=min_width)
    several.sort(key=lambda one: one.kind == "expansion")  # narrower inside after the bottlenecks: ratios only fall
    seen, repeats = {start.fingerprint()}, 0
    yield start
    while repeats < REPEATS:
        narrowed, share = start, chance.random()
        for one in several:
            if chance.random() < share:
                with contextlib.suppress(InputError):  # not with the widths drawn before it: then it stays as it is
                    narrowed = one.table(narrowed, chance.choice(one.widths))
        if (key := narrowed.fingerprint()) in seen:
            repeats += 1
            continue
        seen.add(key)
        repeats = 0
        yield narrowed
