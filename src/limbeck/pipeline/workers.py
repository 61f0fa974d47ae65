"""Where the short trainings of `search` and `adapt` run, and where a ledger lies. Not here: what is trained."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from limbeck.cores import usable_cores
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pipeline.briefly import OpenedRun
from limbeck.pipeline.context import Context
from limbeck.recipe import Adapt, Search
from limbeck.search import RayCluster
from limbeck.search.evaluators import Evaluate, Evaluator, open_evaluator
from limbeck.search.ray_nodes import import_ray

__all__ = ["RunFacts", "check_workers", "open_workers", "storage_url", "threads_beside"]


def open_workers(
    context: Context, section: Search | Adapt, run: OpenedRun, stage: str
) -> Callable[[Evaluate, int], Evaluator]:
    """What opens the evaluator that the recipe asks for.

    Args:
        context: the run.
        section: what asks.
        run: that the evaluation itself holds, so that a worker opens the data once.
        stage: under way.
    """
    if section.engine == "local":
        return open_evaluator
    gpus = 0.0 if section.ray.gpus is None and context.recipe.train.device == "cpu" else section.ray.gpus
    return partial(RayCluster, cpus=section.ray.cpus, gpus=gpus, facts=RunFacts(run, stage))


def threads_beside(section: Search | Adapt) -> int | None:
    """Threads of a training that has others at its side; None = as many as there are."""
    if section.engine == "ray":  # the same on every node, whatever else it has: threads move the last bits of results
        return section.ray.cpus
    return max(1, usable_cores() // section.workers) if section.workers > 1 else None


@dataclass
class RunFacts:
    """What every node must have in common with the driver to train for this run."""

    run: OpenedRun
    stage: str

    def __call__(self) -> dict[str, str]:
        """Read them where this runs.

        Raises:
            InputError: the run folder is not there, or the data cannot be opened.
        """
        context = self.run.open()
        begun = context.folder.stage(self.stage).absolute() / "begun.json"
        if not begun.exists():
            raise InputError(f"{begun.parent}: not there; the run folder must be one that all nodes share")
        return {"run": str(read_json(begun)["fingerprint"]), "data": context.splits.fingerprint}


def storage_url(storage: str | None) -> str | None:
    """The recipe's storage with what the environment holds of it, such as a password.

    Raises:
        InputError: the environment lacks a name.
    """
    if storage is None:
        return None

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise InputError(f"search.storage: the environment has no {found[1]}")
        return os.environ[found[1]]

    return re.sub(r"\$\{(\w+)\}", value, storage)


def check_workers(section: Search | Adapt, *, where: str) -> None:
    """Check what can be before any work.

    Raises:
        InputError: Ray is asked for and not installed, or the environment lacks a name of the storage.
    """
    if section.engine == "ray":
        try:
            import_ray()
        except InputError as error:
            raise InputError(f"{where}.{error}") from error
    if isinstance(section, Search):
        storage_url(section.storage)
