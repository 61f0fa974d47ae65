"""From signals as they were read to splits that are ready for a run: divided by class and SNR, or by whole recordings.

What does not live here: reading and making signals (`radio`, `signal_readers`), pictures (`open`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.inspect import find_shared
from limbeck.data.picture_set import DataSplits
from limbeck.data.radio.levels import STEP, check_cells
from limbeck.data.radio.record import Signals, slices
from limbeck.data.remembered import recall, remember, remembered_at
from limbeck.data.signal_set import SignalSet
from limbeck.data.split import VALIDATION_SALT, choose_rows, hold_out_of
from limbeck.errors import InputError
from limbeck.files import fingerprint

__all__ = ["all_signals", "hash_frames", "left_out_line", "measured_line", "open_signals", "refuse_picture_fields"]

EXAMPLES = 10
LISTED = 200  # entries of `left_out` in a report; the count is always whole
PICTURES_ONLY: Mapping[str, Any] = {"unlabelled": None, "image_size": None, "fit": "crop"}
"""Fields of a data section that signals do not have, at what they are where nobody asked."""


def open_signals(
    found: Signals,
    *,
    name: str,
    where: str,
    validation: float,
    test: float,
    limit: int | None = None,
    limit_per_cell: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
) -> DataSplits:
    """Divide signals: every class at every SNR in the same shares, or by whole recordings where frames are of some.

    Args:
        found: as a reader gave them.
        name: of the data set.
        where: as errors call it.
        validation: share of what is not test, held out for selection; 0 = none.
        test: share of all.
        limit: use only so many training frames, stratified; validation and test stay whole.
        limit_per_cell: use only so many training frames of each class and SNR.
        seed: of the division.
        cache: folder that remembers what looking at mapped frames gave.

    Raises:
        InputError: a class without frames, or without any at an SNR that was set; too few frames or recordings to hold
            any out, fewer in a cell than asked for.
    """
    check_cells(found.y, found.full_cells, found.classes, where=where)
    cells, groups = found.cells(), found.groups
    stratify = found.y if groups is not None else cells
    unit = "frames of each class and SNR" if groups is None else "recordings"
    rows, division, warnings = np.arange(len(found)), {}, [*found.notes]
    warnings += [*measured_line(found), *left_out_line(found)]
    rows, division["test"] = hold_out_of(rows, stratify, test, seed=seed, groups=groups)
    if not len(rows) or not len(division["test"]):
        raise InputError(f"{where}: too few {unit} to hold out a test set (data.test = {test:g}); give more")
    if validation > 0:
        kept, held = hold_out_of(rows, stratify, validation, seed=seed + VALIDATION_SALT, groups=groups)
        if len(kept) and len(held):
            rows, division["validation"] = kept, held
        else:
            warnings.append(f"too few {unit} to hold out validation (data.validation = {validation:g})")
    if limit is not None and limit_per_cell is not None:
        raise InputError("data.limit and data.limit_per_cell: give one of them")
    if limit is not None:
        rows = rows[choose_rows(cells[rows], limit, seed=seed)]
    if limit_per_cell is not None:
        rows = _first_of_cells(rows, cells, limit_per_cell, found, seed=seed, where=where)
    division = {"train": rows, **division}

    size = (1, found.X.shape[2])
    sets = {split: _signal_set(found, name, split, chosen, size) for split, chosen in division.items()}
    warnings += _missing_classes(sets, found.classes)
    hashes = hash_frames(found.X, cache)
    leakage, told = _find_leakage(sets, {split: hashes[chosen] for split, chosen in division.items()})
    identity = {
        split: hashlib.sha256(
            hashes[chosen].tobytes()
            + found.y[chosen].tobytes()
            + (b"" if found.snr is None else found.snr[chosen].tobytes())
        ).hexdigest()
        for split, chosen in division.items()
    }
    return DataSplits(
        train=sets["train"],
        validation=sets.get("validation"),
        test=sets["test"],
        class_names=found.classes,
        image_size=size,
        fit="none",
        fingerprint=fingerprint({"splits": identity, "class_names": found.classes, "image_size": size}),
        report={
            "counts": {split: len(one) for split, one in sets.items()},
            "class_counts": {split: one.class_counts().tolist() for split, one in sets.items()},
            "left_out": [
                {"split": "all", "source": source, "reason": reason} for source, reason in found.left_out[:LISTED]
            ],
            "left_out_count": len(found.left_out),
            "leakage": leakage,
            "warnings": warnings + told,
        },
        kind="signal",
    )


def all_signals(found: Signals, *, name: str) -> SignalSet:
    """All frames as one set, to judge a finished model on."""
    return _signal_set(found, name, "test", np.arange(len(found)), (1, found.X.shape[2]))


def measured_line(found: Signals) -> list[str]:
    """What reports and first looks say of an SNR that was measured."""
    if found.snr is None or not found.is_measured:
        return []
    values = len(np.unique(found.snr))
    return [f"the SNR is measured ({values:,} values): told and divided in steps of {STEP:g} dB"]


def left_out_line(found: Signals) -> list[str]:
    """What reports and first looks say of spans and recordings that gave no frame."""
    if not found.left_out:
        return []
    source, reason = found.left_out[0]
    return [f"{len(found.left_out)} spans or recordings left out; first: {source}: {reason}"]


def refuse_picture_fields(fields: Mapping[str, Any], name: str) -> None:
    """Refuse what a data section asks of pictures.

    Raises:
        InputError: one of the fields was set.
    """
    for field, default in PICTURES_ONLY.items():
        if fields.get(field, default) != default:
            raise InputError(f"data.{field} = {fields[field]!r}: is for pictures, and '{name}' reads signals")


def _signal_set(found: Signals, name: str, split: str, rows: np.ndarray, size: tuple[int, int]) -> SignalSet:
    snr, levels = (None if values is None else values[rows] for values in (found.snr, found.levels))
    return SignalSet(
        name, split, found.classes, found.y[rows], snr, levels, size, found.X, rows, found.names, found.groups
    )


def _first_of_cells(
    rows: np.ndarray, cells: np.ndarray, count: int, found: Signals, *, seed: int, where: str
) -> np.ndarray:
    """`count` of the rows in each cell, drawn so that more of them only ever adds to fewer."""
    by_cell = {int(cell): rows[cells[rows] == cell] for cell in np.unique(cells[rows])}
    least = min(by_cell.values(), key=len)
    if len(least) < count:
        snr = "" if found.levels is None else f" at {found.levels[least[0]]:g} dB"
        raise InputError(
            f"data.limit_per_cell = {count}: {where} has {len(least)} training frames of "
            f"'{found.classes[found.y[least[0]]]}'{snr}"
        )
    order = np.random.default_rng(seed)
    return np.sort(np.concatenate([order.permutation(one)[:count] for one in by_cell.values()]))


def _missing_classes(sets: Mapping[str, SignalSet], classes: tuple[str, ...]) -> list[str]:
    """Lines on classes that a split lacks, which only recordings come to."""
    told = []
    for split, one in sets.items():
        absent = [name for name, count in zip(classes, one.class_counts(), strict=True) if not count]
        if absent:
            told.append(f"{len(absent)} of {len(classes)} classes have no {split} frame: {', '.join(absent[:5])}")
    return told


def hash_frames(X: np.ndarray, cache: Path | None) -> np.ndarray:
    """[N] uint64 of each frame's values; of a set that is mapped whole, remembered until its file changes."""
    place = None
    if isinstance(X, np.memmap) and X.filename is not None and not isinstance(X.base, np.ndarray):
        form = [X.offset, X.shape, X.strides]  # of a part, whose base is the whole, the offset would be the whole's
        place = remembered_at("frames", [os.fspath(X.filename)], np.zeros(1, np.int64), cache, form)
    if place is not None and place.exists():
        return recall(place)[0]["hashes"]
    # a sum of products with odd random words: equal frames have equal sums, others by a chance of 2^-63 or so
    words = np.random.default_rng(0).integers(0, 2**63, X.shape[1] * X.shape[2], dtype=np.uint64) * 2 + 1
    hashes = np.empty(len(X), np.uint64)
    for piece in slices(len(X)):
        values = np.ascontiguousarray(X[piece]).view(np.uint32).reshape(len(X[piece]), -1)
        hashes[piece] = (values * words).sum(1, dtype=np.uint64)
    if place is not None:
        remember(place, {}, hashes=hashes)
    return hashes


def _find_leakage(
    sets: Mapping[str, SignalSet], hashes: Mapping[str, np.ndarray]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Identical frames in two splits, as a report lists them, and a line on each pair of splits."""
    found, told = {}, []
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        if one not in sets or other not in sets:
            continue
        if pairs := find_shared(hashes[one], hashes[other]):
            examples = [[sets[one].source(left), sets[other].source(right)] for left, right in pairs[:EXAMPLES]]
            found[f"{one}/{other}"] = {"count": len(pairs), "examples": examples}
            told.append(f"leakage: {len(pairs)} of {len(sets[other])} {other} frames are also in {one}")
    return found, told
