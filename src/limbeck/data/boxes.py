"""Boxes that pictures are annotated with: checked once, then moved along with their pictures.

What does not live here: how they were found (`box_layouts`, `box_sets`), which crops suit them (`ssd_crop`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data.placement import move_points
from limbeck.data.raw import BoxAnnotation, RawData, RawSplit
from limbeck.data.slips import too_many
from limbeck.data.targets import OpenedTargets
from limbeck.errors import InputError

__all__ = ["BoxTargets", "open_boxes", "visible_boxes"]

PADDING, FIRST_CROWD = -1, -2
"""Classes of a target's rows that name no object: none at all; -2 - k = a crowd of class k."""

_CLIPPED_BEYOND = 0.5  # pixels: files that round to whole ones are not worth a line
_SMALLEST_SIDE = 1.0  # pixels of what a picture became


@dataclass(frozen=True)
class BoxTargets:
    """The boxes of some pictures (a `limbeck.data.targets.Targets`).

    Attributes:
        boxes: [B, 4] float32 of all pictures, x1, y1, x2, y2 in pixels of the pictures as they were found, inside them.
        labels: [B] int64.
        crowd: [B] bool, neither learned nor judged.
        spans: [N, 2] int64, first and last + 1 of each picture's boxes.
        num_classes: K.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    spans: np.ndarray
    num_classes: int

    def __len__(self) -> int:
        return len(self.spans)

    def take(self, indices: np.ndarray) -> BoxTargets:
        """Those of only these pictures, in this order; the boxes are shared."""
        return replace(self, spans=self.spans[indices])

    def original(self, index: int) -> BoxAnnotation:
        """One picture's boxes where they were found."""
        own = slice(*self.spans[index].tolist())
        return BoxAnnotation(self.boxes[own], self.labels[own], self.crowd[own])

    def changed(self, index: int, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """[M, 5] float32 rows of class, x1, y1, x2, y2 in shares of the picture that was moved, for boxes still to be seen
        (`visible_boxes`); crowds of class k have the class -2 - k.
        """
        found = self.original(index)
        boxes, seen = visible_boxes(found.boxes, affine, size)
        classes = np.where(found.crowd, FIRST_CROWD - found.labels, found.labels)[seen]
        shares = boxes[seen] / np.array([size[1], size[0]] * 2)
        return np.concatenate([classes[:, None], shares], axis=1).astype(np.float32)

    def collate(self, samples: Sequence[np.ndarray]) -> Tensor:
        """[N, M, 5] float32: M is that of the picture with the most boxes; further rows have the class -1."""
        most = max((len(rows) for rows in samples), default=0)
        target = np.zeros((len(samples), most, 5), np.float32)
        target[:, :, 0] = PADDING
        for place, rows in enumerate(samples):
            target[place, : len(rows)] = rows
        return torch.from_numpy(target)

    def class_counts(self) -> np.ndarray:
        """[K] number of boxes, crowds left out."""
        chosen = self._chosen()
        return np.bincount(self.labels[chosen][~self.crowd[chosen]], minlength=self.num_classes)

    def identity(self) -> bytes:
        """A digest of every box, label and mark."""
        chosen = self._chosen()
        digest = hashlib.sha256((self.spans[:, 1] - self.spans[:, 0]).tobytes())
        for part in (self.boxes, self.labels, self.crowd):
            digest.update(part[chosen].tobytes())
        return digest.digest()

    def _chosen(self) -> np.ndarray:
        return np.concatenate([np.arange(0), *(np.arange(first, last) for first, last in self.spans.tolist())])


def visible_boxes(boxes: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes where their picture went, cut at its edges.

    Args:
        boxes: [M, 4] as x1, y1, x2, y2 in pixels of the picture before.
        affine: [2, 3] map of coordinates that keeps axes parallel (`placement`).
        size: (height, width) of the picture after.

    Returns:
        [M, 4] float64 boxes in pixels of the picture after; [M] bool, which are still to be seen: their centre lies in the
        picture, and what is left has sides of a pixel or more.

    **Source:** the rule of the centre is that of SSD's random crops, Liu et al. 2016, arXiv 1512.02325, section 2.2.

    Example:
        >>> shifted = np.array([[1.0, 0.0, -6.0], [0.0, 1.0, 0.0]])
        >>> visible_boxes(np.array([[4, 0, 10, 5], [0, 0, 8, 5]]), shifted, (10, 10))[0].tolist()
        [[0.0, 0.0, 4.0, 5.0], [0.0, 0.0, 2.0, 5.0]]
        >>> visible_boxes(np.array([[4, 0, 10, 5], [0, 0, 8, 5]]), shifted, (10, 10))[1].tolist()
        [True, False]
    """
    ends = move_points(affine, boxes.reshape(-1, 2, 2).astype(np.float64))
    low, high = ends.min(1), ends.max(1)  # mirrored corners change places
    edges = np.array([size[1], size[0]], np.float64)
    centre = (low + high) / 2
    inside = ((centre >= 0) & (centre <= edges)).all(1)
    cut = np.concatenate([np.clip(low, 0, edges), np.clip(high, 0, edges)], axis=1)
    return cut, inside & ((cut[:, 2:] - cut[:, :2]) >= _SMALLEST_SIDE).all(1)


def open_boxes(
    raw: RawData,
    split: RawSplit,
    rows: np.ndarray,
    *,
    sizes: np.ndarray,
    class_names: tuple[str, ...],
    keep: bool,
    description: str,
    cache: Path | None = None,
) -> OpenedTargets:
    """Check the boxes of some pictures (a `limbeck.data.targets.OpenTargets`; nothing is worth caching).

    Repaired and counted: boxes that leave their picture are cut at its edges; those without area, then or before, are left
    out. Pictures without any box stay: they teach what is no object. Pictures with a label beyond the classes or a
    coordinate that is no number are left out whole, since a missing box would teach that its object is none.

    Raises:
        InputError: more than a tenth of the boxes have no area, more than a tenth of the pictures cannot be used, or all
            boxes lie within one pixel (shares of the picture instead of pixels).
    """
    assert split.annotations is not None
    found: list[BoxAnnotation] = []
    errors: dict[int, str] = {}
    usable = np.ones(len(rows), bool)
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    furthest = 0.0
    for place, (row, (height, width)) in enumerate(zip(rows.tolist(), sizes.tolist(), strict=True)):
        annotation, reason = _read(split.annotations, row)
        if reason := reason or _impossible(annotation, class_names):
            errors[row], usable[place] = reason, False
            continue
        boxes = np.asarray(annotation.boxes, np.float32).reshape(-1, 4)
        furthest = max(furthest, float(boxes.max(initial=0.0)))
        edges = np.array([width, height] * 2, np.float32)
        inside = np.clip(boxes, 0, edges)
        real = (inside[:, 2:] > inside[:, :2]).all(1)
        cut = real & (np.abs(inside - boxes) > _CLIPPED_BEYOND).any(1)
        crowd = np.asarray(annotation.crowd, bool)
        noted = {"boxes": len(boxes), "flat": int((~real).sum()), "cut": int(cut.sum()), "crowds": int(crowd.sum())}
        noted["pictures without a box"] = int(not len(boxes))
        for what, count in noted.items():
            counts[what] += count
            if count and what not in first:
                first[what] = split.name(row, "picture")
        found.append(BoxAnnotation(inside[real], np.asarray(annotation.labels, np.int64)[real], crowd[real]))
    _refuse(errors, counts, first, furthest, split, len(rows), sizes)
    lengths = np.array([len(one.boxes) for one in found], np.int64)
    ends = np.cumsum(lengths)
    targets = BoxTargets(
        np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in found)]),
        np.concatenate([np.zeros(0, np.int64), *(one.labels for one in found)]),
        np.concatenate([np.zeros(0, bool), *(one.crowd for one in found)]),
        np.stack([ends - lengths, ends], axis=1),
        len(class_names),
    )
    return OpenedTargets(targets, usable, errors, _notes(counts, first))


def _read(annotations: Sequence[Any], row: int) -> tuple[Any, str]:
    """One picture's annotation, or why it cannot be read."""
    try:
        return annotations[row], ""
    except InputError as error:
        return None, str(error)


def _impossible(annotation: object, class_names: tuple[str, ...]) -> str:
    """Why a picture cannot be used with this annotation; empty where it can."""
    if not isinstance(annotation, BoxAnnotation):
        return "no boxes are known" if annotation is None else f"its annotation is a {type(annotation).__name__}"
    boxes, labels = np.asarray(annotation.boxes), np.asarray(annotation.labels)
    if boxes.size == 0 and labels.size == 0:
        return ""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or len(labels) != len(boxes) or len(annotation.crowd) != len(boxes):
        shapes = f"{list(boxes.shape)}, {list(labels.shape)} and {list(np.shape(annotation.crowd))}"
        return f"boxes, labels and marks of shapes {shapes} do not fit; expected [M, 4], [M] and [M]"
    if not np.isfinite(boxes).all():
        return f"box {int(np.flatnonzero(~np.isfinite(boxes).all(1))[0])} is not finite"
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(wrong):
        return f"box {int(wrong[0])} has label {int(labels[wrong[0]])}, out of range 0..{len(class_names) - 1}"
    return ""


def _refuse(
    errors: dict[int, str],
    counts: Counter[str],
    first: dict[str, str],
    furthest: float,
    split: RawSplit,
    total: int,
    sizes: np.ndarray,
) -> None:
    if too_many(len(errors), total):
        row, reason = next(iter(errors.items()))
        raise InputError(
            f"{len(errors)} of {total} pictures have impossible boxes; first: {split.name(row, 'picture')}: {reason}"
        )
    boxes = counts["boxes"]
    if boxes and furthest <= 1.0 and sizes.min() > 4:
        raise InputError(
            f"none of {boxes} boxes reaches beyond one pixel; boxes must be in pixels, not shares of the picture"
        )
    if too_many(counts["flat"], boxes):
        raise InputError(
            f"{counts['flat']} of {boxes} boxes have no area inside their picture (first: {first['flat']}); "
            "expected x1, y1, x2, y2 in pixels of the picture, not x, y, width, height"
        )


def _notes(counts: Counter[str], first: dict[str, str]) -> list[str]:
    """What was repaired, in words."""
    words = {
        "flat": "boxes without area inside their picture are left out",
        "cut": "boxes that leave their picture are cut at its edges",
        "crowds": "crowds or difficult objects are neither learned nor judged",
        "pictures without a box": "pictures without a box stay, and teach what is no object",
    }
    return [f"{counts[what]} {text} (first: {first[what]})" for what, text in words.items() if counts[what]]
