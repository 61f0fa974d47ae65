"""The chain of stages. Read top to bottom: this is what a run does. Each step's own work lives in its stage's file."""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limbeck.console import say
from limbeck.errors import GateFailed, InputError
from limbeck.files import read_json, write_json
from limbeck.models import Network
from limbeck.pipeline.adapt import SEED_STAGE, adapt, adapted_student, narrowest_network, train_seed
from limbeck.pipeline.baselines import train_off_the_shelf
from limbeck.pipeline.budget import check_budget
from limbeck.pipeline.calibrate import calibrate
from limbeck.pipeline.context import Context
from limbeck.pipeline.distill import (
    averages_teachers,
    distill,
    distill_assistant,
    in_words,
    lessons_of,
    needs_trained_teacher,
)
from limbeck.pipeline.export import export
from limbeck.pipeline.folder import RunFolder, StageRecord
from limbeck.pipeline.measure import measure
from limbeck.pipeline.report import report_runs, seeds_text, summary_text, write_run_report, write_seeds_report
from limbeck.pipeline.resolve import resolve
from limbeck.pipeline.search import cheapest_network, search, student_network
from limbeck.pipeline.train import average_teachers, train_student, train_teacher
from limbeck.recipe import Model, Recipe
from limbeck.train import join_world

__all__ = ["SEEDS", "run_recipe", "run_seeds", "run_students", "with_each_student"]

SEEDS = "seeds.json"
ORDER = ("train", "search", "adapt", "distill", "calibrate", "export", "measure")


def run_recipe(
    recipe: Recipe,
    path: Path,
    *,
    until: str | None = None,
    home: Path | None = None,
    siblings: tuple[RunFolder, ...] = (),
) -> dict[str, Any]:
    """Run a recipe, with its own student alone, in a folder, up to the stage `until` (default: all, and the report).

    Returns:
        `report.json`'s content; with `until`, the stages that are finished.

    Raises:
        InputError: something in the recipe, its data or its files is wrong; said before any work where it can be.
        GateFailed: a parity gate refused an export that the recipe asked for (after the report is written).
        Stopped: SIGTERM came; what was done is kept.
    """
    world, _ = join_world(recipe.train.device)
    folder = RunFolder(path, home=home, siblings=siblings)
    context = Context(recipe, folder, world)
    with folder.lock() if context.is_writer else contextlib.nullcontext():
        started = time.time()
        if context.is_writer:  # one process looks, downloads and complains; then the data is there for the others
            _refuse_another_task(recipe, folder)
            resolve(context)
            write_json(folder.path / "recipe.json", recipe.resolved())
        world.wait()
        records = _stages(context, ORDER.index(until) if until else len(ORDER))
        if until is not None:
            return {"run": recipe.name, "stages": {name: record.result for name, record in records.items()}}
        report: dict[str, Any] = {}
        if context.is_writer:
            report = write_run_report(context, records, started=started, command=" ".join(["limbeck", *sys.argv[1:]]))
            say(summary_text(report))
            say(f"report: {folder.path / 'report.html'}")
        world.wait()
    refused = [gate["text"] for gate in report.get("parity", ()) if not gate["passed"] and gate["required"]]
    if refused:
        raise GateFailed(f"{folder.path}: {'; '.join(refused)}")
    return report


def _refuse_another_task(recipe: Recipe, folder: RunFolder) -> None:
    """A run of another task is no earlier form of this one, and would be deleted stage by stage."""
    try:
        earlier = read_json(folder.path / "recipe.json")["task"]
    except (InputError, KeyError, TypeError):  # none, or none that says so
        return
    if earlier != recipe.task:
        raise InputError(
            f'{folder.path}: holds a run of task = "{earlier}", this recipe is of "{recipe.task}"; give it another name, or '
            "another folder by --out"
        )


