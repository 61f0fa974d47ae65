"""Confidence, calibrated and judged the same way for every kind of problem that gives probabilities.

Not here: temperature and figures themselves (`limbeck.calibrate`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from limbeck.calibrate import (
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    softmax,
)
from limbeck.recipe import Calibrate

__all__ = ["calibrated", "calibration_figures"]

Scored = tuple[np.ndarray, np.ndarray]
"""Logits [S, K] and classes [S] of samples: pictures, or pixels of them."""


def calibrated(
    validation: Scored | None,
    test: Scored,
    settings: Calibrate,
    *,
    pictures: int,
    fewest: int,
    samples: str = "pictures",
) -> dict[str, Any]:
    """Fit a temperature on validation and judge test before and after it.

    Args:
        validation: None where there is no validation split.
        test: what is judged.
        settings: the recipe's section.
        pictures: of validation.
        fewest: pictures below which none is fitted.
        samples: what they are called (`Problem.samples`).

    Returns:
        `temperature` (1 = none), `reason` why there is none, else empty; `metrics`; reliability `before` and `after`.
    """
    temperature, reason = 1.0, ""
    if settings.method == "none":
        reason = "switched off in the recipe"
    elif validation is None:
        reason = "skipped: there is no validation set to fit it on (data.validation = 0)"
    elif pictures < fewest:
        reason = f"skipped: {pictures} validation {samples} say too little (fewest: {fewest})"
    else:
        temperature = fit_temperature(*validation)
    (logits, target), bins = test, settings.bins
    before, after = softmax(logits), softmax(logits, temperature)
    return {
        "temperature": temperature,
        "reason": reason,
        "metrics": {
            **calibration_figures(after, target, bins=bins),
            "ece_before": expected_calibration_error(before, target, bins=bins),
            "nll_before": negative_log_likelihood(before, target),
        },
        "before": reliability(before, target, bins=bins),
        "after": None if reason else reliability(after, target, bins=bins),
    }


def calibration_figures(probabilities: np.ndarray, target: np.ndarray, *, bins: int) -> dict[str, float]:
    """ECE in its three forms, MCE, NLL and Brier score of [N, K] probabilities."""
    return {
        "ece": expected_calibration_error(probabilities, target, bins=bins),
        "ece_equal_mass": expected_calibration_error(probabilities, target, bins=bins, scheme="equal_mass"),
        "ece_classwise": classwise_calibration_error(probabilities, target, bins=bins),
        "mce": reliability(probabilities, target, bins=bins)["mce"],
        "nll": negative_log_likelihood(probabilities, target),
        "brier": brier_score(probabilities, target),
    }
