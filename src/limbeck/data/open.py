"""From the name of a data set to splits that are ready for a run: read, label, divide, look at every picture, report.

What does not live here: how any one kind of set is read (`readers`), how pictures are looked at
(`inspect`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from limbeck.data.boxes import open_boxes
from limbeck.data.folder import read_unlabelled
from limbeck.data.inspect import Inspected, choose_image_size, inspect_pictures
from limbeck.data.labels import drop_unlabelled_splits, resolve_labels
from limbeck.data.masks import open_masks
from limbeck.data.picture_set import DataSplits, PictureSet
from limbeck.data.placement import context_size
from limbeck.data.points import open_points
from limbeck.data.radio.record import Signals
from limbeck.data.raw import Kind, RawData, RawSplit
from limbeck.data.readers import read_any
from limbeck.data.review import Review
from limbeck.data.signal_splits import open_signals, refuse_picture_fields
from limbeck.data.split import VALIDATION_SALT, choose_rows, hold_out_of
from limbeck.data.stream import PictureStream
from limbeck.data.targets import OpenTargets, Targets
from limbeck.errors import InputError, unknown_name
from limbeck.files import fingerprint
from limbeck.pictures import Fit

__all__ = ["open_data"]

STORE_BYTES = 1_500_000_000
"""Fitted pixels of all splits up to this size are held in memory; beyond it pictures are decoded each time they are
used.
"""
OPENERS: dict[Kind, OpenTargets] = {"mask": open_masks, "boxes": open_boxes, "points": open_points}
"""Who looks at the annotations of each kind of set."""


def open_data(
    name: str,
    *,
    path: str | None = None,
    validation_path: str | None = None,
    test_path: str | None = None,
    image_column: str = "image",
    label_column: str = "label",
    group_by: str | None = None,
    unlabelled: str | None = None,
    image_size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    validation: float = 0.1,
    test: float = 0.2,
    limit: int | None = None,
    limit_per_cell: int | None = None,
    sampling: Literal["natural", "balanced"] = "natural",
    class_weights: Literal["none", "balanced"] = "none",
    workers: int = 0,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    store_bytes: int = STORE_BYTES,
) -> DataSplits:
    """Open a data set: every picture is looked at once, and what is wrong with the set is found and named here,
    before training.

    Splits that the set has are kept. With train and validation only, validation is the reported test set and
    selection uses a split of train. What is missing is held out of train, stratified and seeded.

    Args:
        name: one of `limbeck.data.DATA`, or `package.module:name` of a reader.
        path: as the reader defines it, as are `validation_path`, `test_path`, `image_column`, `label_column` and
            `group_by`.
        validation_path: see `path`.
        test_path: see `path`.
        image_column: see `path`.
        label_column: see `path`.
        group_by: see `path`.
        unlabelled: folder of pictures that join distillation.
        image_size: side, or (height, width); None = what suits the set: the median shorter side as a multiple of 32,
            at most 224.
        fit: how a picture of another shape becomes `image_size`.
        validation: share of train held out for selection; 0 = none, `DataSplits.validation` is then None.
        test: share held out for test where the set has neither test nor validation.
        limit: use only so many training pictures, stratified; validation and test stay whole.
        limit_per_cell: of signals, use only so many training frames of each class and SNR.
        sampling: belongs to the `Loader`; accepted so that a recipe's whole section can be passed.
        class_weights: belongs to the criterion, as above.
        workers: belongs to the `Loader`, as above.
        options: further arguments of the reader.
        seed: of the division.
        cache: folder that remembers the inspection of pictures on disk.
        store_bytes: sets of up to so many fitted bytes are held in memory.

    Raises:
        InputError: anything that leaves nothing usable; says where, and what would be right.
    """
    if fit not in ("crop", "squash", "pad"):
        raise unknown_name("fit", fit, ("crop", "squash", "pad"), where="data.fit")
    fields = {
        "path": path,
        "validation_path": validation_path,
        "test_path": test_path,
        "image_column": image_column,
        "label_column": label_column,
        "group_by": group_by,
    }
    settings = {"seed": seed, "validation": validation, "test": test, "limit": limit}
    raw = read_any(name, fields, settings=settings, options=dict(options or {}))
    where = f"data '{name}'" if path is None else str(path)
    if isinstance(raw, Signals):
        refuse_picture_fields({"unlabelled": unlabelled, "image_size": image_size, "fit": fit}, name)
        return open_signals(
            raw, name=name, where=where, validation=validation, test=test, limit=limit, limit_per_cell=limit_per_cell,
            seed=seed, cache=None if cache is None else Path(cache),
        )  # fmt: skip
    if limit_per_cell is not None:
        raise InputError(f"data.limit_per_cell: is for signals, and '{name}' reads pictures; data.limit limits those")
    is_annotated = raw.kind != "class"
    if is_annotated:
        class_names, labels, bad_labels = _labels_of_annotated(raw, where=where)
        if unlabelled:
            raise InputError(f"data.unlabelled: pictures without annotations join classification only, not '{name}'")
    else:
        drop_unlabelled_splits(raw)
        class_names, labels, bad_labels = resolve_labels(raw, where=where)
    review = Review(where, warnings=list(raw.warnings))
    for split, reasons in bad_labels.items():
        review.leave_out(split, reasons, raw.splits[split], len(labels[split]))
    if raw.stream is not None:
        division = {split: (split, np.flatnonzero(found >= 0)) for split, found in labels.items()}
    else:
        division = _divide(raw, labels, validation=validation, test=test, seed=seed, review=review)
    if limit is not None and raw.stream is None:
        source, rows = division["train"]
        division["train"] = (source, rows[choose_rows(labels[source][rows], limit, seed=seed)])
    sources = dict(raw.splits)
    if unlabelled:
        sources["unlabelled"] = read_unlabelled(unlabelled)
    if "unlabelled" in sources:
        division["unlabelled"] = ("unlabelled", np.arange(len(sources["unlabelled"].pictures)))
    source, rows = division.get("train", division["test"])
    square = raw.kind in ("class", "points")
    size = _size(image_size) or raw.image_size or choose_image_size(sources[source], rows, seed=seed, square=square)
    if size is None:
        raise InputError(
            f"{where}: none of the sampled pictures can be read; first: {sources[source].name(int(rows[0]), source)}"
        )
    stored = {name: size if split.windows is None else context_size(size) for name, split in sources.items()}
    keep = sum(len(rows) * math.prod(stored[source]) * 3 for source, rows in division.values()) <= store_bytes

    sets: dict[str, PictureSet] = {}
    found: dict[str, Inspected] = {}
    for split, (source, rows) in division.items():
        found[split] = inspect_pictures(
            sources[source], rows, image_size=size, fit=fit, keep=keep,
            description=f"reading {split} pictures", cache=None if cache is None else Path(cache),
        )  # fmt: skip
        review.leave_out(split, found[split].errors, sources[source], len(rows))
        targets: Targets | None = None
        if is_annotated:
            opened = OPENERS[raw.kind](
                raw, sources[source], found[split].rows, sizes=found[split].sizes, class_names=class_names,
                keep=keep, description=f"reading {split} annotations", cache=None if cache is None else Path(cache),
            )  # fmt: skip
            review.leave_out(split, opened.errors, sources[source], len(found[split].rows))
            review.warnings += [f"{split}: {note}" for note in opened.notes]
            targets = opened.targets
            if not opened.usable.all():
                found[split] = found[split].take(opened.usable)
        split_labels = (
            labels[source][found[split].rows] if source in labels else np.full(len(found[split].rows), -1, np.int64)
        )
        made = _picture_set(name, split, class_names, split_labels, size, fit, sources[source], found[split])
        windows = sources[source].windows
        windows = None if windows is None else windows[found[split].rows]
        sets[split] = replace(made, targets=targets, sizes=found[split].sizes, windows=windows)
    review.check_classes({split: pictures for split, pictures in sets.items() if split != "unlabelled"}, raw.kind)
    if is_annotated and raw.splits["train"].windows is None:
        review.check_fit(sets, fit, size)
    review.find_leakage(sets, {split: inspected.hashes for split, inspected in found.items()})
    _check_groups(division, raw, review)
    identity = {
        split: hashlib.sha256(_known_of(pictures) + found[split].hashes.tobytes()).hexdigest()
        for split, pictures in sets.items()
    }
    train: PictureSet | PictureStream
    if raw.stream is not None:
        train = replace(raw.stream, image_size=size, fit=fit)
        identity["train"] = raw.stream.identity
        review.warnings.append("training pictures are streamed: they are not looked at before training")
    else:
        train = sets["train"]
    return DataSplits(
        train=train,
        validation=sets.get("validation"),
        test=sets["test"],
        class_names=class_names,
        image_size=size,
        fit=fit,
        fingerprint=fingerprint({"splits": identity, "class_names": class_names, "image_size": size, "fit": fit}),
        report=review.report(sets, streamed=raw.stream),
        unlabelled=sets.get("unlabelled"),
        kind=raw.kind,
        scheme=raw.scheme,
    )


def _known_of(pictures: PictureSet) -> bytes:
    return pictures.labels.tobytes() if pictures.targets is None else pictures.targets.identity()


def _labels_of_annotated(
    raw: RawData, *, where: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray], dict[str, dict[int, str]]]:
    """As `resolve_labels` returns it, for a set whose pictures have annotations: one and the same label for all."""
    if raw.kind not in OPENERS:
        raise InputError(f"{where}: its reader calls its kind '{raw.kind}'; expected class, {', '.join(OPENERS)}")
    for split in ("test", "validation"):
        if split in raw.splits and raw.splits[split].annotations is None:
            del raw.splits[split]
            raw.warnings.append(f"the set's own {split} split carries no annotations and is not used")
    if not raw.class_names:
        raise InputError(f"{where}: its reader names no classes")
    labels = {}
    for split, found in raw.splits.items():
        if found.annotations is None or len(found.annotations) != len(found.pictures):
            count = 0 if found.annotations is None else len(found.annotations)
            raise InputError(f"{where}: {split}: {count} annotations for {len(found.pictures)} pictures")
        labels[split] = np.zeros(len(found.pictures), np.int64)
    return tuple(str(name) for name in raw.class_names), labels, {}


def _divide(
    raw: RawData, labels: dict[str, np.ndarray], *, validation: float, test: float, seed: int, review: Review
) -> dict[str, tuple[str, np.ndarray]]:
    """{split: (raw split that it is taken from, rows there)}, rows without a valid label left out."""
    rows = {split: np.flatnonzero(found >= 0) for split, found in labels.items()}
    for split, usable in rows.items():
        if not len(usable):
            raise InputError(f"{review.where}: the {split} split has no labelled pictures")
    groups = raw.splits["train"].groups
    groups = None if groups is None else np.asarray(groups)
    division = {"train": ("train", rows["train"])}
    if "test" in rows:
        division["test"] = ("test", rows["test"])
    elif "validation" in rows:
        division["test"] = ("validation", rows["validation"])
    else:
        kept, held = hold_out_of(rows["train"], labels["train"], test, seed=seed, groups=groups)
        if not len(held) or not len(kept):
            unit = "pictures" if groups is None else "groups"
            raise InputError(
                f"{review.where}: too few {unit} to hold out a test set (data.test = {test}); give more, or a test split"
            )
        division |= {"train": ("train", kept), "test": ("train", held)}
    if "validation" in rows and division["test"][0] != "validation":
        if validation == 0:
            review.warnings.append("data.validation = 0: the set's own validation split is not used")
        else:
            division["validation"] = ("validation", rows["validation"])
    elif validation > 0:
        rest, salted = division["train"][1], seed + VALIDATION_SALT
        kept, held = hold_out_of(rest, labels["train"], validation, seed=salted, groups=groups)
        if len(held) and len(kept):
            division |= {"train": ("train", kept), "validation": ("train", held)}
        else:
            review.warnings.append(
                f"too few pictures to hold out validation (data.validation = {validation}): the last epoch is selected"
            )
    return division


def _picture_set(
    name: str,
    split: str,
    class_names: tuple[str, ...],
    labels: np.ndarray,
    size: tuple[int, int],
    fit: Fit,
    raw: RawSplit,
    found: Inspected,
) -> PictureSet:
    if found.pixels is None:
        return PictureSet(name, split, class_names, labels, size, fit, raw, found.rows)
    names = [raw.name(int(row), split) for row in found.rows]  # the encoded originals are not needed any more
    return PictureSet(
        name,
        split,
        class_names,
        labels,
        size,
        fit,
        RawSplit(found.pixels, names=names),
        np.arange(len(names)),
        found.pixels,
    )


def _check_groups(division: dict[str, tuple[str, np.ndarray]], raw: RawData, review: Review) -> None:
    """Warn of groups that cross the splits which the set came with; those that are made here cannot."""
    groups = {
        split: {str(raw.splits[source].groups[row]) for row in rows}  # type: ignore[index]
        for split, (source, rows) in division.items()
        if source in raw.splits and raw.splits[source].groups is not None
    }
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        shared = sorted(groups.get(one, set()) & groups.get(other, set()))
        if shared:
            review.warnings.append(
                f"{len(shared)} groups are in both {one} and {other} as the set divides them (first: '{shared[0]}')"
            )


def _size(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"data.image_size = {image_size}: expected pixels, such as 32 or [96, 128]")
    return size
