"""Points of a space drawn at random, for what is measured before a search. A search itself draws by its samplers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from limbeck.search.space import Point, Space

__all__ = ["draw_points"]

LISTED = 10_000  # points of a space that is shuffled whole: drawing one by one would hardly find the last


def draw_points(space: Space, *, seed: int = 0) -> Iterator[Point]:
    """Every choice drawn on its own, all ids alike; the reference comes first, no point twice, and all in the end.

    Args:
        space: of the points.
        seed: of the draw.

    Example:
        >>> from limbeck.search import Space
        >>> space = Space("toy", {"width": (16, 24), "kernel": (3, 5)}, dict, {"width": 16, "kernel": 3})
        >>> points = list(draw_points(space))
        >>> points[0], len(points)
        ({'width': 16, 'kernel': 3}, 4)
    """
    chance = random.Random(seed)
    seen = {tuple(space.reference.values())}
    yield dict(space.reference)
    if space.size <= LISTED:
        listed = list(itertools.product(*space.choices.values()))
        chance.shuffle(listed)
        yield from (dict(zip(space.choices, ids, strict=True)) for ids in listed if ids not in seen)
        return
    while len(seen) < space.size:
        ids = tuple(chance.choice(several) for several in space.choices.values())
        if ids not in seen:
            seen.add(ids)
            yield dict(zip(space.choices, ids, strict=True))
