"""`limbeck run R --plan`: a few steps of every training timed, and what the whole run will take. Nothing is kept."""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from limbeck.adapt import directions, split_rows
from limbeck.errors import InputError
from limbeck.pipeline.budget import PROBE_RUNS, PROBE_WARMUP, time_networks
from limbeck.pipeline.context import Context
from limbeck.pipeline.distill import Lesson, build_graph, lessons_of, needs_trained_teacher, role_of_teacher
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.resolve import resolve
from limbeck.pipeline.run import with_each_student
from limbeck.pipeline.teacher_cache import check_cache
from limbeck.recipe import Adapt, Recipe, Train
from limbeck.train import Supervised, World, choose_device, network_outputs
from limbeck.train.runtime import use_threads
from limbeck.train.standing import Standing
from limbeck.train.training import Training
from limbeck.types import Batch

__all__ = ["Pace", "estimate_run", "plan_run", "plan_students", "time_parts"]

TIMED_SECONDS = 1.0  # of steps per training, after the first one, which warms up
TIMED_STEPS = (3, 30)
PROBE_SECONDS = 0.7  # export of a candidate, and its share of a device process
PROBES_PER_PROPOSAL = 5  # until the widest choice that is enough faster is found
EXPORT_SECONDS = 6.0  # of one deliverable: export, int8, parity and timing of a small network
KEPT_COPIES = 3  # of every network's weights: stage, training, exported file
TRAINING_COPIES = 8  # of the largest network's weights: two checkpoints with optimizer state, and the one being written


@dataclass(frozen=True)
class Pace:
    """What one recipe's parts cost on this machine; epochs and trials scale it without further timing.

    Attributes:
        steps: optimizer steps in an epoch, by training (`teacher`, `assistant`, `student` alone, `distill`); those that
            are not timed are missing.
        epoch: seconds of an epoch with its validation, by training.
        evaluation: seconds of one pass over validation, by training.
        pictures: training pictures.
        latency_ms: of the untrained student on the budget's target; 0 without a search and an adaptation.
        params: of the networks that are trained, by training.
        teaching: seconds in which the ready teachers see all pictures once, by training; only of those that a cache spares.
        cache_bytes: of all caches.
        directions: widths of the student that an adaptation may change.
    """

    steps: dict[str, int]
    epoch: dict[str, float]
    evaluation: dict[str, float]
    pictures: int
    latency_ms: float
    params: dict[str, int]
    teaching: dict[str, float] = field(default_factory=dict)
    cache_bytes: int = 0
    directions: int = 0


def plan_run(recipe: Recipe, *, folder: Path | None = None) -> dict[str, Any]:
    """Estimate a run from real steps on this machine.

    Returns:
        `stages` (stage, steps, candidates, minutes), `minutes` in all, `disk_bytes` at most.

    Raises:
        InputError: as the run itself would, before any work.
    """
    return estimate_run(recipe, time_parts(recipe, folder=folder))


def plan_students(recipe: Recipe) -> dict[str, Any]:
    """`plan_run` of the recipe and of each further student, whose stages are named after it; teachers count once.

    Raises:
        InputError: as the run itself would, before any work.
    """
    first, others = plan_run(recipe), []
    for one, _ in with_each_student(recipe, Path(recipe.name))[1:]:
        try:
            others.append(plan_run(one))
        except InputError as error:
            raise InputError(f"further_students '{one.student.model}': {error}") from error
    for name, other in zip(recipe.further_students, others, strict=True):
        own = [row for row in other["stages"] if row["stage"].removeprefix("train/") not in recipe.teachers]
        first["stages"] += [{**row, "stage": f"{name}: {row['stage']}"} for row in own]
        first["minutes"] = round(first["minutes"] + sum(row["minutes"] for row in own), 3)
        first["disk_bytes"] += other["disk_bytes"]
    return first


