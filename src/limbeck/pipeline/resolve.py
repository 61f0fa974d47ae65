"""Every name and file of a recipe checked before any work: what is wrong is said in seconds, not after hours."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

from limbeck.console import warn
from limbeck.data import Augment
from limbeck.distill import TASK, Distillation
from limbeck.errors import InputError
from limbeck.export import EXPORTERS
from limbeck.measure import open_device
from limbeck.models import Network, Table
from limbeck.parts import find_part
from limbeck.pipeline.adapt import seed_student
from limbeck.pipeline.context import Context
from limbeck.pipeline.distill import Lesson, build_graph, check_graph, lesson_before_search, lessons_of
from limbeck.pipeline.latency import check_latency_table
from limbeck.pipeline.search import space_of
from limbeck.pipeline.teacher_cache import check_cache, kept_bytes
from limbeck.pipeline.train import load_ready
from limbeck.pipeline.workers import check_workers
from limbeck.recipe import TrainedModel
from limbeck.search import check_sampler
from limbeck.tasks import TASKS

__all__ = ["resolve"]

KINDS = {
    "class": "one class per picture",
    "mask": "a class of every pixel",
    "boxes": "boxes with a class each",
    "points": "places of named points",
    "signal": "one class per frame of a signal",
}

CHECKPOINT_COPIES = 6  # weights, optimizer state, averages, and the copy being written


def resolve(context: Context, *, warns: bool = True) -> None:
    """Check a run before its first stage; the data is read, every part is found, the graph is probed.

    Args:
        context: the run.
        warns: say also what is odd about the data and stops nothing.

    Raises:
        InputError: the first thing that would stop the run later.
    """
    recipe = context.recipe
    find_part("task", recipe.task, TASKS, where="task")
    find_part("exporter", recipe.export.exporter, EXPORTERS, where="export.exporter")
    Augment(**recipe.augment.model_dump())  # refuses what it cannot do as it is made
    for number, target in enumerate((recipe.budget.target, *recipe.measure.targets)):
        where = "budget.target" if number == 0 else f"measure.targets[{number - 1}]"
        try:
            open_device(target).describe()
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
    _check_weights(context)
    _check_search(context)
    check_graph(recipe)
    _check_kind(context)
    _check_scored(context)
    context.problem.check(recipe)
    context.make_task(recipe.train)
    for name, model in (recipe.teachers | recipe.assistants).items():
        context.make_task(model.train, where=f"{name}.train")
    for line in context.splits.report.get("warnings", []):
        if context.is_writer and warns:
            warn(line)
    student = context.create(recipe.student, where="student")
    networks = {name: _teaching(context, name, model) for name, model in (recipe.teachers | recipe.assistants).items()}
    networks["student"] = student
    if recipe.adapt is not None and recipe.search is None:
        networks["student"] = seed_student(context)
    if recipe.adapt is not None:  # apart from the student: a graph may freeze it
        networks["seed"] = copy.deepcopy(networks["student"])
    for name, network in networks.items():
        context.problem.check_network(network, where=name)
    if recipe.search is not None:
        _check_space(context)
    example = context.probe_batch() if recipe.distill is not None else None
    cached = 0
    for lesson in lessons_of(recipe):
        others = [networks[one] for one in lesson.others]
        graph = build_graph(context, lesson, networks[lesson.name], others, example=example)
        _check_batches(context, lesson, graph.needs())
        _check_criterion(context, lesson, graph)
        if lesson.assistant is None or lesson.assistant.weights is None:
            cached += check_cache(context, graph, lesson.train, seed=lesson.seed)
    _check_disk(context, sum(network.params() for network in networks.values()), max(0, cached - kept_bytes(context)))


def _check_kind(context: Context) -> None:
    """The data must know of each picture what the task learns."""
    wanted, kind = getattr(context.task, "target_kind", "class"), context.splits.kind
    if wanted != kind:
        raise InputError(
            f'task = "{context.recipe.task}": learns from {KINDS[wanted]}, and data.name = "{context.recipe.data.name}" '
            f"reads {KINDS[kind]}; choose another of them"
        )


def _check_scored(context: Context) -> None:
    """What chooses among networks needs pictures that none of them learned from."""
    recipe = context.recipe
    for name, section, scored in (("search", recipe.search, "candidates"), ("adapt", recipe.adapt, "proposals")):
        if section is not None and context.splits.validation is None:
            right = "set data.validation above 0"
            if recipe.data.validation > 0:
                right = "this set has none, and none could be held out of it: give more samples or data.validation_path"
            raise InputError(f"{name}: needs a validation split to score {scored} on; {right}, or leave [{name}] out")


def _check_batches(context: Context, lesson: Lesson, needs: frozenset[str]) -> None:
    settings = lesson.train.model_copy(update={"batch_size": 1})
    try:
        context.loader(settings, seed=lesson.seed, unlabelled=True, needs=needs)
    except InputError as error:
        raise InputError(f"{lesson.where}: {error}") from error


def _check_criterion(context: Context, lesson: Lesson, graph: Distillation) -> None:
    """What changes the labels' own loss must not be asked for where the method has none."""
    if any(edge.term.loss == TASK for edge in graph.edges):
        return
    for field, is_asked in (
        ("train.label_smoothing", lesson.train.label_smoothing > 0),
        ('data.class_weights = "balanced"', context.recipe.data.class_weights != "none"),
    ):
        if is_asked:
            raise InputError(
                f"{lesson.where}: this method has no loss of the labels by themselves that {field} could change"
            )


