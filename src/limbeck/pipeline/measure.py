"""Stage `measure`: every exported file timed on the budget's target and the further ones, in turn with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.deployed import read_artifact
from limbeck.measure import measure_artifacts, open_device
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord

__all__ = ["measure"]


def measure(context: Context, upstream: dict[str, Any]) -> StageRecord:
    """Time all exports of a run, interleaved, per target; the student is the reference of the ratios."""
    recipe = context.recipe
    inputs = context.inputs("measure", "budget", **upstream)

    def work(_: Path) -> dict[str, Any]:
        exported = context.folder.need("export").result["artifacts"]
        names = list(exported)
        artifacts = [read_artifact(context.folder.path / exported[name]["path"]) for name in names]
        reference = artifacts[names.index("student")]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for target in (recipe.budget.target, *recipe.measure.targets):
            device = open_device(target)
            measured = measure_artifacts(
                device, artifacts, warmup=recipe.measure.warmup, runs=recipe.measure.runs, reference=reference
            )
            for name, measurement in zip(names, measured, strict=True):
                found[name].append({**measurement.as_json(), "artifact": exported[name]["path"]})
        return {"measurements": found}

    return context.folder.do("measure", inputs, work, world=context.world)
