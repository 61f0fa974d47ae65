"""`teacher.cache = true` in a run: whether a graph may have one, where it lies, and the distill stage's part in filling it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.console import warn
from limbeck.data import Loader, PictureStream
from limbeck.distill import Distillation, TeacherCache, cache_size_text, cacheable_teachers, fill_cache, use_caches
from limbeck.errors import InputError
from limbeck.pipeline.context import Context
from limbeck.pipeline.train import SHARED_TEACHERS
from limbeck.recipe import Recipe, Train
from limbeck.train import join_world
from limbeck.train.runtime import use_threads

__all__ = ["CacheUse", "cache_inputs", "check_cache", "kept_bytes", "use_teacher_cache"]

FOLDER = "logits"  # beside the shared teachers: students of a study that see the same pictures pay once
ANY_BATCH = 256  # a loader wants a batch size; what is cached does not depend on it


@dataclass(frozen=True)
class CacheUse:
    """What a training has from the cache.

    Attributes:
        views: that its batches must come in; None = no cache, every epoch is a new view.
        note: in words, for the report.
    """

    views: int | None = None
    note: str | None = None


def cache_inputs(recipe: Recipe) -> dict[str, Any]:
    """What of `[teacher]` decides what a student learns from a cache; empty without one."""
    teacher = recipe.teacher
    if teacher is None or not teacher.cache:
        return {}
    return {"teacher_cache": {"views": teacher.cache_views, "top_k": teacher.cache_top_k}}


def check_cache(context: Context, objective: Distillation, train: Train, *, seed: int) -> int:
    """Check before any work that a graph may take its teachers from a cache.

    Args:
        context: the run.
        objective: the graph with its teachers in place.
        train: of who learns, with its epochs.
        seed: of that training.

    Returns:
        the cache's bytes; 0 where the recipe asks for none.

    Raises:
        InputError: features are read, networks train along, pictures are streamed, or `cache_top_k` does not fit.
    """
    teacher = context.recipe.teacher
    if teacher is None or not teacher.cache:
        return 0
    if isinstance(context.splits.train, PictureStream):
        raise InputError("teacher.cache: streamed pictures cannot be read again; set teacher.cache = false")
    views = min(teacher.cache_views, train.epochs)
    caches = _caches(context, objective, train, seed=seed)
    return sum(views * cache.samples * cache.row_bytes for cache in caches.values())


def kept_bytes(context: Context) -> int:
    """What caches beside this run take already; a run that finds its own among them asks for no more."""
    return sum(file.stat().st_size for file in _home(context).glob("*/*.npy"))


def use_teacher_cache(context: Context, objective: Distillation, train: Train, *, seed: int) -> CacheUse:
    """Fill what is missing, and let the caches stand where the graph's frozen teachers stood; all processes call this.

    Args:
        context: the run.
        objective: the graph with its teachers in place.
        train: of who learns, with its epochs.
        seed: of that training.

    Raises:
        InputError: as `check_cache`; the disk is too small.
        Stopped: SIGTERM or Ctrl-C; what was done is kept.
    """
    teacher = context.recipe.teacher
    if teacher is None or not teacher.cache:
        return CacheUse()
    samples = context.problem.samples
    views = min(teacher.cache_views, train.epochs)
    caches = _caches(context, objective, train, seed=seed)
    for name, cache in caches.items():
        network = objective.sources[name].network
        with use_threads(train.threads or torch.get_num_threads()):
            fill_cache(
                cache,
                network,
                _batches(context, train, seed),
                views,
                world=join_world(train.device)[0],
                samples=samples,
            )
    use_caches(objective, caches)
    note = f"teacher from a cache of logits: {'; '.join(cache_size_text(cache, views, samples=samples) for cache in caches.values())}"
    bent = [cache.distortion(view) or 0.0 for cache in caches.values() for view in range(views)]
    if teacher.cache_top_k is not None:
        note += (
            f"; its {teacher.cache_top_k} largest, which bends the gradient at the start by {sum(bent) / len(bent):.1%}"
        )
        if context.is_writer:
            warn(note)
    return CacheUse(views, note)


def _caches(context: Context, objective: Distillation, train: Train, *, seed: int) -> dict[str, TeacherCache]:
    recipe = context.recipe
    assert recipe.teacher is not None
    top_k = recipe.teacher.cache_top_k
    return {
        name: TeacherCache(
            _home(context),
            source.network,
            _batches(context, train, seed),
            data=context.splits.fingerprint,
            precision=train.precision,
            device=join_world(train.device)[1],
            top_k=top_k,
        )
        for name, source in cacheable_teachers(objective, top_k=top_k).items()
    }


def _batches(context: Context, train: Train, seed: int) -> Loader:
    sized = train.model_copy(update={"batch_size": ANY_BATCH})
    return context.loader(sized, seed=seed, unlabelled=True, is_shared=False)


def _home(context: Context) -> Path:
    return context.folder.home / SHARED_TEACHERS / FOLDER