def _teaching(context: Context, name: str, model: TrainedModel) -> Network:
    if model.weights is not None:
        return load_ready(model, context, where=f"{name}.weights")
    return context.create(model, where=name)


def _check_weights(context: Context) -> None:
    recipe = context.recipe
    given = {f"{name}.weights": model.weights for name, model in (recipe.teachers | recipe.assistants).items()}
    given = {where: path for where, path in given.items() if not (path or "").startswith(("timm:", "torchvision:"))}
    if recipe.search is not None:
        given["search.seed_weights"] = recipe.search.seed_weights
        given["search.latency_table"] = recipe.search.latency_table
    if recipe.adapt is not None:
        given["adapt.seed_weights"] = recipe.adapt.seed_weights
        given["adapt.latency_table"] = recipe.adapt.latency_table
    for where, path in given.items():
        if path is not None and not Path(path).exists():
            raise InputError(f"{where}: {path}: no such file or folder")


def _check_search(context: Context) -> None:
    recipe = context.recipe
    if recipe.search is not None:
        check_sampler(recipe.search.sampler, recipe.search.sampler_options)
        if recipe.search.proxy.distill:
            lesson_before_search(recipe)
    for name, section in (("search", recipe.search), ("adapt", recipe.adapt)):
        if section is not None:
            check_latency_table(context, section, where=name)
            check_workers(section, where=name)


def _check_space(context: Context) -> None:
    """Modules have no rows: nothing to make narrower, and no kernels that a table could tell."""
    search, adapt = context.recipe.search, context.recipe.adapt
    assert search is not None
    space = space_of(context)
    if isinstance(space.candidate(space.reference), Table):
        return
    told = f"search.space '{search.space}' builds networks that are no tables"
    if adapt is not None:
        raise InputError(f"adapt: {told}, which have no widths to change; leave [adapt] out")
    if search.latency != "device":
        raise InputError(f"search.latency = '{search.latency}': {told}, of which no kernels are known; take 'device'")


def _check_disk(context: Context, params: int, cached: int) -> None:
    needed = params * 4 * CHECKPOINT_COPIES + 50_000_000 + cached
    context.folder.path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(context.folder.path).free
    if free < needed:
        where, of_it = context.folder.path, f" ({cached / 1e6:.0f} MB for teacher.cache_views)" if cached else ""
        raise InputError(
            f"{where}: {free / 1e6:.0f} MB free, the run needs about {needed / 1e6:.0f} MB{of_it}; choose another --out"
        )
