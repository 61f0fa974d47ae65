"""Temperature scaling: the one number that repairs over- or under-confidence without changing any decision.

Not here: where the temperature goes afterwards (`export` folds it into the graph).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from limbeck.calibrate.checks import checked_scores
from limbeck.errors import InputError

__all__ = ["fit_temperature", "softmax"]

LOWEST, HIGHEST = 0.05, 20.0  # far outside what trained networks need (0.5 to 5); they only stop a runaway search


def softmax(logits: Any, temperature: float = 1.0) -> np.ndarray:
    """Probabilities [N, K] in float64 of logits divided by `temperature`.

    Raises:
        InputError: the temperature is not a positive number.
    """
    if not np.isfinite(temperature) or temperature <= 0:
        raise InputError(f"temperature = {temperature}: a positive number is needed")
    return scipy_softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=-1)


def fit_temperature(logits: Any, target: Any) -> float:
    """Find the temperature in [0.05, 20] that minimises the negative log-likelihood of held-out labels.

    Where every prediction is right the likelihood has no maximum (T would run to 0), so the labels are then softened
    to 1 - 1/(N+2), the estimate of an accuracy that was N out of N. Logits that say nothing about the label end at 20,
    equal ones at 1.

    Args:
        logits: [N, K], of samples that the network was not trained on.
        target: [N] class indices.

    Raises:
        InputError: an empty set, shapes that do not fit, values that are not finite, targets out of range.

    **Source:** Guo et al. 2017 (arXiv:1706.04599), section 4.2; softened labels: Platt 1999, section 2.2.

    Example:
        >>> logits = [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]  # sure of itself, right three times in four
        >>> round(fit_temperature(logits, [0, 0, 0, 0]), 3)  # 2 / log(3): softmax then says 3/4
        1.82
    """
    logits, target = checked_scores(logits, target)
    samples, classes = logits.shape
    if classes == 1 or np.ptp(logits, axis=1).max() == 0:
        return 1.0  # the likelihood does not depend on the temperature
    rows = np.arange(samples)
    # a tie is not a right prediction: sharpening it gains nothing, so the likelihood stays bounded by log 2 there
    others = logits.copy()
    others[rows, target] = -np.inf
    perfect = bool((logits[rows, target] > others.max(axis=1)).all())
    softening = 1 / (samples + 2) if perfect else 0.0

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        right = log_probabilities[rows, target]
        if not softening:
            return float(-right.mean())
        wrong = (log_probabilities.sum(axis=1) - right) / (classes - 1)
        return float(-((1 - softening) * right + softening * wrong).mean())

    # convex in 1/T, hence one valley in log T: a bounded scalar search cannot miss it
    best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(best.x))
