"""Stage `distill`: the recipe's method or terms as one objective, trained by the one loop. Graphs are the distill room's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from limbeck.distill import Distillation, check_method, check_terms, distillation, distillation_from_terms, teacher_role
from limbeck.errors import InputError
from limbeck.models import Network
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.search import student_network
from limbeck.pipeline.train import finish, with_batch_size
from limbeck.recipe import Recipe
from limbeck.train import fit
from limbeck.types import Batch

__all__ = ["build_graph", "check_graph", "distill", "needs_trained_teacher", "role_of_teacher"]


def role_of_teacher(recipe: Recipe) -> str:
    """What the recipe's graph does with `[teacher]`: `none`, `frozen` (trained before) or `trained` (along with the student)."""
    if recipe.distill is None:
        return "none"
    return teacher_role(recipe.distill.method, _term_fields(recipe))


def needs_trained_teacher(recipe: Recipe) -> bool:
    """Whether `[teacher]` is trained before the student."""
    return role_of_teacher(recipe) == "frozen" or (recipe.distill is None and recipe.teacher is not None)


def check_graph(recipe: Recipe) -> None:
    """Check the names and options of the graph before there are any networks.

    Raises:
        InputError: a wrong method, loss, option or address, or a teacher that is missing.
    """
    if recipe.distill is None:
        return
    has_teacher = recipe.teacher is not None
    try:
        if recipe.distill.method is not None:
            check_method(
                recipe.distill.method,
                recipe.distill.options,
                has_teacher=has_teacher and role_of_teacher(recipe) != "none",
            )
        else:
            check_terms(_term_fields(recipe), teachers=len(recipe.teachers))
    except InputError as error:
        raise InputError(f"distill: {error}") from error


def build_graph(
    context: Context, student: Network, teacher: Network | None, *, example: Batch | None = None
) -> Distillation:
    """Join networks by the recipe's method or terms; checked against a probe batch.

    Raises:
        InputError: an address that no source offers, or shapes that a loss refuses.
    """
    recipe = context.recipe
    assert recipe.distill is not None
    task = context.make_task(label_smoothing=recipe.train.label_smoothing)
    samples = len(context.splits.train) + (0 if context.splits.unlabelled is None else len(context.splits.unlabelled))
    shared: dict[str, Any] = {
        "student": student,
        "teacher": None if role_of_teacher(recipe) == "none" else teacher,
        "criterion": task.criterion,
        "example": example,
        "num_samples": samples,
    }
    try:
        if recipe.distill.method is not None:
            epochs = recipe.distill.epochs or recipe.train.epochs
            return distillation(recipe.distill.method, **shared, epochs=epochs, **recipe.distill.options)
        return distillation_from_terms(_term_fields(recipe), **shared)
    except InputError as error:
        raise InputError(f"distill: {error}") from error


def distill(context: Context, upstream: dict[str, Any]) -> StageRecord:
    """Train the student in its graph; co-trained networks are kept beside it in folders of their own."""
    recipe = context.recipe
    assert recipe.distill is not None
    sections = ["data", "augment", "student", "train", "distill"] + (
        ["teacher"] if role_of_teacher(recipe) == "trained" else []
    )
    inputs = context.inputs(*sections, task=recipe.task, **upstream)
    train = recipe.train.model_copy(update={"epochs": recipe.distill.epochs or recipe.train.epochs})

    def work(folder: Path) -> dict[str, Any]:
        student = student_network(context)
        torch.manual_seed(recipe.seed + 1)  # exits, projectors and a peer: apart from the student's own start
        objective = build_graph(context, student, _teacher(context))
        settings = with_batch_size(context, train, objective, folder)
        report = fit(
            objective,
            context.loader(settings, seed=recipe.seed, unlabelled=True),
            context.settings(settings),
            folder=folder / "fit",
            seed=recipe.seed,
            evaluate=context.evaluator(settings.device),
            primary=context.task.primary,
            higher_is_better=context.task.higher_is_better,
            name="student",
        )
        peers = {
            "teacher" if name == "peer" else name: network
            for name, network in objective.learners().items()
            if network is not objective.deployable()
        }
        found = {
            name: finish(context, network, folder / name, {"origin": "trained along"})
            for name, network in peers.items()
        }
        result = finish(context, student, folder, {"origin": "trained", "fit": report.as_json()}, settings.device)
        return {**result, "peers": found}

    return context.folder.do("distill/student", inputs, work, world=context.world, together=True)


def _teacher(context: Context) -> Network | None:
    role = role_of_teacher(context.recipe)
    if role == "frozen":
        return context.load("train/teacher")
    if role == "trained":
        assert context.recipe.teacher is not None
        return context.create(context.recipe.teacher, where="teacher")
    return None


def _term_fields(recipe: Recipe) -> list[dict[str, Any]]:
    """The terms in the distill room's own words; fields that were left out are left to its defaults."""
    terms = recipe.distill.terms if recipe.distill is not None else ()
    return [term.model_dump(exclude_unset=True) for term in terms]
