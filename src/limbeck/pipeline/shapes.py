"""The shape model behind a training on smoothed points: fitted on what that training sees, kept with its network.

Not here: the model itself (`limbeck.data.shape_model`), who learns from the network (`distill`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from limbeck.console import say
from limbeck.data.shape_model import ShapeModel
from limbeck.files import atomic_path
from limbeck.pipeline.context import Context
from limbeck.recipe import Train

__all__ = ["copy_shapes", "fit_shapes", "told_shapes"]

FILE = "shape_model.safetensors"
VIEWS = 4  # augmented views of each picture: a model of upright faces alone would smooth every turn away
TOLD_MODES = 4


def fit_shapes(context: Context, train: Train, folder: Path, *, seed: int) -> ShapeModel | None:
    """The shape model of a training, fitted on its augmented points, or read where it was fitted before; None = not asked.

    Args:
        context: the run.
        train: the training; its `soft_targets` is the share of variance.
        folder: of the stage, which keeps it.
        seed: of the augmentation.
    """
    if train.soft_targets is None:
        return None
    path = folder / FILE
    if path.exists():
        return ShapeModel.load(path)
    batches = context.loader(train.model_copy(update={"batch_size": 1}), seed=seed, is_shared=False)
    found = ShapeModel.fit(torch.cat([batches.targets(view) for view in range(VIEWS)]), train.soft_targets)
    say(f"shape model: {len(found.modes)} modes hold {found.variance:.0%} of the variance of {found.shapes} shapes")
    if context.is_writer:
        found.save(path)
    return found


def copy_shapes(source: Path, target: Path) -> None:
    """Copy the shape model of a trained network beside a copy of it; nothing where it has none."""
    if (source / FILE).exists():
        with atomic_path(target / FILE) as temporary:
            temporary.write_bytes((source / FILE).read_bytes())


def told_shapes(folder: Path) -> dict[str, Any]:
    """What a stage's report holds of its shape model under `shape_model`; empty where there is none.

    `variance` asked for, number of `modes` and of `shapes`, `mean` [L, 2], and of the first modes `share` of the variance
    that is kept and the mean shape moved by 3 standard deviations either way, `low` and `high` [L, 2].
    """
    if not (folder / FILE).exists():
        return {}
    found = ShapeModel.load(folder / FILE)
    shares = found.eigenvalues / found.eigenvalues.sum()
    first = []
    for mode in range(min(TOLD_MODES, len(found.modes))):
        low, mean, high = found.varied(mode).round(5).tolist()
        first.append({"share": float(shares[mode]), "low": low, "high": high})
    return {
        "shape_model": {
            "variance": found.variance,
            "modes": len(found.modes),
            "shapes": found.shapes,
            "mean": mean,
            "first": first,
        }
    }
