"""Stage `distill`: who learns from whom (teachers, assistants, the student), each by a method or terms as one objective
in the one loop. Graphs are the distill room's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limbeck.data import PictureStream
from limbeck.distill import (
    Distillation,
    check_method,
    check_terms,
    distillation,
    distillation_from_terms,
    teacher_role,
    tells_teachers_apart,
)
from limbeck.errors import InputError, unknown_name
from limbeck.models import Network
from limbeck.pipeline.adapt import SEED_STAGE, adapted_student
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.teacher_cache import cache_inputs, use_teacher_cache
from limbeck.pipeline.train import finish, keep_trained, weights_key, with_batch_size
from limbeck.recipe import Assistant, Distill, Recipe, Train
from limbeck.train import fit
from limbeck.types import Batch

__all__ = [
    "Lesson",
    "averages_teachers",
    "build_graph",
    "check_graph",
    "distill",
    "distill_assistant",
    "in_words",
    "lesson_before_search",
    "lessons_of",
    "needs_trained_teacher",
    "proxy_graph",
    "role_of_teacher",
]


@dataclass(frozen=True)
class Lesson:
    """How one network learns from others.

    Attributes:
        name: `student`, or the assistant's; its stage is `distill/NAME`.
        section: the graph.
        train: the training, with its epochs settled.
        seed: of the training.
        teachers: name -> stage of the ready networks that a graph may learn from.
        shares: of several teachers in the mean of their logits.
        assistant: the recipe's section; None = the student.
    """

    name: str
    section: Distill
    train: Train
    seed: int
    teachers: dict[str, str]
    shares: tuple[float, ...] | None = None
    assistant: Assistant | None = None

    @property
    def role(self) -> str:
        """What the graph does with a second network: `none`, `frozen` (ready) or `trained` (along with the student)."""
        return teacher_role(self.section.method, self.terms)

    @property
    def terms(self) -> list[dict[str, Any]]:
        """The terms in the distill room's own words; fields that were left out are left to its defaults."""
        return [term.model_dump(exclude_unset=True) for term in self.section.terms]

    @property
    def averages(self) -> bool:
        """Whether what several ready teachers say is learned as their mean."""
        return self.role == "frozen" and self.shares is not None and not tells_teachers_apart(self.section.method)

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the second networks in the graph, ready or not."""
        return () if self.role == "none" else tuple(self.teachers)

    @property
    def where(self) -> str:
        """The section of the recipe, for errors."""
        return "distill" if self.assistant is None else f"{self.name}.distill"


def lessons_of(recipe: Recipe) -> list[Lesson]:
    """The chain of a recipe, in order: each assistant learns from the one before, the student from the last of them.

    Without a teacher, a student that was adapted learns from the seed that it was made of.
    """
    if recipe.distill is None:
        return []
    teachers = {name: f"train/{name}" for name in recipe.teachers}
    if not teachers and recipe.adapt is not None:
        teachers = {"seed": SEED_STAGE}
    shares = tuple(teacher.share for teacher in recipe.teachers.values()) if len(teachers) > 1 else None
    chain: list[Lesson] = []
    for name, one in recipe.assistants.items():
        section = one.distill or recipe.distill.model_copy(update={"epochs": None})
        train = one.train.model_copy(update={"epochs": section.epochs or one.train.epochs})
        chain.append(Lesson(name, section, train, one.seed, teachers, shares, one))
        teachers, shares = {name: f"distill/{name}"}, None
    train = recipe.train.model_copy(update={"epochs": recipe.distill.epochs or recipe.train.epochs})
    return [*chain, Lesson("student", recipe.distill, train, recipe.seed, teachers, shares)]


def in_words(name: str) -> str:
    """A network of a recipe as a sentence says it: `the teacher`, `assistant 2`."""
    kind = name.rstrip("0123456789")
    return f"the {name}" if kind == name else f"{kind} {name.removeprefix(kind)}"


def role_of_teacher(recipe: Recipe) -> str:
    """What the recipe's graph does with `[teacher]`: `none`, `frozen` (trained before) or `trained` (along with the student)."""
    return "none" if recipe.distill is None else lessons_of(recipe)[-1].role