def time_parts(recipe: Recipe, *, folder: Path | None = None) -> Pace:
    """Check a recipe as a run would, and time a few steps of every training that it names.

    Args:
        recipe: what to time.
        folder: run folder whose record of inspected pictures is used and filled; None = a temporary one.

    Raises:
        InputError: as the run itself would, before any work.
    """
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(recipe, RunFolder(folder or Path(scratch) / recipe.name))
        resolve(context)
        networks = {"student": context.create(recipe.student, where="student")}
        if recipe.distill is None or role_of_teacher(recipe) != "none":
            for name, model in (recipe.teachers | recipe.assistants).items():
                networks[name] = context.create(model, where=name)
        if recipe.adapt is not None:
            networks["seed"] = context.create(recipe.student, where="student")
        alone = {"student": recipe.train}
        if needs_trained_teacher(recipe):
            alone |= {name: one.train for name, one in recipe.teachers.items() if one.weights is None}
        timed, teaching, cache_bytes = {}, {}, 0
        for name, train in alone.items():
            objective = Supervised(networks[name], context.task.criterion)
            timed[name] = _time_training(context, objective, networks[name], train)
        for lesson in lessons_of(recipe):
            if lesson.assistant is None or lesson.assistant.weights is None:
                others = [networks[one] for one in lesson.others]
                graph = build_graph(context, lesson, networks[lesson.name], others)
                timed[_timed_as(lesson)] = _time_training(
                    context, graph, networks[lesson.name], lesson.train, unlabelled=True
                )
                kept = check_cache(context, graph, lesson.train, seed=lesson.seed)
                if kept:
                    cache_bytes += kept
                    teaching[_timed_as(lesson)] = _time_teaching(context, others, choose_device(lesson.train.device))
        latency = 0.0
        if recipe.search is not None or recipe.adapt is not None:
            (probe,) = time_networks(context, [networks["student"]], Path(scratch) / "probe")
            latency = 1.0 if isinstance(probe, Exception) else probe["latency_ms"]
        return Pace(
            steps={name: one.steps for name, one in timed.items()},
            epoch={name: one.epoch for name, one in timed.items()},
            evaluation={name: one.evaluation for name, one in timed.items()},
            pictures=len(context.splits.train),
            latency_ms=latency,
            directions=0 if recipe.adapt is None else _directions(networks["student"], recipe.adapt),
            params={name: network.params() for name, network in networks.items()},
            teaching=teaching,
            cache_bytes=cache_bytes,
        )


def estimate_run(recipe: Recipe, pace: Pace) -> dict[str, Any]:
    """What `plan_run` returns, for a recipe whose parts were timed; it may differ from that one in epochs and trials."""
    rows: list[dict[str, Any]] = []

    def add(stage: str, seconds: float, candidates: int = 0, *, steps: int = 0) -> None:
        rows.append({"stage": stage, "steps": steps, "candidates": candidates, "minutes": round(seconds / 60, 3)})

    def add_training(stage: str, kind: str, epochs: int) -> None:
        add(stage, epochs * pace.epoch[kind], steps=epochs * pace.steps[kind])

    for name, teacher in recipe.teachers.items():
        if name in pace.epoch:
            add_training(f"train/{name}", name, teacher.train.epochs)
    if recipe.search is not None:
        proxy = recipe.search.proxy
        share = 1.0 if proxy.limit is None else min(1.0, proxy.limit / pace.pictures)
        training = proxy.mean_epochs * share * (pace.epoch["student"] - pace.evaluation["student"])
        timing = 2 * (PROBE_RUNS + PROBE_WARMUP) * pace.latency_ms / 1000 + PROBE_SECONDS  # each beside a reference
        timing = timing if recipe.search.latency == "device" else 0.0
        each = (training + pace.evaluation["student"]) / recipe.search.workers + timing
        again = recipe.search.retrain_top * recipe.train.epochs * pace.epoch["student"]
        add("search", recipe.search.trials * each + again, candidates=recipe.search.trials)
    if recipe.adapt is not None:
        if recipe.adapt.seed_weights is None:
            add_training("train/seed", "student", recipe.train.epochs)
        add("adapt", *_adaptation(recipe, recipe.adapt, pace))
    if recipe.distill is None or recipe.baselines.plain:
        add_training("train/student" if recipe.distill is None else "train/plain", "student", recipe.train.epochs)
    for lesson in lessons_of(recipe):
        kind, epochs = _timed_as(lesson), lesson.train.epochs
        if kind in pace.teaching and recipe.teacher is not None and recipe.teacher.cache:
            spared = max(0, epochs - recipe.teacher.cache_views) * pace.teaching[kind]
            add(f"distill/{lesson.name}", epochs * pace.epoch[kind] - spared, steps=epochs * pace.steps[kind])
        elif kind in pace.epoch:
            add_training(f"distill/{lesson.name}", kind, epochs)
    if recipe.baselines.off_the_shelf is not None:
        add_training("train/off_the_shelf", "student", recipe.train.epochs)
    models = sum(row["stage"].startswith(("train/", "distill/")) for row in rows)
    add("calibrate to measure", models * EXPORT_SECONDS)
    teaching = sum(count for name, count in pace.params.items() if name != "student")
    kept = teaching + models * pace.params["student"]
    return {
        "run": recipe.name,
        "stages": rows,
        "minutes": round(sum(row["minutes"] for row in rows), 3),
        "disk_bytes": 4 * (KEPT_COPIES * kept + TRAINING_COPIES * max(pace.params.values())) + pace.cache_bytes,
    }