def _stages(context: Context, last: int) -> dict[str, StageRecord]:
    recipe = context.recipe
    records: dict[str, StageRecord] = {}
    models: dict[str, str] = {}  # name in the report -> stage that holds it

    def keep(name: str, stage: str, record: StageRecord) -> None:
        records[stage] = record
        models[name] = stage

    def upstream(*stages: str) -> dict[str, str]:
        return {f"after {stage}": records[stage].fingerprint for stage in stages if stage in records}

    _check_budget(context)
    context.world.wait()

    if needs_trained_teacher(recipe):
        for name in recipe.teachers:
            keep(name, f"train/{name}", _told(f"train {in_words(name)}", train_teacher, context, name))
        if averages_teachers(recipe):
            keep("teacher", "train/teacher", average_teachers(context, upstream(*models.values())))

    if recipe.search is not None:
        if last < ORDER.index("search"):
            return records
        records["search"] = _told("search", search, context)
        if last < ORDER.index("adapt"):
            return records
    if recipe.adapt is not None:
        if last < ORDER.index("adapt"):
            return records
        keep("seed", SEED_STAGE, _told("train the seed of the adaptation", train_seed, context, upstream("search")))
        records["adapt"] = _told("adapt", adapt, context, upstream(SEED_STAGE))
    if (recipe.search is not None or recipe.adapt is not None) and last < ORDER.index("distill"):
        return records
    after = upstream("search", "adapt")
    name = "student" if recipe.distill is None else "plain"
    if recipe.distill is None or recipe.baselines.plain:
        say(f"== train the {'student' if recipe.distill is None else 'same student without distillation'}")
        stage = f"train/{name}"
        record = train_student(context, lambda: adapted_student(context), stage=stage, upstream=after, name=name)
        keep(name, stage, record)
    if recipe.distill is not None:
        if last < ORDER.index("distill"):
            return records
        *assistants, lesson = lessons_of(recipe)
        for one in assistants:
            taught = _told(
                f"distill {in_words(one.name)}", distill_assistant, context, one, upstream(*one.teachers.values())
            )
            keep(one.name, f"distill/{one.name}", taught)
        record = _told("distill", distill, context, lesson, after | upstream(*lesson.teachers.values()))
        keep("student", "distill/student", record)
        for peer in record.result["peers"]:
            models[peer] = f"distill/student/{peer}"
    if recipe.baselines.off_the_shelf is not None:
        record = _told("fine-tune a ready network", train_off_the_shelf, context)
        records["train/off_the_shelf"] = record
        if not record.result.get("skipped"):
            models["off_the_shelf"] = "train/off_the_shelf"

    trained = upstream(*records)
    single = {name: stage for name, stage in models.items() if name != "teacher" or len(recipe.teachers) < 2}
    # a mean of several teachers is judged, but is no network to export; what was exported is measured
    for verb, work, of in (
        ("calibrate", calibrate, (models,)),
        ("export", export, (single,)),
        ("measure", measure, ()),
    ):
        if last < ORDER.index(verb):
            break
        records[verb] = _told(verb, work, context, *of, trained)
        trained = trained | upstream(verb)
    return records


def _check_budget(context: Context) -> None:
    """Refuse what cannot keep the budget, where nothing was exported yet."""
    if context.is_writer and context.folder.record("export") is None:
        with tempfile.TemporaryDirectory() as scratch:
            check_budget(context, *_least_network(context), Path(scratch))


def _least_network(context: Context) -> tuple[Network, str]:
    """The fastest network that the run may come to, which must be within the budget, and what an error calls it."""
    if context.recipe.adapt is not None:
        return narrowest_network(context), "budget: even the narrowest network of the adaptation"
    if context.recipe.search is not None:
        return cheapest_network(context), "budget: even the space's cheapest network"
    return student_network(context), "budget"


def _told(what: str, work: Any, context: Context, *args: Any, **options: Any) -> StageRecord:
    say(f"== {what}")
    return work(context, *args, **options)


