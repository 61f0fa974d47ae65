"""Stage `calibrate`: a temperature per model, fitted on validation; figures on test before and after it."""

from __future__ import annotations

from pathlib import Path
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
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord

FEWEST = 32  # validation pictures below which a fitted temperature did more harm than good

__all__ = ["calibrate"]


def calibrate(context: Context, stages: dict[str, str], upstream: dict[str, Any]) -> StageRecord:
    """Fit and judge every trained model.

    Args:
        context: the run.
        stages: model name -> stage that holds it.
        upstream: fingerprints of those stages.
    """
    inputs = context.inputs("data", "calibrate", **upstream)

    def work(_: Path) -> dict[str, Any]:
        return {"models": {name: judge_model(context, stage) for name, stage in stages.items()}}

    return context.folder.do("calibrate", inputs, work, world=context.world)


def judge_model(context: Context, stage: str) -> dict[str, Any]:
    """Temperature, test figures with it, and the reliability before and after."""
    predictions = context.predictions(stage)
    target = context.splits.test.labels
    temperature, reason = 1.0, ""
    if context.recipe.calibrate.method == "none":
        reason = "switched off in the recipe"
    elif predictions.validation is None or context.splits.validation is None:
        reason = "skipped: there is no validation set to fit it on (data.validation = 0)"
    elif len(predictions.validation) < FEWEST:
        count = len(predictions.validation)
        reason = f"skipped: {count} validation pictures say too little (fewest: {FEWEST})"
    else:
        temperature = fit_temperature(predictions.validation, context.splits.validation.labels)
    bins = context.recipe.calibrate.bins
    before = softmax(predictions.test)
    after = softmax(predictions.test, temperature)
    figures = context.task.figures(predictions.test, target)
    metrics = {
        **figures,
        **calibration_figures(after, target, bins=bins),
        "ece_before": expected_calibration_error(before, target, bins=bins),
        "nll_before": negative_log_likelihood(before, target),
    }
    return {
        "temperature": temperature,
        "reason": reason,
        "metrics": {key: float(value) for key, value in metrics.items()},
        "validation": validation_figures(context, predictions.validation),
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


def validation_figures(context: Context, logits: np.ndarray | None) -> dict[str, float] | None:
    """The figures by which models are selected."""
    if logits is None or context.splits.validation is None:
        return None
    return {k: float(v) for k, v in context.task.figures(logits, context.splits.validation.labels).items()}