def _directions(network: Any, section: Adapt) -> int:
    if network.table is None:
        return 0
    return len(directions(split_rows(network.table), grid=section.divisor, min_width=section.min_width))


def _adaptation(recipe: Recipe, section: Adapt, pace: Pace) -> tuple[float, int]:
    """Seconds and proposals at most: every step gains delta and no more, and every width makes a proposal."""
    kept = section.share
    if kept is None:
        target = section.max_latency_ms or recipe.budget.max_latency_ms
        assert target is not None  # the recipe is refused otherwise
        kept = target / (target * section.headroom if recipe.search is not None else pace.latency_ms)
    steps = min(section.steps, math.ceil(max(0.0, 1 - kept) / section.delta))
    share = 1.0 if section.tune.limit is None else min(1.0, section.tune.limit / pace.pictures)
    training = section.tune.epochs * share * (pace.epoch["student"] - pace.evaluation["student"])
    probe = (PROBE_RUNS + PROBE_WARMUP) * pace.latency_ms / 1000 + PROBE_SECONDS
    probe = probe if section.latency == "device" else 0.0
    each = (training + pace.evaluation["student"]) / section.workers + PROBES_PER_PROPOSAL * probe
    return steps * pace.directions * each, steps * pace.directions


def _timed_as(lesson: Lesson) -> str:
    return "distill" if lesson.assistant is None else lesson.name


@dataclass(frozen=True)
class _Timed:
    steps: int
    epoch: float
    evaluation: float


def _time_training(context: Context, objective: Any, network: Any, train: Train, *, unlabelled: bool = False) -> _Timed:
    """Take real steps, optimizer included, until they fill a second; then a piece of a validation pass."""
    if train.batch_size == "auto":
        train = train.model_copy(update={"batch_size": 64})
    needs = objective.needs() if hasattr(objective, "needs") else ()
    loader = context.loader(train, seed=0, unlabelled=unlabelled, needs=needs)
    device = choose_device(train.device)
    settings = replace(context.settings(train), compile=False)  # compiling takes longer than all that is timed here
    steps_per_epoch = math.ceil(loader.steps_per_epoch() / train.accumulate)
    with use_threads(train.threads or torch.get_num_threads()):
        training = Training(objective, settings, steps_per_epoch=steps_per_epoch, seed=0, world=World(), device=device)
        objective.train()
        stream = _endless(loader)
        seconds: list[float] = []
        least, most = TIMED_STEPS
        while len(seconds) <= least or (sum(seconds[1:]) < TIMED_SECONDS and len(seconds) <= most):
            started = time.perf_counter()
            training.step(list(itertools.islice(stream, train.accumulate)), Standing())
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - started)
        step = sum(seconds[1:]) / (len(seconds) - 1)
        evaluation = _time_evaluation(context, network, device)
    return _Timed(steps_per_epoch, steps_per_epoch * step + evaluation, evaluation)


def _time_evaluation(context: Context, network: Any, device: torch.device) -> float:
    """Seconds of a pass over validation, from its first batch."""
    pictures = context.splits.validation
    if pictures is None:
        return 0.0
    batch = next(iter(context.evaluation_loader(pictures).epoch(0)))
    started = time.perf_counter()
    _evaluate(network, batch, device)
    return math.ceil(len(pictures) / len(batch)) * (time.perf_counter() - started)


def _time_teaching(context: Context, teachers: Sequence[Any], device: torch.device) -> float:
    """Seconds in which teachers see all pictures once, from one batch."""
    batch = next(iter(context.evaluation_loader(context.splits.train).epoch(0)))
    started = time.perf_counter()
    for teacher in teachers:
        _evaluate(teacher, batch, device)
    return math.ceil(len(context.splits.train) / len(batch)) * (time.perf_counter() - started)


def _evaluate(network: Any, batch: Batch, device: torch.device) -> None:
    for _ in network_outputs(network, [batch], device=device):
        pass


def _endless(loader: Any) -> Iterator[Batch]:
    for epoch in itertools.count():
        yield from loader.epoch(epoch)
