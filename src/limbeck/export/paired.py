"""Two models on the same samples: tests and intervals for their difference, of accuracy or of any figure of a data set.

Not here: what follows from them (`parity`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

__all__ = ["exact_mcnemar", "paired_bootstrap", "paired_difference", "paired_interval"]


def exact_mcnemar(lost: int, won: int) -> float:
    """One-sided p-value of the claim that nothing is lost: the chance of `lost` or more among the changed samples.

    **Source:** McNemar 1947, exact binomial form.

    Example:
        >>> exact_mcnemar(5, 0)
        0.03125
    """
    changed = lost + won
    return 1.0 if changed == 0 else float(binomtest(lost, changed, 0.5, alternative="greater").pvalue)


def paired_difference(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Difference of accuracy, first minus second, with its 95 % interval and the exact two-sided McNemar p-value.

    Args:
        first: [N] bool, where the first model is right.
        second: [N] bool, where the second is, on the same samples.

    Example:
        >>> paired_difference(np.array([True] * 9), np.array([True] * 4 + [False] * 5))["p_value"]
        0.0625
    """
    won, lost = int((first & ~second).sum()), int((~first & second).sum())
    low, high = paired_interval(won, lost, len(first))  # of a drop from the first to the second
    p_value = float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0
    return {"difference": (won - lost) / len(first), "low": low, "high": high, "p_value": p_value, "n": len(first)}


def paired_interval(lost: int, won: int, samples: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of the drop (lost - won) / samples, in [-1, 1]; right for zero counts too.

    **Source:** Tango 1998 (Statistics in Medicine 17:891-908), eq. 3.6 with the restricted estimate of eq. 3.5.

    Example:
        >>> low, high = paired_interval(0, 0, 100)
        >>> round(low, 3), round(high, 3)
        (-0.037, 0.037)
    """
    drop = (lost - won) / samples
    critical = float(norm.ppf((1 + confidence) / 2))

    def score(delta: float) -> float:
        """How many standard errors the observed drop lies above `delta`."""
        a = 2 * samples
        b = -lost - won + (2 * samples - lost + won) * delta
        c = -won * delta * (1 - delta)
        won_rate = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # most likely one, were the drop delta
        variance = samples * (2 * won_rate + delta * (1 - delta))
        excess = lost - won - samples * delta
        if abs(excess) < 1e-9 * samples:
            return 0.0  # also where the variance is 0: nothing changed and nothing was claimed to
        return excess / math.sqrt(max(variance, 1e-12))

    def bound(edge: float, sign: int) -> float:
        """Where the score leaves the critical value between the estimate and the edge of the scale."""
        inside = edge * (1 - 1e-12)
        if abs(drop - inside) < 1e-9 or sign * score(inside) < critical:
            return edge
        return float(brentq(lambda delta: sign * score(delta) - critical, drop, inside))

    return bound(-1.0, 1), bound(1.0, -1)


def paired_bootstrap(
    first: Callable[[np.ndarray], float],
    second: Callable[[np.ndarray], float],
    samples: int,
    *,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Difference of a data set's figure, first minus second, by drawing the samples anew, the same for both.

    For figures that are no mean over samples, such as mIoU or mAP. Draws in which a figure is not defined are left out.

    Args:
        first: [N] how often each sample is taken -> the first model's figure.
        second: the second model's.
        samples: N.
        draws: how many times the N samples are drawn with replacement.
        seed: of the draws.
        confidence: of the percentile interval.

    Returns:
        `difference` on the samples as they are, `low`, `high`, `p_value` (two-sided, at least 2 / (draws + 1)), `n`.

    **Source:** Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 15; the p-value counts the
    observed sample among the draws.

    Example:
        >>> right = np.array([1.0] * 9 + [0.0])
        >>> found = paired_bootstrap(lambda counts: counts @ right / 10, lambda counts: 0.0, 10)
        >>> found["difference"], found["low"] > 0.5
        (0.9, True)
    """
    once = np.ones(samples)
    difference = float(first(once) - second(once))
    counts = np.random.default_rng(seed).multinomial(samples, np.full(samples, 1 / samples), size=draws)
    drawn = np.array([first(one) - second(one) for one in counts], np.float64)
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return {"difference": difference, "low": None, "high": None, "p_value": None, "n": samples}
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    least = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, 2 * (least + 1) / (len(drawn) + 1))
    return {"difference": difference, "low": float(low), "high": float(high), "p_value": p_value, "n": samples}
