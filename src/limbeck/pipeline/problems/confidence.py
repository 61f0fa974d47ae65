"""Figures of confidence, the same for every kind of problem that gives probabilities. They are computed in `calibrate`."""

from __future__ import annotations

import numpy as np

from limbeck.calibrate import (
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

__all__ = ["calibration_figures"]


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
