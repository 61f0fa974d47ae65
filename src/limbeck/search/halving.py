"""Which candidates are worth the rest of their training, judged after a part of it. Nothing here trains or asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from limbeck.errors import InputError

__all__ = ["Halving", "count_better"]


@dataclass(frozen=True)
class Halving:
    """A rule that ends hopeless candidates early: short trainings first, and the whole one for the best of them.

    At each rung a candidate goes on while fewer than one in `factor` of all that came there, its own generation
    included, are better. Every rung is a training of its own, with the whole schedule in fewer epochs: it ranks better than
    the start of a long one, for a share of its cost.

    Attributes:
        factor: one in so many goes on, and so many times longer is the next training.
        rungs: trainings before the whole one.

    Raises:
        InputError: a number out of its range.

    **Source:** Li et al. 2020 (asynchronous successive halving), arXiv 1810.05934.
    **Differs:** candidates of a generation are judged together, not as they come, so that a search that was killed goes on
    as if it had not been; of two objectives, better is what fewer others dominate.
    """

    factor: int = 3
    rungs: int = 1

    def __post_init__(self) -> None:
        for name, value, least in (("factor", self.factor, 2), ("rungs", self.rungs, 1)):
            if type(value) is not int or value < least:
                raise InputError(f"halving: {name} must be a whole number of at least {least}, got {value!r}")

    def shares(self) -> tuple[float, ...]:
        """What each rung's training is of the whole one, shortest first.

        Example:
            >>> Halving(factor=2, rungs=2).shares()
            (0.25, 0.5)
        """
        return tuple(self.factor**-rung for rung in range(self.rungs, 0, -1))

    def goes_on(self, better: int, among: int) -> bool:
        """Whether a candidate that `better` of `among` are better than goes on."""
        return better < among / self.factor


def count_better(figures: Sequence[tuple[float, ...]]) -> list[int]:
    """For each, how many others are dominated by fewer than it is; of one figure, how many have more of it.

    What has no less of any figure and more of one dominates.

    Example:
        >>> count_better([(0.9, -3.0), (0.8, -3.0), (0.5, -1.0), (0.9, -3.0)])
        [0, 3, 0, 0]
    """
    above = [
        sum(other != one and all(a >= b for a, b in zip(other, one, strict=True)) for other in figures)
        for one in figures
    ]
    return [sum(other < mine for other in above) for mine in above]
