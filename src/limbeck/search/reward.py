"""One figure from accuracy and latency, for samplers that maximise a single one. Not here: hard ceilings (`ceilings`)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from limbeck.errors import InputError, unknown_name

__all__ = ["Objective", "absolute_reward", "reward"]


def reward(accuracy: float, latency_ms: float, target_ms: float, alpha: float = -0.07, beta: float = -0.07) -> float:
    """Accuracy times (latency / target) to the power `alpha` within the target, `beta` beyond it.

    Equal exponents make a soft constraint, whose maxima lie on both sides of the target; `alpha=0, beta=-1` makes a hard
    one. An exponent w says that 2^-w times the accuracy is worth twice the latency: -0.07 is 5 % relative accuracy.

    Args:
        accuracy: share of what is right, 0 or more.
        latency_ms: of the candidate, above 0.
        target_ms: T, above 0.
        alpha: w where the latency is at most T; 0 or less.
        beta: w beyond T; 0 or less.

    Raises:
        InputError: a figure out of its range. A positive exponent would pay for slowness.

    **Source:** Tan et al. 2019, arXiv 1807.11626, equations 2 and 3.

    Example:
        >>> round(reward(0.5, 160.0, 80.0), 4), reward(0.5, 160.0, 80.0, alpha=0, beta=-1)
        (0.4763, 0.25)
    """
    _check(accuracy, latency_ms, target_ms, alpha=alpha, beta=beta)
    ratio = latency_ms / target_ms
    return float(accuracy * ratio ** (alpha if ratio <= 1 else beta))


def absolute_reward(accuracy: float, latency_ms: float, target_ms: float, beta: float = -0.07) -> float:
    """Accuracy plus `beta` times the relative distance from the target, on either side of it.

    It pins the latency to the target, where `reward` lets it drift to where the trade pays.

    Args:
        accuracy: share of what is right, 0 or more.
        latency_ms: of the candidate, above 0.
        target_ms: T, above 0.
        beta: what missing the target by its whole length costs; 0 or less. The default is ours.

    Raises:
        InputError: a figure out of its range.

    **Source:** Bender et al. 2020 (TuNAS), arXiv 2008.06120, the absolute reward.

    Example:
        >>> round(absolute_reward(0.5, 100.0, 80.0, beta=-0.2), 6), round(absolute_reward(0.5, 60.0, 80.0, beta=-0.2), 6)
        (0.45, 0.45)
    """
    _check(accuracy, latency_ms, target_ms, beta=beta)
    return float(accuracy + beta * abs(latency_ms / target_ms - 1.0))


def _check(accuracy: float, latency_ms: float, target_ms: float, **exponents: float) -> None:
    for name, figure in (("latency_ms", latency_ms), ("target_ms", target_ms)):
        if not (isfinite(figure) and figure > 0):
            raise InputError(f"reward: {name} must be above 0, got {figure}")
    if not (isfinite(accuracy) and accuracy >= 0):
        raise InputError(f"reward: accuracy must be 0 or more, got {accuracy}")
    for name, weight in exponents.items():
        if not (isfinite(weight) and weight <= 0):
            raise InputError(f"reward: {name} must be 0 or less (above 0 it would pay for latency), got {weight}")


@dataclass(frozen=True)
class Objective:
    """What a search maximises.

    Attributes:
        form: `accuracy`, `reward` or `absolute`.
        target_ms: T of both rewards.
        alpha: of `reward`.
        beta: of both rewards.

    Raises:
        InputError: no such form, a reward without a target, or a figure out of its range.
    """

    form: str = "accuracy"
    target_ms: float | None = None
    alpha: float = -0.07
    beta: float = -0.07

    def __post_init__(self) -> None:
        if self.form not in (known := ("accuracy", "reward", "absolute")):
            raise unknown_name("objective", self.form, known, where="search.objective")
        if self.form != "accuracy":
            if self.target_ms is None:
                raise InputError(
                    f"search.objective = '{self.form}': needs a latency to aim at, search.target_latency_ms"
                )
            _check(0.0, 1.0, self.target_ms, alpha=self.alpha, beta=self.beta)

    def score(self, accuracy: float, latency_ms: float) -> float:
        """The figure of a candidate; more is better."""
        if self.form == "accuracy":
            return accuracy
        assert self.target_ms is not None
        if self.form == "absolute":
            return absolute_reward(accuracy, latency_ms, self.target_ms, beta=self.beta)
        return reward(accuracy, latency_ms, self.target_ms, alpha=self.alpha, beta=self.beta)
