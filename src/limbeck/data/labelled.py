"""All labelled pictures of a set, to evaluate a finished model on; no division, no training.

What does not live here: opening a set for a run (`open`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limbeck.console import warn
from limbeck.data.inspect import inspect_pictures
from limbeck.data.labels import drop_unlabelled_splits, resolve_labels
from limbeck.data.look import find_kind
from limbeck.data.picture_set import PictureSet
from limbeck.data.readers import DATA, read_raw
from limbeck.data.review import Review
from limbeck.parts import is_outside
from limbeck.pictures import Fit

__all__ = ["read_labelled"]


def read_labelled(
    data: str, *, image_size: tuple[int, int], fit: Fit = "crop", fields: dict[str, Any] | None = None
) -> PictureSet:
    """Read the labelled pictures of a set: its test split where it has one (else validation), else all of them.

    Args:
        data: a path, or the name of a reader that needs none (`digits`, `package.module:name`).
        image_size: (height, width).
        fit: how a picture of another shape becomes `image_size`.
        fields: further fields of the reader, such as `image_column`.

    Raises:
        InputError: nothing there, or nothing usable. Single unreadable pictures are left out with a warning.
    """
    if (data in DATA or is_outside(data)) and not Path(data).exists():
        raw = read_raw(data, fields or {})
    else:
        name, found = find_kind(Path(data).expanduser())
        raw = read_raw(name, {"path": data, **found, **(fields or {})})
    drop_unlabelled_splits(raw)
    split = next(name for name in ("test", "validation", "train") if name in raw.splits)
    source = raw.splits[split]
    class_names, labels, bad = resolve_labels(raw, where=data, min_classes=1)
    review = Review(data)
    review.leave_out(split, bad[split], source, len(labels[split]))
    rows = np.flatnonzero(labels[split] >= 0)
    inspected = inspect_pictures(
        source, rows, image_size=image_size, fit=fit, keep=False, description="reading pictures"
    )
    review.leave_out(split, inspected.errors, source, len(rows))
    for line in review.warnings:
        warn(line)
    chosen = labels[split][inspected.rows]
    return PictureSet(Path(data).name, split, class_names, chosen, image_size, fit, source, inspected.rows)