def run_seeds(recipe: Recipe, path: Path, seeds: list[int]) -> dict[str, Any]:
    """Run a recipe once per seed, each in `seed-<n>` of `path`, and write one report with mean, spread and a paired test.

    The teacher and the search have seeds of their own, so they are done once and shared.

    Raises:
        InputError, Stopped: as by `run_recipe`.
        GateFailed: a gate refused an export of any seed (after all of them and their report).
    """
    if join_world(recipe.train.device)[0].writes:
        write_json(path / "recipe.json", recipe.resolved())
        write_json(path / SEEDS, seeds)  # so that `limbeck run FOLDER` goes on with all of them
    done: list[RunFolder] = []
    reports = []
    refused: list[str] = []
    for seed in seeds:
        say(f"==== seed {seed}")
        folder = path / f"seed-{seed}"
        one = recipe.model_copy(update={"seed": seed, "further_students": ()})
        options: dict[str, Any] = {"home": path.parent, "siblings": tuple(done)}
        reports.append(_gone_on(refused, folder, run_recipe, one, folder, **options))
        done.append(RunFolder(folder))
    if not all(reports):  # only the process that writes has them
        return {}
    combined = write_seeds_report(path, seeds, reports)
    say(f"==== seeds {', '.join(map(str, seeds))}")
    say(seeds_text(combined))
    say(f"report: {path / 'report.html'}")
    if refused:
        raise GateFailed("; ".join(refused))
    return combined


def _gone_on(
    refused: list[str], folder: Path, work: Callable[..., dict[str, Any]], *args: Any, **options: Any
) -> dict[str, Any]:
    """One of several runs: where a gate refuses its export, that is put into `refused`, and its report is as any other."""
    try:
        return work(*args, **options)
    except GateFailed as error:
        refused.append(str(error))
        return read_json(folder / "report.json")


def with_each_student(recipe: Recipe, path: Path) -> list[tuple[Recipe, Path]]:
    """The recipe, and it with each further student in its student's place, with their folders: `path`, `path`-NAME ..."""
    runs = [(recipe, path)]
    for name in recipe.further_students:
        end = "-" + re.sub(r"[^A-Za-z0-9_.]+", "-", name)
        own = {"student": Model(model=name), "further_students": (), "name": recipe.name + end}
        runs.append((recipe.model_copy(update=own), path.with_name(path.name + end)))
    return runs


def run_students(
    recipe: Recipe, path: Path, *, until: str | None = None, seeds: list[int] | None = None
) -> dict[str, Any]:
    """Run a recipe with its student, then with each further one in a folder beside, and set the reports side by side.

    Args:
        recipe: trained teachers are shared, as between any runs that lie beside each other.
        path: folder of the first run.
        until: the last stage; None = all.
        seeds: each run is one of `run_seeds`.

    Returns:
        what `run_recipe` or `run_seeds` gives; with further students, that of each by its network's name.

    Raises:
        InputError: as by `run_recipe`, of any of the runs before the first begins.
        GateFailed: a gate refused an export of any of the runs (after all of them and their page).
    """
    runs = with_each_student(recipe, path)
    world, _ = join_world(recipe.train.device)
    for one, folder in runs[1:] if world.writes else ():  # as in a run: one process looks and complains
        context = Context(one, RunFolder(folder), world)
        try:
            resolve(context, warns=False)
            _check_budget(context)
        except InputError as error:
            raise InputError(f"further_students '{one.student.model}': {error}") from error
    world.wait()
    found = {}
    refused: list[str] = []
    for one, folder in runs:
        if len(runs) > 1:
            say(f"==== student {one.student.model}: {folder}")
        found[one.student.model] = (
            _gone_on(refused, folder, run_seeds, one, folder, seeds)
            if seeds is not None
            else _gone_on(refused, folder, run_recipe, one, folder, until=until)
        )
    if len(runs) > 1 and until is None and all(found.values()):  # only the process that writes has them
        say(f"side by side: {report_runs([folder for _, folder in runs], output=path / 'students.html')}")
    if refused:
        raise GateFailed("; ".join(refused))
    return found if len(runs) > 1 else found[recipe.student.model]
