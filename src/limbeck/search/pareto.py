"""The Pareto set of accuracy against cost, and the area under it. Nothing here knows of studies or networks."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["hypervolume", "pareto_front"]


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


def hypervolume(points: Sequence[tuple[float, float]], worst: tuple[float, float]) -> float:
    """Area of what the points beat, up to `worst`: the union of the boxes between each point and it.

    Args:
        points: (accuracy, cost) pairs; more accuracy and less cost are better. Those beyond `worst` add nothing.
        worst: (accuracy, cost) that every point of interest beats.

    Example:
        >>> hypervolume([(0.5, 1.0), (1.0, 3.0), (0.4, 2.0)], worst=(0.0, 4.0))
        2.0
    """
    inside = [(accuracy, cost) for accuracy, cost in points if accuracy > worst[0] and cost < worst[1]]
    front = [inside[index] for index in pareto_front(inside)]
    ends = [*(cost for _, cost in front), worst[1]][1:]
    return float(sum((accuracy - worst[0]) * (end - cost) for (accuracy, cost), end in zip(front, ends, strict=True)))
