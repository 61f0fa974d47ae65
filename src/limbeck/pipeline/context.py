"""What every stage of a run shares: recipe, folder, data, task, and the few steps that several stages take. No stage."""

from __future__ import annotations

import inspect as introspection
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from limbeck.data import Augment, DataSplits, Loader, PictureSet, PictureStream, open_data
from limbeck.data.balance import balanced_weights
from limbeck.data.shape_model import ShapeModel
from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.models import Network, create_model, load_network
from limbeck.parts import find_part
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.problems import Kept, Problem, open_problem
from limbeck.recipe import Data, Model, Recipe, Train
from limbeck.tasks import TASKS, open_task
from limbeck.train import TrainSettings, World
from limbeck.types import Batch

__all__ = ["Context", "Predictions"]

LOGITS = "logits"
WHERE_FILES_LIE = ("path", "validation_path", "test_path", "unlabelled")


@dataclass(frozen=True)
class Predictions:
    """What is kept of a model's outputs on the splits that were not trained on.

    Attributes:
        validation: by name; None where there is no validation split.
        test: by name.
    """

    validation: Kept | None
    test: Kept

    def save(self, path: Path) -> None:
        """Write as npz, whole or not at all: `split/name`, and a classifier's logits as `split` alone."""
        splits = {"test": self.test, **({} if self.validation is None else {"validation": self.validation})}
        arrays = {
            split if [*kept] == [LOGITS] else f"{split}/{name}": array
            for split, kept in splits.items()
            for name, array in kept.items()
        }
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, **arrays)

    @staticmethod
    def load(path: Path) -> Predictions:
        """Read what `save` wrote."""
        splits: dict[str, dict[str, np.ndarray]] = {}
        with np.load(path) as arrays:
            for key, array in arrays.items():
                split, _, name = key.partition("/")
                splits.setdefault(split, {})[name or LOGITS] = array
        return Predictions(splits.get("validation"), splits["test"])


