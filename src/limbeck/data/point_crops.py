"""What is cut out of a picture around its points: the box of the points themselves, one that the set gives, or one that a
detector found.

What does not live here: cutting (`placement`), checking that the box holds the points (`points`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.placement import Window
from limbeck.data.raw import PointAnnotation, RawSplit
from limbeck.data.table import read_table_file
from limbeck.errors import InputError, unknown_name
from limbeck.pictures import find_by_path_end, padded_window

__all__ = ["POLICIES", "CropPolicy", "cropped"]

POLICIES = {
    "none": "whole pictures",
    "gt_box": "the box of the true points",
    "given_box": "the box that the set gives",
    "given_and_gt_box": "the box around the one that the set gives and the one of the true points",
    "detector_box": "a box from a file, one row for each picture",
}
"""Policy -> what is cut out. Errors are not comparable across policies: published ones mostly use true points."""

_COLUMNS = ("x1", "y1", "x2", "y2")


@dataclass(frozen=True)
class CropPolicy:
    """What is cut out of each picture.

    Attributes:
        policy: of `POLICIES`.
        pad: added on every side, as a share of the box's longer side.
        pad_pixels: added on every side beside that, in pixels of the picture.
        square: whether the box becomes a square about its middle; otherwise its aspect is lost when it is fitted.
        boxes: for `detector_box`, a .csv or .parquet file with the columns `name`, `x1`, `y1`, `x2`, `y2`, in pixels; `name`
            is the end of the picture's path. Where a set has several faces in one file, or none, it is what reports call
            the picture: `a1.jpg (line 2)` of WFLW, `COFW_train_color.mat picture 0` of COFW.

    Raises:
        InputError: an unknown policy, a file where none is used or none where one is, or padding that is negative.
    """

    policy: str = "gt_box"
    pad: float = 0.0
    pad_pixels: float = 0.0
    square: bool = True
    boxes: str | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise unknown_name("crop", self.policy, POLICIES, where="data.options.crop")
        if (self.boxes is not None) != (self.policy == "detector_box"):
            needs = "needs data.options.boxes, a file of boxes" if self.boxes is None else "uses no data.options.boxes"
            raise InputError(f"data.options.crop = {self.policy}: {needs}")
        if not (0 <= self.pad < math.inf and 0 <= self.pad_pixels < math.inf):
            raise InputError(
                f"data.options: pad and pad_pixels must be 0 or more and finite, got {self.pad}, {self.pad_pixels}"
            )

    def window(self, box: Window) -> Window:
        """What is cut out around a box."""
        return padded_window(box, pad=self.pad, pad_pixels=self.pad_pixels, square=self.square)

    def sentence(self) -> str:
        """The policy in words, for the report."""
        if self.policy == "none":
            return "pictures are not cropped"
        padding = f"{100 * self.pad:g} % and {self.pad_pixels:g} pixels added on every side"
        return f"crop: {POLICIES[self.policy]}, {padding}, {'square' if self.square else 'its aspect stretched'}"


def cropped(splits: Mapping[str, RawSplit], policy: CropPolicy) -> dict[str, RawSplit]:
    """The splits with a window for each picture, NaN where there is no box.

    Raises:
        InputError: the file of boxes is missing or of another form.
    """
    if policy.policy == "none":
        return dict(splits)
    known = _read_boxes(Path(policy.boxes).expanduser()) if policy.boxes else {}
    made = {}
    for name, split in splits.items():
        assert split.annotations is not None
        windows = np.full((len(split.pictures), 4), np.nan)
        detected = _detected(split, name, known) if policy.policy == "detector_box" else None
        for row, annotation in enumerate(split.annotations):
            box = _box_of(annotation, policy.policy) if detected is None else detected[row]
            if box is not None and np.isfinite(box).all():
                windows[row] = policy.window(box)
        made[name] = replace(split, windows=windows)
    return made


def _detected(split: RawSplit, fallback: str, known: Mapping[str, Window]) -> list[Window | None]:
    """The box of each picture by what reports call it, else by its file, where no other row shows that too."""
    pictures = split.pictures if isinstance(split.pictures, (list, tuple)) else ()
    files = {row: str(picture) for row, picture in enumerate(pictures) if isinstance(picture, (str, Path))}
    counts = Counter(files.values())
    found = []
    for row in range(len(split.pictures)):
        box = find_by_path_end(split.name(row, fallback), known)
        if box is None and counts[files.get(row, "")] == 1:
            box = find_by_path_end(files[row], known)
        found.append(box)
    return found


def _box_of(annotation: Any, policy: str) -> Window | None:
    if not isinstance(annotation, PointAnnotation):
        return None
    boxes: list[Sequence[float]] = []
    if policy != "gt_box":
        if annotation.box is None:
            return None
        boxes.append(annotation.box)
    points = np.asarray(annotation.points, np.float64)
    if policy != "given_box":
        points = points[np.isfinite(points).all(1)]
        if not len(points):
            return None
        boxes.append((*points.min(0).tolist(), *points.max(0).tolist()))
    low, high = np.min([box[:2] for box in boxes], axis=0), np.max([box[2:] for box in boxes], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _read_boxes(file: Path) -> dict[str, Window]:
    if not file.is_file():
        raise InputError(f"{file}: no such file (data.options.boxes)")
    table = read_table_file(file)
    for column in ("name", *_COLUMNS):
        if column not in table.column_names:
            raise unknown_name("column", column, table.column_names, where=f"{file}: data.options.boxes")
    names = [str(name) for name in table["name"].to_pylist()]
    try:
        edges = np.array([table[column].to_pylist() for column in _COLUMNS], np.float64).T
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: {', '.join(_COLUMNS)} must be numbers ({error})") from error
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"{file}: {len(twice)} names have two boxes or more (first: {twice[0]}); expected one for each"
        )
    return {
        name: (left, top, right, bottom) for name, (left, top, right, bottom) in zip(names, edges.tolist(), strict=True)
    }