def averages_teachers(recipe: Recipe) -> bool:
    """Whether the mean of several teachers is learned from, or nobody says what is: then it is judged beside them."""
    return len(recipe.teachers) > 1 and (recipe.distill is None or lessons_of(recipe)[0].averages)


def needs_trained_teacher(recipe: Recipe) -> bool:
    """Whether `[teacher]` is trained before the student."""
    return role_of_teacher(recipe) == "frozen" or (recipe.distill is None and recipe.teacher is not None)


def check_graph(recipe: Recipe) -> None:
    """Check the names and options of every graph before there are any networks.

    Raises:
        InputError: a wrong method, loss, option or address, a teacher that is missing, or several of no use.
    """
    for lesson in lessons_of(recipe):
        try:
            _check_lesson(recipe, lesson)
        except InputError as error:
            raise InputError(f"{lesson.where}: {error}") from error


def _check_lesson(recipe: Recipe, lesson: Lesson) -> None:
    method, has_teacher = lesson.section.method, bool(lesson.teachers)
    if method is not None:
        check_method(method, lesson.section.options, has_teacher=has_teacher and lesson.role != "none")
    else:
        check_terms(lesson.terms, teachers=len(lesson.teachers))
    what = "these terms" if method is None else f"method '{method}'"
    if lesson.role == "frozen" and not lesson.averages and any(share != 1 for share in lesson.shares or ()):
        raise InputError(f"{what}: tells its teachers apart, so that teacher.share is of no use; leave it out")
    if lesson.role != "frozen" and recipe.assistants:
        raise InputError(f"{what}: learns from no ready teacher, so that [[teacher.assistants]] are of no use")
    if lesson.role == "trained" and not recipe.teachers:
        raise InputError(f"{what}: trains a second network along, and the seed is trained already; add [teacher]")
    given = [name for name in lesson.others if lesson.role == "trained" and recipe.teachers[name].weights]
    if given:
        raise InputError(f"{what}: {in_words(given[0])} trains along from scratch; leave its weights out")


def build_graph(
    context: Context, lesson: Lesson, student: Network, teachers: Sequence[Network], *, example: Batch | None = None
) -> Distillation:
    """Join networks by a lesson's method or terms; checked against a probe batch.

    Args:
        context: the run.
        lesson: what is learned.
        student: who learns.
        teachers: those that `lesson.others` names.
        example: a batch to probe with.

    Raises:
        InputError: an address that no source offers, shapes that a loss refuses, or a rate for no learner.
    """
    if example is None and context.splits.kind != "class":
        example = context.probe_batch()  # what is annotated place by place cannot be made up from noise
    task = context.make_task(lesson.train)
    train, unlabelled = context.splits.train, context.splits.unlabelled
    samples = len(train) + (0 if unlabelled is None else len(unlabelled))
    shared: dict[str, Any] = {
        "student": student,
        "teacher": list(teachers),
        "teacher_shares": lesson.shares if lesson.averages else None,
        "criterion": task.criterion,
        "example": example,
        "num_samples": None if isinstance(train, PictureStream) else samples,  # a stream's indices do not run below it
    }
    try:
        if lesson.section.method is not None:
            options = lesson.section.options
            graph = distillation(lesson.section.method, **shared, epochs=lesson.train.epochs, **options)
        else:
            graph = distillation_from_terms(lesson.terms, **shared)
        for name in lesson.section.learner_rates:
            if name not in graph.learners():
                raise unknown_name("learner", name, graph.learners(), where="learner_rates")
    except InputError as error:
        raise InputError(f"{lesson.where}: {error}") from error
    return graph


def lesson_before_search(recipe: Recipe) -> Lesson:
    """The student's lesson as candidates of a search can take it too: from teachers that are ready by then.

    Raises:
        InputError: there is none.
    """
    lessons = lessons_of(recipe)
    if not lessons or lessons[-1].role != "frozen" or not set(lessons[-1].teachers) <= set(recipe.teachers):
        raise InputError(
            "search.proxy.distill: needs a [distill] from a ready [teacher], without assistants between it and the "
            "student; set it to false"
        )
    return lessons[-1]


