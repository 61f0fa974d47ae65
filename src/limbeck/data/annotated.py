"""All annotated pictures of a set, to evaluate a finished model on; no division, no training.

What does not live here: opening a set for a run (`open`), sets of one class per picture (`labelled`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.console import warn
from limbeck.data.folder import SPLIT_NAMES
from limbeck.data.inspect import inspect_pictures
from limbeck.data.look import LABEL_COLUMNS
from limbeck.data.open import OPENERS
from limbeck.data.picture_set import PictureSet
from limbeck.data.point_sets import pts_beside
from limbeck.data.raw import Kind
from limbeck.data.readers import read_raw
from limbeck.data.review import Review
from limbeck.data.table import find_table_files, table_columns
from limbeck.errors import InputError
from limbeck.pictures import Fit, list_pictures

__all__ = ["annotated_kind", "find_annotated", "read_annotated"]

_POINT_COLUMNS = {"landmarks", "points", "keypoints"}
_SAMPLE = 100  # pictures beside which a .pts file is looked for

WORDS: dict[Kind, str] = {"mask": "a mask each", "boxes": "boxes", "points": "points"}


def annotated_kind(path: str) -> Kind | None:
    """What is known of each picture in a folder or table whose layout tells that it is more than a class; None = not told."""
    place = Path(path).expanduser()
    if not place.is_dir():
        return "points" if place.is_file() and _has_point_tables(place) else None
    folders = _folders(place)
    if folders & {"gtfine", "segmentationclass"} or {"images", "masks"} <= folders:
        return "mask"
    if _is_coco(place) or {"jpegimages", "annotations"} <= folders or {"images", "labels"} <= folders:
        return "boxes"
    is_points = _point_layout(place) is not None or _has_pts(place) or _has_point_tables(place)
    return "points" if is_points else None


def find_annotated(path: str, kind: Kind) -> str:
    """The reader (as in `data.name`) for the annotated pictures at `path`."""
    place = Path(path).expanduser()
    folders = _folders(place) if place.is_dir() else set()
    if kind == "mask":
        signs = {"gtfine": "cityscapes", "segmentationclass": "voc_segmentation"}
        return next((name for sign, name in signs.items() if sign in folders), "masks")
    if kind == "points":
        return _find_points(place)
    if "jpegimages" in folders:
        return "voc_detection"
    if _is_coco(place):
        return "coco"
    return "yolo" if "labels" in folders else "boxes"


def _folders(place: Path) -> set[str]:
    """Names, in lower case, of the folders in a folder and in those of its splits."""
    inside = [each for each in place.iterdir() if each.is_dir()]
    splits = [each for each in inside if each.name.lower() in SPLIT_NAMES]
    further = [each for split in splits for each in split.iterdir() if each.is_dir()]
    return {each.name.lower() for each in (*inside, *further)}


def _find_points(place: Path) -> str:
    if not place.is_dir() or _has_point_tables(place):
        return "points"
    return _point_layout(place) or "pts"


def _point_layout(place: Path) -> str | None:
    layouts = {"wflw_annotations": "wflw", "ibug": "300w", "afw": "300w"}
    folders = _folders(place)
    found = next((name for sign, name in layouts.items() if sign in folders), None)
    return found or ("cofw" if any(place.glob("COFW*.mat")) else None)


def _has_pts(place: Path) -> bool:
    return any(pts_beside(one).is_file() for one in islice(list_pictures(place), _SAMPLE))


def _has_point_tables(place: Path) -> bool:
    """Whether there are tables with a column that is called as points are, and none that is called as labels are."""
    try:
        columns = {name.lower() for name in table_columns(find_table_files(str(place))["train"][0])}
    except InputError:
        return False
    return bool(columns & _POINT_COLUMNS) and not columns & set(LABEL_COLUMNS)


def _is_coco(place: Path) -> bool:
    return any(place.glob("annotations/instances_*.json")) or any(place.glob("*/_annotations.coco.json"))


def read_annotated(
    path: str,
    *,
    kind: Kind,
    name: str,
    image_size: tuple[int, int],
    fit: Fit,
    fields: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> PictureSet:
    """Read the annotated pictures of a set: its test split where it has one (else validation), else all of them.

    Args:
        path: where it lies.
        kind: what has to be known of each picture.
        name: of the reader.
        image_size: (height, width).
        fit: how a picture of another shape becomes `image_size`.
        fields: further fields of the reader, such as `image_column`.
        options: further arguments of the reader.

    Raises:
        InputError: nothing there, another kind of set, or nothing usable. Single unusable pictures are left out with a
            warning.
    """
    raw = read_raw(name, {"path": path, **(fields or {})}, options=options)
    if raw.kind != kind:
        raise InputError(f"{path}: the model wants pictures with {WORDS[kind]}; '{name}' reads another kind of set")
    known = [split for split in ("test", "validation", "train") if split in raw.splits]
    split = next((split for split in known if raw.splits[split].annotations is not None), None)
    if split is None or not raw.class_names:
        raise InputError(f"{path}: no split of it has annotations with named classes")
    source, review = raw.splits[split], Review(path, warnings=list(raw.warnings))
    rows = np.arange(len(source.pictures))
    inspected = inspect_pictures(
        source, rows, image_size=image_size, fit=fit, keep=False, description="reading pictures"
    )
    review.leave_out(split, inspected.errors, source, len(rows))
    class_names = tuple(str(one) for one in raw.class_names)
    opened = OPENERS[kind](
        raw,
        source,
        inspected.rows,
        sizes=inspected.sizes,
        class_names=class_names,
        keep=False,
        description="reading annotations",
    )
    review.leave_out(split, opened.errors, source, len(inspected.rows))
    for line in [*review.warnings, *opened.notes]:
        warn(line)
    used = inspected.take(opened.usable)
    windows = None if source.windows is None else source.windows[used.rows]
    labels = np.zeros(len(used.rows), np.int64)
    return PictureSet(
        Path(path).name, split, class_names, labels, image_size, fit, source, used.rows,
        targets=opened.targets, sizes=used.sizes, windows=windows,
    )  # fmt: skip
