"""Two classifiers on the same samples: the test and the interval for their difference in accuracy.

Not here: what follows from them (`parity`).
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import binomtest, norm

__all__ = ["exact_mcnemar", "paired_interval"]


def exact_mcnemar(lost: int, won: int) -> float:
    """One-sided p-value of the claim that nothing is lost: the chance of `lost` or more among the changed samples.

    **Source:** McNemar 1947, exact binomial form.

    Example:
        >>> exact_mcnemar(5, 0)
        0.03125
    """
    changed = lost + won
    return 1.0 if changed == 0 else float(binomtest(lost, changed, 0.5, alternative="greater").pvalue)


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
