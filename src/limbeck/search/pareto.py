"""The Pareto set of accuracy against cost. Nothing here knows of studies or networks."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["pareto_front"]


def pareto_front(points: Sequence[tuple[float, float]], *, higher_is_better: bool = True) -> list[int]:
    """Indices of the points that no other point beats, from the cheapest to the dearest.

    Args:
        points: (accuracy, cost) pairs; a lower cost is better.
        higher_is_better: direction of the first figure.

    Of points that are equal in both figures only the first is kept.

    Example:
        >>> pareto_front([(0.9, 3.0), (0.8, 1.0), (0.7, 2.0), (0.9, 3.0)])
        [1, 0]
    """
    sign = 1.0 if higher_is_better else -1.0
    front: list[int] = []
    best = float("-inf")
    for index in sorted(range(len(points)), key=lambda i: (points[i][1], -sign * points[i][0], i)):
        gain = sign * points[index][0]
        if gain > best:
            front.append(index)
            best = gain
    return front
