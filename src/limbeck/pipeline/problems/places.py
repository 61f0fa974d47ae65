"""What the problems of more than one answer to a picture share: their targets, and what the chain has not for them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from limbeck.data import PictureSet
from limbeck.errors import InputError
from limbeck.recipe import Recipe

__all__ = ["refuse_what_places_lack", "targets_of"]


def targets_of(pictures: PictureSet, rows: np.ndarray) -> Tensor:
    """What is true of some fitted pictures, as batches of evaluation carry it."""
    assert pictures.targets is not None
    samples = [
        pictures.targets.changed(int(row), pictures.picture_affine(int(row)), pictures.image_size) for row in rows
    ]
    return pictures.targets.collate(samples)


def refuse_what_places_lack(recipe: Recipe) -> None:
    """Refuse what a chain has for classifiers alone.

    Raises:
        InputError: the recipe asks for it.
    """
    teacher = recipe.teacher
    for where, asked, what in (
        ("search", recipe.search is not None, "spaces hold classifiers"),
        ("adapt", recipe.adapt is not None, "it makes classifiers narrower"),
        ("baselines.off_the_shelf", recipe.baselines.off_the_shelf is not None, "ready networks are classifiers"),
        ("teacher.more", teacher is not None and bool(teacher.more), "only classifiers learn from several at once"),
        ("teacher.cache", teacher is not None and teacher.cache, "it keeps one row of logits per picture"),
    ):
        if asked:
            raise InputError(f'{where}: not for task = "{recipe.task}" ({what}); leave it out')
