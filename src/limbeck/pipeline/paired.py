"""Two models on the same test pictures: the paired difference that reports quote. The interval is the export room's."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import binomtest

from limbeck.export import paired_interval

__all__ = ["paired_difference"]


def paired_difference(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Difference of accuracy, first minus second, with its 95 % interval and the exact two-sided McNemar p-value.

    Args:
        first: [N] bool, where the first model is right.
        second: [N] bool, where the second is, on the same pictures.

    Example:
        >>> paired_difference(np.array([True] * 9), np.array([True] * 4 + [False] * 5))["p_value"]
        0.0625
    """
    won, lost = int((first & ~second).sum()), int((~first & second).sum())
    low, high = paired_interval(won, lost, len(first))
    p_value = float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0
    return {"difference": (won - lost) / len(first), "low": low, "high": high, "p_value": p_value, "n": len(first)}
