"""Points that pictures are annotated with: checked once, then moved along with their pictures.

What does not live here: how they were found (`point_sets`, `point_layouts`), what is cut out around them (`point_crops`).
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limbeck.data.placement import move_points
from limbeck.data.point_crops import CropPolicy
from limbeck.data.raw import Picture, PointAnnotation, RawData, RawSplit
from limbeck.data.slips import too_many
from limbeck.data.targets import OpenedTargets
from limbeck.errors import InputError
from limbeck.pictures import shows_something
from limbeck.point_schemes import PointScheme

__all__ = ["PointTargets", "open_points"]


@dataclass(frozen=True)
class PointTargets:
    """The points of some pictures (a `limbeck.data.targets.Targets`).

    Attributes:
        points: [N, L, 2] float32 in pixels of the pictures as they were found, NaN = unknown.
        visible: [N, L] bool.
        subsets: of each picture, the parts of the set that it belongs to.
        windows: [N, 4] what of each picture is shown; None = all.
        scheme: which points change places in a mirror; None = nobody said.
        crop: what the windows are cut out around; None = nobody said.
    """

    points: np.ndarray
    visible: np.ndarray
    subsets: tuple[tuple[str, ...], ...]
    windows: np.ndarray | None = None
    scheme: PointScheme | None = None
    crop: CropPolicy | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def mirror(self) -> np.ndarray | None:
        """[L] which point stands in each place of a mirror image; None where nobody said."""
        order = None if self.scheme is None else self.scheme.mirror()
        return None if order is None else np.array(order)

    def take(self, indices: np.ndarray) -> PointTargets:
        """Those of only these pictures, in this order."""
        return replace(
            self,
            points=self.points[indices],
            visible=self.visible[indices],
            subsets=tuple(self.subsets[int(i)] for i in indices),
            windows=None if self.windows is None else self.windows[indices],
        )

    def changed(self, index: int, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """[L, 2] float32 x and y in shares of the picture that was moved, NaN = unknown; in a mirror image points that are
        each other's mirror image have changed places. Points outside the picture stay where they are.

        Raises:
            InputError: a mirror image, and nobody said which points change places.
        """
        moved = move_points(affine, self.points[index].astype(np.float64))
        if np.linalg.det(affine[:, :2]) < 0:
            order = self.mirror
            if order is None:
                raise InputError("points: nobody said which of them change places in a mirror image")
            moved = moved[order]
        return (moved / np.array([size[1], size[0]])).astype(np.float32)

    def collate(self, samples: Sequence[np.ndarray]) -> Tensor:
        """[N, L, 2] float32."""
        return torch.from_numpy(np.stack(samples))

    def class_counts(self) -> np.ndarray:
        """[L] in how many pictures each point is known."""
        return (~np.isnan(self.points).any(2)).sum(0)

    def in_subset(self) -> dict[str, np.ndarray]:
        """[N] bool of each part of the set by its name: which pictures belong to it."""
        names = sorted({name for found in self.subsets for name in found})
        return {name: np.array([name in found for found in self.subsets], bool) for name in names}

    def identity(self) -> bytes:
        """Changes when a point, a mark, a window or a mirrored pair does."""
        digest = hashlib.sha256(self.points.tobytes() + self.visible.tobytes())
        digest.update(b"" if self.windows is None else self.windows.tobytes())
        digest.update(b"" if self.mirror is None else self.mirror.tobytes())
        return digest.digest()


def open_points(
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
    """Check the points of some pictures (a `limbeck.data.targets.OpenTargets`; nothing is worth caching).

    Left out whole: pictures with another number of points, with infinite ones, with none known, with all of them in one
    place, with more than half outside the picture, and those whose window is none or holds less than half of the points.
    Kept and counted: unknown and hidden points, single points outside their picture or window, grey pictures (shown as
    RGB) and those of 16 bits (scaled to 8).

    Raises:
        InputError: more than a tenth of the pictures (and more than one) cannot be used, or the points of each lie within
            one pixel (shares of the picture instead of pixels).
    """
    assert split.annotations is not None
    found: list[PointAnnotation] = []
    errors: dict[int, str] = {}
    usable = np.ones(len(rows), bool)
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    places: list[np.ndarray] = []
    for place, (row, (height, width)) in enumerate(zip(rows.tolist(), sizes.tolist(), strict=True)):
        annotation = split.annotations[row]
        if isinstance(annotation, np.ndarray):
            annotation = PointAnnotation(annotation)
        if isinstance(annotation, PointAnnotation) and np.shape(annotation.points) == (len(class_names), 2):
            points = np.asarray(annotation.points)
            places.append(points[np.isfinite(points).all(1)])
        window = None if split.windows is None else split.windows[row]
        if reason := _unusable(annotation, len(class_names), (height, width), window):
            errors[row], usable[place] = reason, False
            continue
        points = np.asarray(annotation.points, np.float32)
        unknown = np.asarray(np.isnan(points).any(1))
        hidden = np.zeros(len(points), bool) if annotation.visible is None else ~np.asarray(annotation.visible, bool)
        outside = ~unknown & ~_inside(points, (0.0, 0.0, width, height))
        beyond = np.zeros_like(unknown) if window is None else ~unknown & ~_inside(points, window)
        noted = {"unknown": unknown, "hidden": hidden, "outside": outside, "beyond": beyond}
        for what, count in {name: int(mask.sum()) for name, mask in noted.items()}.items():
            _count(counts, first, what, count, split, row)
        for what in _form_of(split.pictures[row]):
            _count(counts, first, what, 1, split, row)
        found.append(replace(annotation, points=np.where(unknown[:, None], np.nan, points), visible=~hidden))
    _refuse_shares(places, len(class_names), sizes)
    _refuse(errors, split, len(rows))
    length = len(class_names)
    kept = rows[usable]
    targets = PointTargets(
        np.stack([one.points for one in found]).astype(np.float32) if found else np.zeros((0, length, 2), np.float32),
        np.array([one.visible for one in found], bool).reshape(-1, length),
        tuple(one.subsets for one in found),
        None if split.windows is None else np.asarray(split.windows, np.float64)[kept],
        raw.scheme,
        raw.crop,
    )
    return OpenedTargets(targets, usable, errors, _notes(counts, first))


def _unusable(annotation: Any, length: int, size: tuple[int, int], window: np.ndarray | None) -> str:
    """Why a picture cannot be used with this annotation; empty where it can."""
    if isinstance(annotation, InputError):
        return str(annotation)
    if not isinstance(annotation, PointAnnotation):
        return "no points are known" if annotation is None else f"its annotation is a {type(annotation).__name__}"
    points = np.asarray(annotation.points)
    if points.ndim != 2 or points.shape[1] != 2:
        return f"its points are of shape {list(points.shape)}; expected [{length}, 2]"
    if len(points) != length:
        return f"{len(points)} points; expected {length}"
    if annotation.visible is not None and np.shape(annotation.visible) != (length,):
        return f"{len(points)} points but {np.size(annotation.visible)} marks of which are visible"
    if np.isinf(points).any():
        return f"point {int(np.flatnonzero(np.isinf(points).any(1))[0])} is infinite"
    known = points[~np.isnan(points).any(1)]
    if not len(known):
        return "none of its points is known"
    if len(known) > 1 and not np.ptp(known, axis=0).any():
        return "all of its points lie in one place"
    if 2 * int(_inside(known, (0.0, 0.0, size[1], size[0])).sum()) < len(known):
        return f"more than half of its points lie outside the picture of {size[1]} x {size[0]} pixels"
    if window is None:
        return ""
    if not shows_something(tuple(window.tolist()), size):
        return "no box is known, or one that does not show the picture"
    held = int(_inside(known, window).sum())
    return "" if 2 * held >= len(known) else f"the box misses it: {held} of {len(known)} points lie inside"


def _inside(points: np.ndarray, window: Any) -> np.ndarray:
    """[L] bool, whether each of [L, 2] points lies in a window; NaN does not."""
    left, top, right, bottom = (float(edge) for edge in window)
    inside = (points >= (left, top)) & (points <= (right, bottom))
    return np.asarray(inside.all(1))


def _form_of(picture: Picture) -> tuple[str, ...]:
    """What is noted of how a picture is written: `grey`, `deep`; from its header alone."""
    if isinstance(picture, np.ndarray):
        return ("grey",) if picture.ndim == 2 or picture.shape[2] == 1 else ()
    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
        wide = image.mode.startswith("I") or image.mode == "F"
        deep = wide or any(
            ";16" in str(tile.args) for tile in image.tile
        )  # as the file has it, RGB;16B though mode is RGB
        grey = wide or image.mode in ("1", "L", "LA", "La")
        return ("grey",) * grey + ("deep",) * deep


def _count(counts: Counter[str], first: dict[str, str], what: str, count: int, split: RawSplit, row: int) -> None:
    counts[what] += count
    if count and what not in first:
        first[what] = split.name(row, "picture")


def _refuse_shares(places: list[np.ndarray], length: int, sizes: np.ndarray) -> None:
    """Points of a picture that lie within one pixel of each other, in all pictures, are shares of it. Their coordinates
    tell nothing: where the first pixel's centre lies has been added to them.
    """
    if length == 1 and places:  # one point has no extent, those of all pictures together have one
        places = [np.concatenate(places)]
    widest = max((float(np.ptp(known, axis=0).max()) for known in places if len(known)), default=0.0)
    if 0 < widest <= 1 and sizes.min() > 4:
        raise InputError(
            "the points of every picture lie within one pixel; points must be in pixels, not shares of the picture"
        )


def _refuse(errors: dict[int, str], split: RawSplit, total: int) -> None:
    if too_many(len(errors), total):
        row, reason = next(iter(errors.items()))
        raise InputError(
            f"{len(errors)} of {total} pictures have points that cannot be used; first: {split.name(row, 'picture')}: "
            f"{reason}"
        )


def _notes(counts: Counter[str], first: dict[str, str]) -> list[str]:
    """What was found and kept, in words."""
    words = {
        "unknown": "points are unknown, and neither learned nor judged",
        "hidden": "points are hidden, and learned as the others are",
        "outside": "points lie outside their picture, and are learned where they lie",
        "beyond": "points lie outside the box that is cut out, and are learned where they lie",
        "grey": "pictures are grey, and shown as RGB",
        "deep": "pictures have 16 bits or more, and are scaled to 8",
    }
    return [f"{counts[what]} {text} (first: {first[what]})" for what, text in words.items() if counts[what]]