def proxy_graph(context: Context, network: Network, train: Train, *, seed: int) -> tuple[Distillation, Lesson]:
    """What a candidate of the search minimises to learn as the student will, and the lesson that this is."""
    lesson = replace(lesson_before_search(context.recipe), train=train, seed=seed)
    torch.manual_seed(seed + 1)  # as in the student's own training
    return build_graph(context, lesson, network, _teachers(context, lesson)), lesson


def distill(context: Context, lesson: Lesson, upstream: dict[str, Any]) -> StageRecord:
    """Train the student in its graph; co-trained networks are kept beside it in folders of their own."""
    recipe = context.recipe
    sections = ["data", "augment", "student", "train", "distill"]
    along = {name: recipe.teachers[name].training() for name in lesson.others} if lesson.role == "trained" else {}
    further = {**along, **_of_shares(lesson), **cache_inputs(recipe)}
    inputs = context.inputs(*sections, task=recipe.task, **further, **upstream)

    def work(folder: Path) -> dict[str, Any]:
        return _learn(context, lesson, adapted_student(context), folder)

    return context.folder.do("distill/student", inputs, work, world=context.world, together=True)


def distill_assistant(context: Context, lesson: Lesson, upstream: dict[str, Any]) -> StageRecord:
    """Train an assistant in its graph, take its given weights, or reuse one that learned the same from the same."""
    assistant = lesson.assistant
    assert assistant is not None
    inputs = context.inputs(
        "data",
        "augment",
        assistant=assistant.training(),
        distill=lesson.section.model_dump(mode="json"),
        seed=lesson.seed,
        task=context.recipe.task,
        weights=weights_key(assistant.weights),
        **_of_shares(lesson),
        **cache_inputs(context.recipe),
        **upstream,
    )

    def train(folder: Path) -> dict[str, Any]:
        torch.manual_seed(lesson.seed)
        return _learn(context, lesson, context.create(assistant, where=lesson.name), folder)

    return keep_trained(context, f"distill/{lesson.name}", assistant, inputs, train)


def _of_shares(lesson: Lesson) -> dict[str, Any]:
    return {"shares": list(lesson.shares)} if lesson.shares is not None and lesson.averages else {}


def _learn(context: Context, lesson: Lesson, student: Network, folder: Path) -> dict[str, Any]:
    torch.manual_seed(lesson.seed + 1)  # exits, projectors and a peer: apart from the student's own start
    objective = build_graph(context, lesson, student, _teachers(context, lesson))
    cache = use_teacher_cache(context, objective, lesson.train, seed=lesson.seed)
    settings = with_batch_size(context, lesson.train, objective, folder)
    report = fit(
        objective,
        context.loader(settings, seed=lesson.seed, unlabelled=True, needs=objective.needs(), views=cache.views),
        replace(context.settings(settings), learner_rates=lesson.section.learner_rates),
        folder=folder / "fit",
        seed=lesson.seed,
        evaluate=context.evaluator(settings.device),
        primary=context.task.primary,
        higher_is_better=context.task.higher_is_better,
        name=lesson.name,
    )
    # a method's peers are the recipe's teachers, in order; other networks of its own keep their names
    names = {"peer" if i == 1 else f"peer{i}": name for i, name in enumerate(lesson.others, start=1)}
    peers = {
        names.get(name, name): network
        for name, network in objective.learners().items()
        if network is not objective.deployable()
    }
    found = {
        name: finish(context, network, folder / name, {"origin": "trained along"}, settings.device)
        for name, network in peers.items()
    }
    result = finish(context, student, folder, {"origin": "trained", "fit": report.as_json()}, settings.device)
    return {**result, "peers": found, "note": cache.note}


def _teachers(context: Context, lesson: Lesson) -> list[Network]:
    if lesson.role == "trained":
        return [context.create(context.recipe.teachers[name], where=name) for name in lesson.others]
    return [context.load(lesson.teachers[name]) for name in lesson.others]
