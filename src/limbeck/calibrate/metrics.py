"""Calibration figures of probabilities against labels, in float64 NumPy.

Not here: fitting anything (`temperature`), drawing anything (`report`).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from limbeck.calibrate.checks import checked_probabilities
from limbeck.errors import unknown_name

__all__ = [
    "area_under_risk_coverage",
    "brier_score",
    "classwise_calibration_error",
    "expected_calibration_error",
    "maximum_calibration_error",
    "negative_log_likelihood",
    "reliability",
]

_SMALLEST = 1e-12  # a probability of exactly 0 on the right class costs 27.6 nats, not infinity: reports must stay JSON


def expected_calibration_error(
    probabilities: Any,
    target: Any,
    *,
    bins: int = 15,
    scheme: Literal["equal_width", "equal_mass"] = "equal_width",
) -> float:
    """Gap between confidence and accuracy, averaged over bins of the highest probability; 0..1, 0 is perfect.

    Args:
        probabilities: [N, K] rows that sum to 1.
        target: [N] class indices.
        bins: number of bins; empty ones count for nothing.
        scheme: bins (lo, hi] of equal width over [0, 1], or with as equal counts as ties allow ("adaptive" ECE).

    Raises:
        InputError: an empty set, shapes that do not fit, or rows that are no distributions.

    **Source:** Guo et al. 2017 (arXiv:1706.04599), eq. 3; equal mass: Nixon et al. 2019 (arXiv:1904.01685).

    Example:
        >>> round(expected_calibration_error([[0.8, 0.2], [0.6, 0.4]], [0, 1], bins=10), 6)  # gaps 0.2 and 0.6
        0.4
    """
    probabilities, target = checked_probabilities(probabilities, target, bins)
    confidence, correct = _top(probabilities, target)
    if scheme == "equal_width":
        edges = np.linspace(0, 1, bins + 1)
    elif scheme == "equal_mass":
        edges = _equal_mass_edges(confidence, bins)
    else:
        raise unknown_name("binning scheme", scheme, ["equal_width", "equal_mass"])
    count, gap = _gaps(confidence, correct, edges)
    return float((count * gap).sum() / len(target))


def maximum_calibration_error(probabilities: Any, target: Any, *, bins: int = 15) -> float:
    """Largest gap between confidence and accuracy over the filled equal-width bins; 0..1.

    Raises:
        InputError: as `expected_calibration_error`.

    **Source:** Guo et al. 2017 (arXiv:1706.04599), eq. 5.
    """
    probabilities, target = checked_probabilities(probabilities, target, bins)
    _, gap = _gaps(*_top(probabilities, target), np.linspace(0, 1, bins + 1))
    return float(gap.max())


def classwise_calibration_error(probabilities: Any, target: Any, *, bins: int = 15) -> float:
    """ECE of each class's own probability against its frequency, averaged over the K classes; 0..1.

    Raises:
        InputError: as `expected_calibration_error`.

    **Source:** Kull et al. 2019 (arXiv:1910.12656), classwise-ECE, equal-width bins.
    """
    probabilities, target = checked_probabilities(probabilities, target, bins)
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for index in range(probabilities.shape[1]):
        count, gap = _gaps(probabilities[:, index], (target == index).astype(np.float64), edges)
        total += float((count * gap).sum()) / len(target)
    return total / probabilities.shape[1]


def negative_log_likelihood(probabilities: Any, target: Any) -> float:
    """Mean of -log p(right class), in nats; probabilities below 1e-12 count as 1e-12.

    Raises:
        InputError: as `expected_calibration_error`.
    """
    probabilities, target = checked_probabilities(probabilities, target)
    chosen = probabilities[np.arange(len(target)), target]
    return float(-np.log(np.clip(chosen, _SMALLEST, 1.0)).mean())


def brier_score(probabilities: Any, target: Any) -> float:
    """Squared distance to the one-hot label, summed over classes, averaged over samples; 0..2.

    Raises:
        InputError: as `expected_calibration_error`.

    **Source:** Brier 1950, the form summed over classes (half of it for two classes is the binary form).
    """
    probabilities, target = checked_probabilities(probabilities, target)
    distance = probabilities.copy()
    distance[np.arange(len(target)), target] -= 1
    return float((distance**2).sum(axis=1).mean())


def area_under_risk_coverage(probabilities: Any, target: Any) -> float:
    """Mean error rate over all coverages when the least confident samples are refused first; 0..1.

    Raises:
        InputError: as `expected_calibration_error`.

    **Source:** Geifman et al. 2019 (arXiv:1805.08206), AURC; often printed times 1000.
    """
    probabilities, target = checked_probabilities(probabilities, target)
    confidence, correct = _top(probabilities, target)
    wrong = 1 - correct[np.argsort(-confidence, kind="stable")]
    return float((wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean())


def reliability(probabilities: Any, target: Any, *, bins: int = 15) -> dict[str, Any]:
    """The reliability diagram as JSON-like data: every equal-width bin, ECE and MCE.

    Returns:
        `{"bins": [{"low", "high", "count", "confidence", "accuracy"}], "ece", "mce"}`; an empty bin has `None` for
        confidence and accuracy.

    Raises:
        InputError: as `expected_calibration_error`.
    """
    probabilities, target = checked_probabilities(probabilities, target, bins)
    confidence, correct = _top(probabilities, target)
    edges = np.linspace(0, 1, bins + 1)
    which = _which_bin(confidence, edges)
    records = []
    for index in range(bins):
        inside = which == index
        filled = bool(inside.any())
        records.append(
            {
                "low": float(edges[index]),
                "high": float(edges[index + 1]),
                "count": int(inside.sum()),
                "confidence": float(confidence[inside].mean()) if filled else None,
                "accuracy": float(correct[inside].mean()) if filled else None,
            }
        )
    count, gap = _gaps(confidence, correct, edges)
    return {"bins": records, "ece": float((count * gap).sum() / len(target)), "mce": float(gap.max())}


def _top(probabilities: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Confidence (highest probability) and correctness (0.0 or 1.0) of each sample."""
    chosen = probabilities.argmax(axis=1)
    return probabilities[np.arange(len(target)), chosen], (chosen == target).astype(np.float64)


def _which_bin(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Index of the bin (lo, hi] of each value; the first bin holds its lower edge too."""
    return np.clip(np.searchsorted(edges, values, side="left") - 1, 0, len(edges) - 2)


def _gaps(values: np.ndarray, outcome: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per filled bin: how many values it holds, and |mean outcome - mean value|."""
    which = _which_bin(values, edges)
    size = len(edges) - 1
    count = np.bincount(which, minlength=size)
    difference = np.bincount(which, weights=outcome - values, minlength=size)
    filled = count > 0
    return count[filled], np.abs(difference[filled] / count[filled])


def _equal_mass_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Edges at order statistics: equal values share a bin, so the figure does not depend on the samples' order."""
    ordered = np.sort(values)
    last = np.ceil(np.arange(1, bins + 1) * len(values) / bins).astype(int) - 1
    return np.concatenate([[min(0.0, ordered[0])], np.unique(ordered[np.maximum(last, 0)])])
