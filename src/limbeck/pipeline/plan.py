"""`limbeck run R --plan`: a few steps of every training timed, and what the whole run will take. Nothing is kept."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from limbeck.pipeline.budget import PROBE_RUNS, PROBE_WARMUP, time_networks
from limbeck.pipeline.context import Context
from limbeck.pipeline.distill import build_graph, needs_trained_teacher
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.resolve import resolve
from limbeck.recipe import Recipe, Train
from limbeck.train import Supervised, choose_device, predict_logits

__all__ = ["plan_run"]

TIMED_STEPS = 3
EXPORT_SECONDS = 8.0  # of one deliverable: export, int8 and parity of a small network
CHECKPOINT_COPIES = 6


def plan_run(recipe: Recipe, *, context: Context | None = None) -> dict[str, Any]:
    """Estimate a run from real steps on this machine.

    Returns:
        `stages` (stage, steps, candidates, minutes), `minutes` in all, `disk_bytes`.

    Raises:
        InputError: as the run itself would, before any work.
    """
    with tempfile.TemporaryDirectory() as scratch:
        context = context or Context(recipe, RunFolder(Path(scratch) / recipe.name))
        resolve(context)
        return _plan(context, Path(scratch))


def _plan(context: Context, scratch: Path) -> dict[str, Any]:
    recipe = context.recipe
    rows: list[dict[str, Any]] = []
    params = 0

    def add(stage: str, seconds: float, *, steps: int = 0, candidates: int = 0) -> None:
        rows.append({"stage": stage, "steps": steps, "candidates": candidates, "minutes": round(seconds / 60, 3)})

    student = context.create(recipe.student, where="student")
    teacher = None
    if needs_trained_teacher(recipe):
        assert recipe.teacher is not None
        teacher = context.create(recipe.teacher, where="teacher")
        params += teacher.params()
        if recipe.teacher.weights is None:
            seconds, steps = _training(
                context, Supervised(teacher, context.task.criterion), teacher, recipe.teacher.train
            )
            add("train/teacher", seconds, steps=steps)
    plain_seconds, steps = _training(context, Supervised(student, context.task.criterion), student, recipe.train)
    if recipe.search is not None:
        timed = time_networks(context, [student], scratch / "probe")[0]
        latency = 1.0 if isinstance(timed, Exception) else timed["latency_ms"]
        share = recipe.search.proxy.epochs / recipe.train.epochs
        if recipe.search.proxy.limit is not None:
            share *= min(1.0, recipe.search.proxy.limit / len(context.splits.train))
        each = plain_seconds * share / recipe.search.workers + 2 * (PROBE_RUNS + PROBE_WARMUP) * latency / 1000 + 0.5
        add("search", recipe.search.trials * each, candidates=recipe.search.trials)
    if recipe.distill is None:
        add("train/student", plain_seconds, steps=steps)
    else:
        if recipe.baselines.plain:
            add("train/plain", plain_seconds, steps=steps)
        if teacher is None and recipe.teacher is not None:
            teacher = context.create(recipe.teacher, where="teacher")
        objective = build_graph(context, student, teacher)
        epochs = recipe.distill.epochs or recipe.train.epochs
        seconds, steps = _training(context, objective, student, recipe.train.model_copy(update={"epochs": epochs}))
        add("distill/student", seconds, steps=steps)
    if recipe.baselines.off_the_shelf is not None:
        add("train/off_the_shelf", plain_seconds, steps=steps)
    models = 1 + sum(row["stage"].startswith(("train/", "distill/")) for row in rows)
    add("calibrate to measure", models * EXPORT_SECONDS)
    params += models * student.params()
    return {
        "run": recipe.name,
        "stages": rows,
        "minutes": round(sum(row["minutes"] for row in rows), 3),
        "disk_bytes": params * 4 * CHECKPOINT_COPIES,
    }


def _training(context: Context, objective: Any, network: Any, train: Train) -> tuple[float, int]:
    """Seconds and steps of one training, validation after each epoch included."""
    if train.batch_size == "auto":
        train = train.model_copy(update={"batch_size": 64})
    loader = context.loader(train, seed=0)
    device = choose_device(train.device)
    objective.to(device).train()
    batches = loader.epoch(0)
    seconds = []
    for _ in range(min(TIMED_STEPS + 1, loader.steps_per_epoch())):
        started = time.perf_counter()
        batch = next(batches).to(device, channels_last=train.channels_last)
        objective(batch, torch.zeros((), device=device))["loss"].backward()
        objective.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    step = min(seconds[1:] or seconds)  # the first one warms up
    steps = train.epochs * math.ceil(loader.steps_per_epoch() / train.accumulate)
    total = train.epochs * loader.steps_per_epoch() * step
    if context.splits.validation is not None:
        some = [next(iter(loader.epoch(0)))]
        started = time.perf_counter()
        predict_logits(network, some, device=train.device)
        total += train.epochs * len(context.splits.validation) / len(some[0]) * (time.perf_counter() - started)
    return total, steps
