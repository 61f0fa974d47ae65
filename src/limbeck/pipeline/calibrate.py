"""Stage `calibrate`: a temperature per model, fitted on validation; figures on test before and after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord

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
        return {"models": {name: _judged(context, stage) for name, stage in stages.items()}}

    return context.folder.do("calibrate", inputs, work, world=context.world)


def _judged(context: Context, stage: str) -> dict[str, Any]:
    predictions, splits = context.predictions(stage), context.splits
    chosen_on = None
    if predictions.validation is not None and splits.validation is not None:
        chosen_on = predictions.validation, splits.validation
    return context.problem.judge(chosen_on, (predictions.test, splits.test), context.recipe.calibrate)
