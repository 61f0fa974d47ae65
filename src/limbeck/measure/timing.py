"""Statistics of raw latency samples, computed here once for every device. Nothing here runs a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.types import Latency

__all__ = ["Comparison", "compare", "drift", "is_steady", "summarize"]


@dataclass(frozen=True)
class Comparison:
    """How one artifact's latency relates to another's that was timed in turn with it.

    The interval speaks for one timing. What stays the same within it, as where the weights came to lie in memory, moves
    a ratio by up to 1 % from one timing to the next: do not read a smaller difference as one.

    Attributes:
        ratio: median of the first over median of the second; above 1 = the first is slower.
        low: lower end of the confidence interval of `ratio`.
        high: its upper end.
    """

    ratio: float
    low: float
    high: float

    @property
    def differs(self) -> bool:
        """Whether the interval excludes equality."""
        return not self.low <= 1.0 <= self.high


def summarize(samples: Sequence[float]) -> Latency:
    """Summarize samples (ms). None is thrown away: a slow call is a fact of the device, and the p90 shows it.

    Example:
        >>> summarize([1.0, 2.0, 3.0, 4.0, 5.0])
        Latency(median=3.0, p90=4.6, iqr=2.0, n=5)
    """
    times = _checked(samples)
    low, middle, high, p90 = (float(value) for value in np.percentile(times, [25, 50, 75, 90]))
    return Latency(median=middle, p90=p90, iqr=high - low, n=len(times))


def drift(samples: Sequence[float]) -> float:
    """Median of the last third of the samples over that of the first third; 1.0 for fewer than three samples.

    Above 1 the device slowed down while it was timed (heat, a neighbour that came); below 1 it was not warm yet.

    Example:
        >>> drift([2.0, 2.0, 2.0, 2.0, 3.0, 3.0])
        1.5
    """
    times = _checked(samples)
    third = len(times) // 3
    if third == 0:
        return 1.0
    return float(np.median(times[-third:]) / np.median(times[:third]))


def is_steady(samples: Sequence[float], *, tolerance: float = 0.10) -> bool:
    """Tell whether `drift` is within a factor of `1 + tolerance` of 1, in either direction."""
    return 1 / (1 + tolerance) <= drift(samples) <= 1 + tolerance


def compare(
    first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95, block: int = 10, resamples: int = 1000
) -> Comparison:
    """Compare two artifacts whose samples were taken in turn: the ratio of their medians and its confidence interval.

    Samples of one moment share that moment's disturbance, and neighbours in time resemble each other. So whole blocks
    of `block` consecutive samples are drawn, the same blocks for both: a circular block bootstrap. It is seeded: equal
    samples give equal intervals.

    **Source:** Politis and Romano, "A circular block-resampling procedure for stationary data", 1992.

    Raises:
        ValueError: the two differ in length, so they were not taken in turn.

    Example:
        >>> compare([2.0] * 40, [1.0] * 40)
        Comparison(ratio=2.0, low=2.0, high=2.0)
    """
    a, b = _checked(first), _checked(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} samples: only samples taken in turn can be compared")
    count = len(a)
    block = min(block, count)
    starts = np.random.default_rng(0).integers(0, count, size=(resamples, -(-count // block)))
    drawn = ((starts[:, :, None] + np.arange(block)) % count).reshape(resamples, -1)[:, :count]
    ratios = np.median(a[drawn], axis=1) / np.median(b[drawn], axis=1)
    tail = (1 - confidence) / 2
    low, high = (float(value) for value in np.quantile(ratios, [tail, 1 - tail]))
    return Comparison(ratio=float(np.median(a) / np.median(b)), low=low, high=high)


def _checked(samples: Sequence[float]) -> np.ndarray:
    times = np.asarray(samples, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0 or not np.all(np.isfinite(times)) or np.any(times <= 0):
        raise ValueError("samples must be a non-empty list of positive, finite milliseconds")
    return times
