"""Short trainings that score a network, here or in worker processes. Which networks are scored is the stages' own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from limbeck.console import hushed, set_quiet
from limbeck.data import PictureStream
from limbeck.models import Network
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.train import train_objective
from limbeck.recipe import Proxy, Recipe, Train

__all__ = ["OpenedRun", "train_briefly"]


@dataclass
class OpenedRun:
    """A run that worker processes can be sent: each opens the data once and keeps it for all that it is asked."""

    recipe: dict[str, Any]
    folder: str
    context: Context | None = field(default=None, repr=False)

    @classmethod
    def of(cls, context: Context) -> OpenedRun:
        """The run of this process."""
        return cls(context.recipe.resolved(), str(context.folder.path), context)

    def __getstate__(self) -> dict[str, Any]:
        return {"recipe": self.recipe, "folder": self.folder, "context": None}

    def open(self) -> Context:
        """The run, in whatever process this is."""
        if self.context is None:  # in a worker process
            set_quiet(True)
            self.context = Context(Recipe.model_validate(self.recipe), RunFolder(self.folder))
        return self.context


def train_briefly(
    context: Context, network: Network, proxy: Proxy, folder: Path, *, seed: int, threads: int | None
) -> dict[str, float]:
    """Train a network for a short while, in place, and return its figures on validation.

    Args:
        context: the run.
        network: trained in place.
        proxy: for how long, on how much.
        folder: of checkpoints; gone afterwards.
        seed: of the training.
        threads: where the recipe names none; None = torch's own choice.
    """
    recipe = context.recipe
    pictures = context.splits.train if proxy.limit is None else _limited(context.splits.train, proxy.limit)
    train = _settings(recipe.train, proxy, threads=threads)
    evaluate = context.evaluator(train.device)
    assert evaluate is not None  # resolve refuses such a recipe without a validation split
    taught: dict[str, Any] = {}
    if proxy.distill:
        from limbeck.pipeline.distill import proxy_graph  # which itself needs what is trained briefly

        graph, lesson = proxy_graph(context, network, train, seed=seed)
        taught = {"objective": graph, "learner_rates": lesson.section.learner_rates}
    with hushed():
        train_objective(
            context,
            network,
            train,
            folder,
            seed=seed,
            name="candidate",
            pictures=pictures,
            select=False,
            is_shared=False,
            **taught,
        )
    figures = evaluate(network)
    shutil.rmtree(folder, ignore_errors=True)
    return figures


def _limited(pictures: Any, limit: int) -> Any:
    """So many of the pictures; of a stream, whose classes are not known before they are read, the first of each epoch."""
    if isinstance(pictures, PictureStream):
        return replace(pictures, count=min(limit, len(pictures)))
    return pictures.limited(limit)


def _settings(train: Train, proxy: Proxy, *, threads: int | None) -> Train:
    return train.model_copy(
        update={
            "epochs": proxy.epochs,
            "learning_rate": proxy.learning_rate or train.learning_rate,
            "warmup_epochs": min(train.warmup_epochs, proxy.epochs / 4),
            "ema": 0.0,  # an average over so few steps says nothing
            "threads": train.threads or threads,
        }
    )
