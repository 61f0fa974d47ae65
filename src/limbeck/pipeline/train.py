"""Stage `train`: the teacher, the honest baselines, and a student without distillation, each by the one loop."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from limbeck.console import say
from limbeck.data import PictureSet
from limbeck.data.shape_model import ShapeModel
from limbeck.errors import InputError
from limbeck.files import atomic_path, fingerprint, read_json, write_json
from limbeck.models import Network, load_network, save_network
from limbeck.models.storage import is_saved_network
from limbeck.pipeline.context import Context, Predictions
from limbeck.pipeline.folder import FORMAT, StageRecord
from limbeck.pipeline.shapes import copy_shapes, fit_shapes, told_shapes
from limbeck.recipe import Train, TrainedModel
from limbeck.train import Supervised, find_batch_size, fit, join_world

__all__ = [
    "average_teachers",
    "finish",
    "keep_trained",
    "load_given",
    "load_ready",
    "train_objective",
    "train_student",
    "train_teacher",
    "train_to_end",
    "weights_key",
    "with_batch_size",
]

SHARED_TEACHERS = ".teachers"  # beside the run folders: one trained teacher serves every run that asks for the same


def train_teacher(context: Context, name: str = "teacher") -> StageRecord:
    """Train a teacher of the recipe, take its given weights, or reuse one of the same data and settings."""
    teacher = context.recipe.teachers[name]
    inputs = context.inputs(
        "data",
        "augment",
        teacher=teacher.training(),
        seed=teacher.seed,
        task=context.recipe.task,
        weights=weights_key(teacher.weights),
    )

    def train(folder: Path) -> dict[str, Any]:
        torch.manual_seed(teacher.seed)
        network = context.create(teacher, where=name)
        return train_to_end(context, network, teacher.train, folder, seed=teacher.seed, name=name)

    return keep_trained(context, f"train/{name}", teacher, inputs, train)


def keep_trained(
    context: Context, stage: str, model: TrainedModel, inputs: dict[str, Any], train: Callable[[Path], dict[str, Any]]
) -> StageRecord:
    """A stage whose network other runs may share: given by its weights, trained before from equal `inputs`, or trained now."""
    shared = context.folder.home / SHARED_TEACHERS / fingerprint({"format": FORMAT, **inputs})
    name = stage.rpartition("/")[2]

    def work(folder: Path) -> dict[str, Any]:
        if model.weights is not None:
            network = load_ready(model, context, where=f"{name}.weights")
            return finish(context, network, folder, {"origin": f"given: {model.weights}"}, model.train.device)
        if context.world.share((shared / "report.json").exists()):
            say(f"{name}: reused (trained before with the same data and settings, {shared.name})")
            network = load_network(shared)
            copy_shapes(shared, folder)
            result = {"origin": "reused", "shared": shared.name, **told_shapes(folder)}
            return finish(context, network, folder, result, model.train.device)
        result = train(folder)
        if context.is_writer:
            share_teacher(folder, shared)
        return result

    return context.folder.do(stage, inputs, work, world=context.world, together=True)


def average_teachers(context: Context, upstream: dict[str, Any]) -> StageRecord:
    """What several teachers say together, for the report: the mean of their outputs, which is what is learned from them."""
    teachers = context.recipe.teachers
    shares = [teacher.share for teacher in teachers.values()]
    inputs = context.inputs("data", seed=0, shares=shares, **upstream)

    def work(folder: Path) -> dict[str, Any]:
        said = [context.predictions(f"train/{name}") for name in teachers]
        found = [context.folder.need(f"train/{name}").result for name in teachers]
        validation, mean = [one.validation for one in said if one.validation is not None], context.problem.mean
        Predictions(mean(validation, shares) if validation else None, mean([one.test for one in said], shares)).save(
            folder / "predictions.npz"
        )
        costs = {key: sum(one[key] for one in found) for key in ("params", "macs")}
        return {"origin": "mean", "mean_of": [*teachers], **costs}

    return context.folder.do("train/teacher", inputs, work, world=context.world)


def share_teacher(folder: Path, shared: Path) -> None:
    """Copy a trained teacher to where other runs look for it; the report is written last, so a torn copy is never used."""
    for name in ("architecture.json", "model.safetensors"):
        with atomic_path(shared / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    copy_shapes(folder, shared)
    with atomic_path(shared / "report.json") as temporary:
        temporary.write_text('{"complete": true}\n')


def load_given(path: str, context: Context, *, where: str, same_classes: bool = True) -> Network:
    """Load a network that the user names, and check that it is for these classes."""
    try:
        network = load_network(path)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if same_classes and network.num_classes != context.num_classes:
        raise InputError(f"{where}: {path} knows {network.num_classes} classes, the data has {context.num_classes}")
    return network


def load_ready(model: TrainedModel, context: Context, *, where: str) -> Network:
    """The network that needs no training here: one that a run left in `model.weights`, or `model` filled with the
    weights of that name, a checkpoint's or a library's.

    Raises:
        InputError: they cannot be had, are another network's, or know other classes.
    """
    assert model.weights is not None
    if is_saved_network(model.weights):
        return load_given(model.weights, context, where=where)
    network = context.create(model.model_copy(update={"pretrained": model.weights}), where=where)
    if network.filled.not_filled:
        fresh = ", ".join(network.filled.not_filled[:2])
        raise InputError(
            f"{where}: {model.weights} does not know the data's {context.num_classes} classes ({fresh} would stay "
            f"untrained); to train from these weights on, give them as pretrained"
        )
    return network


def train_student(
    context: Context, make: Callable[[], Network], *, stage: str, upstream: dict[str, Any], name: str
) -> StageRecord:
    """Train the student that `make` builds with the recipe's `[train]` and no teacher.

    As `train/plain` it is the honest baseline: the same student, the same budget of training, no distillation.
    """
    inputs = context.inputs("data", "augment", "student", "train", task=context.recipe.task, **upstream)

    def work(folder: Path) -> dict[str, Any]:
        return train_to_end(context, make(), context.recipe.train, folder, seed=context.recipe.seed, name=name)

    return context.folder.do(stage, inputs, work, world=context.world, together=True)


def with_batch_size(context: Context, train: Train, objective: Any, folder: Path, *, is_shared: bool = True) -> Train:
    """Settle `batch_size = "auto"` by trying real steps, once: the number stays with the stage, so that a resume is exact."""
    if train.batch_size != "auto":
        return train
    kept = folder / "batch_size.json"
    if not kept.exists() and context.is_writer:
        needs = objective.needs() if hasattr(objective, "needs") else ()
        sample = context.loader(train.model_copy(update={"batch_size": 2}), seed=0, needs=needs).epoch(0)
        size = find_batch_size(objective, next(iter(sample)), context.settings(train), limit=len(context.splits.train))
        say(f"batch size: {size} (found automatically)")
        write_json(kept, size)
    if is_shared:
        join_world(train.device)[0].wait()
    return train.model_copy(update={"batch_size": read_json(kept)})


def finish(context: Context, network: Network, folder: Path, result: dict[str, Any], device: str) -> dict[str, Any]:
    """Leave a trained network in its stage: weights, raw outputs on validation and test, and its counts."""
    if context.is_writer:
        save_network(network, folder)
        context.predict(network, device).save(folder / "predictions.npz")
    return {**result, "params": network.params(), "macs": network.macs(), "input_size": list(network.input_size)}


def train_to_end(
    context: Context, network: Network, train: Train, folder: Path, *, seed: int, name: str
) -> dict[str, Any]:
    """Train one network on its own and leave it in `folder`, with its raw outputs on validation and test."""
    shapes = fit_shapes(context, train, folder, seed=seed)
    report = train_objective(context, network, train, folder / "fit", seed=seed, name=name, shapes=shapes)
    return finish(context, network, folder, {"origin": "trained", "fit": report, **told_shapes(folder)}, train.device)


def train_objective(
    context: Context,
    network: Network,
    train: Train,
    folder: Path,
    *,
    seed: int,
    name: str,
    pictures: PictureSet | None = None,
    select: bool = True,
    is_shared: bool = True,
    objective: Any = None,
    learner_rates: dict[str, float] | None = None,
    shapes: ShapeModel | None = None,
) -> dict[str, Any]:
    """Train a network with its supervised loss, or with `objective`; afterwards it holds the selected weights.

    Args:
        context: the run.
        network: trained in place.
        train: how.
        folder: for checkpoints and the log.
        seed: of the order of pictures, their augmentation and the steps.
        name: for progress.
        pictures: default the run's training pictures.
        select: keep the best epoch on validation (the last one where there is none, or with False).
        is_shared: whether all processes of a distributed run train it together; False = this one alone.
        objective: what is minimised, holding the network; None = the task's loss on the labels.
        learner_rates: of learners with a rate of their own.
        shapes: what smooths the points that are learned, where `train.soft_targets` asks for it.
    """
    task = context.make_task(train, shapes=shapes)
    objective = Supervised(network, task.criterion) if objective is None else objective
    needs = objective.needs() if hasattr(objective, "needs") else ()
    train = with_batch_size(context, train, objective, folder, is_shared=is_shared)
    report = fit(
        objective,
        context.loader(train, seed=seed, pictures=pictures, is_shared=is_shared, needs=needs),
        replace(context.settings(train), learner_rates=learner_rates or {}),
        folder=folder,
        seed=seed,
        evaluate=context.evaluator(train.device) if select else None,
        primary=task.primary,
        higher_is_better=task.higher_is_better,
        name=name,
        distributed=None if is_shared else False,
        tensorboard=is_shared,
    )
    return report.as_json()


def weights_key(weights: str | None) -> str | None:
    """Changes when the given file changes, so that the stage is redone then."""
    if weights is None:
        return None
    path = Path(weights)
    files = [path] if path.is_file() else [path / "model.safetensors", path / "architecture.json"]
    return fingerprint([(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()])
