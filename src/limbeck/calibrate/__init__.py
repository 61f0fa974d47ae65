"""Confidence calibration: how far probabilities can be trusted, and the temperature that repairs them.

Not here: int8 conversion and its calibration pictures, which belong to `export`.
"""

from limbeck.calibrate.metrics import (
    area_under_risk_coverage,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    negative_log_likelihood,
    reliability,
)
from limbeck.calibrate.temperature import fit_temperature, softmax

__all__ = [
    "area_under_risk_coverage",
    "brier_score",
    "classwise_calibration_error",
    "expected_calibration_error",
    "fit_temperature",
    "maximum_calibration_error",
    "negative_log_likelihood",
    "reliability",
    "softmax",
]