@dataclass
class Context:
    """A run under way."""

    recipe: Recipe
    folder: RunFolder
    world: World = field(default_factory=World)

    @cached_property
    def splits(self) -> DataSplits:
        """The data, inspected and split; read once per command."""
        return open_splits(self.recipe.data, cache=self.folder.path / "cache")

    @cached_property
    def task(self) -> Any:
        """The kind of problem, made for this data."""
        return self.make_task()

    @cached_property
    def problem(self) -> Problem:
        """What is special in the chain for this kind of problem."""
        return open_problem(self.recipe.task, self.task, self.splits.class_names)

    def make_task(self, train: Train | None = None, *, shapes: ShapeModel | None = None, where: str = "train") -> Any:
        """The task with the criterion that a training asks for.

        Args:
            train: the training; None = the task's own criterion.
            shapes: the model of `train.soft_targets`.
            where: the recipe's section, for errors.

        Raises:
            InputError: the training asks for a loss or targets that this task does not have.
        """
        known: dict[str, Any] = {"num_classes": len(self.splits.class_names), "image_size": self.splits.image_size}
        known["label_smoothing"] = 0.0 if train is None else train.label_smoothing
        known |= {} if self.splits.scheme is None else {"scheme": self.splits.scheme}
        if train is not None:
            parameters = introspection.signature(find_part("task", self.recipe.task, TASKS)).parameters
            for field, asked, takes in (("loss", train.loss, "loss"), ("soft_targets", train.soft_targets, "soften")):
                if asked is not None and takes not in parameters:
                    raise InputError(f'{where}.{field}: not for task = "{self.recipe.task}"; leave it out')
            known |= {} if train.loss is None else {"loss": train.loss}
            known |= {} if shapes is None else {"soften": shapes.soften}
        if self.recipe.data.class_weights == "balanced":
            known["class_weights"] = balanced_weights(self.splits.train)
        return open_task(self.recipe.task, **known)

    @property
    def num_classes(self) -> int:
        """Outputs that networks need: one for each class of the data; of points two for each."""
        return len(self.splits.class_names) * self.problem.outputs_each

    @property
    def is_writer(self) -> bool:
        """Whether this process writes results (rank 0 under torchrun)."""
        return self.world.writes

    def inputs(self, *sections: str, **further: Any) -> dict[str, Any]:
        """What a stage reads: the named recipe sections, the data's fingerprint, and anything else.

        Where files lie is left out: the fingerprint tells what they hold. That of a stream is its address, which stays.
        """
        resolved = self.recipe.resolved()
        chosen = {name: resolved[name] for name in sections}
        if "data" in chosen:
            left_out = {"workers", *(() if isinstance(self.splits.train, PictureStream) else WHERE_FILES_LIE)}
            chosen["data"] = {k: v for k, v in chosen["data"].items() if k not in left_out}
            chosen["data"]["fingerprint"] = self.splits.fingerprint
        return {**chosen, "seed": self.recipe.seed, **further}

    def create(self, model: Model, *, where: str) -> Network:
        """Build a network of the recipe for this data."""
        network = create_for(model, num_classes=self.num_classes, picture_size=self.splits.image_size, where=where)
        if network.filled is None or network.filled.not_filled:
            try:
                self.problem.start(network, self.splits.train)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        return network

    def loader(
        self,
        train: Train,
        *,
        seed: int,
        pictures: PictureSet | None = None,
        unlabelled: bool = False,
        is_shared: bool = True,
        needs: Collection[str] = (),
        views: int | None = None,
    ) -> Loader:
        """The training batches of one training run.

        Args:
            train: how; its batch size must be a number.
            seed: of order and augmentation.
            pictures: default the run's training pictures.
            unlabelled: whether the recipe's unlabelled pictures join.
            is_shared: whether the processes of a distributed run share the batches; False = all are this process's own.
            needs: what the batches must carry beside the pictures, as the objective says it.
            views: epochs that differ in their augmentation, before the first comes again; None = all of them.
        """
        assert isinstance(train.batch_size, int)
        augment = self.recipe.augment
        return Loader(
            pictures or self.splits.train,
            batch_size=train.batch_size,
            augment=Augment(**{name: getattr(augment, name) for name in type(augment).model_fields}),
            seed=seed,
            workers=self.recipe.data.workers,
            sampling=self.recipe.data.sampling,
            extra=self.splits.unlabelled if unlabelled else None,
            rank=int(os.environ.get("RANK", "0")) if is_shared else 0,
            world=int(os.environ.get("WORLD_SIZE", "1")) if is_shared else 1,
            views=views,
            needs=needs,
        )

    def probe_batch(self) -> Batch:
        """Two training pictures, unchanged."""
        batches = Loader(self.splits.train, batch_size=2, augment=None, seed=0, shuffle=False)
        return next(iter(batches.epoch(0)))

    def evaluation_loader(self, pictures: PictureSet) -> Loader:
        """Every picture once, in order, unchanged."""
        return Loader(
            pictures,
            batch_size=self.problem.evaluation_batch,
            augment=None,
            seed=0,
            shuffle=False,
            drop_last=False,
            workers=self.recipe.data.workers,
        )

    def evaluator(self, device: str = "auto") -> Callable[[nn.Module], dict[str, float]] | None:
        """Figures on validation, by which trainings are selected; None where there is no validation split."""
        if self.splits.validation is None:
            return None
        batches = self.evaluation_loader(self.splits.validation)

        def evaluate(network: nn.Module) -> dict[str, float]:
            return self.problem.evaluate(network, batches, device=device)

        return evaluate

    def predict(self, network: nn.Module, device: str = "auto") -> Predictions:
        """What is kept of its outputs on validation and test."""

        def keep(pictures: PictureSet) -> Kept:
            return self.problem.keep(network, self.evaluation_loader(pictures), device=device)

        validation = self.splits.validation
        return Predictions(None if validation is None else keep(validation), keep(self.splits.test))

    def load(self, stage: str) -> Network:
        """The network that a finished stage left."""
        return load_network(self.folder.stage(stage))

    def predictions(self, stage: str) -> Predictions:
        """What a finished stage kept of its network's outputs."""
        return Predictions.load(self.folder.stage(stage) / "predictions.npz")

    def settings(self, train: Train) -> TrainSettings:
        """A recipe's training section in the training loop's own record."""
        not_the_loops = ("loss", "soft_targets")
        return TrainSettings(**{name: getattr(train, name) for name in Train.model_fields if name not in not_the_loops})


def open_splits(data: Data, *, cache: Path | None = None) -> DataSplits:
    """Open the data that a recipe names; `cache` keeps what its inspection found, so that it is read once."""
    not_the_readers = ("name", "class_weights", "sampling", "workers")
    fields = {name: getattr(data, name) for name in Data.model_fields if name not in not_the_readers}
    return open_data(data.name, cache=cache, **fields)


def create_for(model: Model, *, num_classes: int, picture_size: tuple[int, int], where: str) -> Network:
    """Build a recipe's network for so many classes and pictures of this size."""
    size = (model.input_size, model.input_size) if isinstance(model.input_size, int) else model.input_size
    if size is None and not (model.pretrained and ":" in model.model):  # a pretrained library network keeps its own
        size = picture_size
    own: dict[str, Any] = {
        "name": model.model,
        "num_classes": num_classes,
        "pretrained": model.pretrained,
        "width_multiplier": model.width_multiplier,
        "input_size": size,
        "small_images": model.small_images,
        "dropout": model.dropout,
    }
    for name in own.keys() & model.options.keys():
        instead = f"set {where}.{name}" if name in Model.model_fields else "the recipe and its data say it already"
        raise InputError(f"{where}.options.{name}: is no option of a model; {instead}")
    try:
        return create_model(**own, **model.options)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
