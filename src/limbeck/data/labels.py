"""From label values as found to class indices: names, range, missing ones.

What does not live here: pictures.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.data.raw import RawData
from limbeck.data.slips import too_many
from limbeck.errors import InputError

__all__ = ["class_index", "drop_unlabelled_splits", "resolve_labels"]


def class_index(label: Any) -> int:
    """A label that is to be an index already, as an int; -1 for what is no whole number: a name, None, NaN, a list."""
    try:
        return int(label) if int(label) == label else -1
    except (TypeError, ValueError, OverflowError):
        return -1


def drop_unlabelled_splits(raw: RawData) -> None:
    """Take out validation and test splits whose labels are withheld (all -1 or missing), as many published sets do."""
    for split in ("test", "validation"):
        labels = raw.splits[split].labels if split in raw.splits else None
        if split in raw.splits and (labels is None or all(label is None or label == -1 for label in labels)):
            del raw.splits[split]
            raw.warnings.append(f"the set's own {split} split carries no labels and is not used")


def resolve_labels(
    raw: RawData, *, where: str, min_classes: int = 2
) -> tuple[tuple[str, ...], dict[str, np.ndarray], dict[str, dict[int, str]]]:
    """Return (class names, {split: [N] int64 labels}, {split: {row: why it has no valid label}}).

    Integers index `class_names` where the set has them; else the distinct values of all splits, sorted, are the
    classes.

    Raises:
        InputError: labels are neither integers nor names, only one class, a class that is never trained, or more
            than a few labels out of range.
    """
    values = {
        name: _as_plain(split.labels, f"{where}: {name}")
        for name, split in raw.splits.items()
        if split.labels is not None
    }
    names, index_of = _classes(raw.class_names, values, where, min_classes)
    labels: dict[str, np.ndarray] = {}
    bad: dict[str, dict[int, str]] = {}
    for split, found in values.items():
        labels[split] = np.array([index_of.get(value, -1) for value in found], np.int64).reshape(-1)
        wrong = np.flatnonzero(labels[split] < 0)
        bad[split] = {int(row): _reason(found[row], names) for row in wrong}
        if too_many(len(wrong), len(found)):
            first = int(wrong[0])
            raise InputError(
                f"{where}: {split}: {len(wrong)} of {len(found)} labels are not usable; "
                f"first: {raw.splits[split].name(first, split)}: {bad[split][first]}{_hint(found, names)}"
            )
    return names, labels, bad


def _classes(
    given: Sequence[str] | None, values: dict[str, list[Any]], where: str, min_classes: int
) -> tuple[tuple[str, ...], dict[Any, int]]:
    present = {value for found in values.values() for value in found if value is not None}
    kinds = {type(value) for value in present}
    if len(kinds) > 1:
        raise InputError(f"{where}: labels mix names and integers; give either")
    if given is not None:
        names = tuple(str(name) for name in given)
        doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if doubled:
            raise InputError(f"{where}: class name '{doubled[0]}' is listed twice")
        by_name: dict[Any, int] = {name: index for index, name in enumerate(names)}
        index_of = by_name if kinds == {str} else {index: index for index in range(len(names))}
    else:
        ordered = sorted(present)
        names, index_of = tuple(str(value) for value in ordered), {value: index for index, value in enumerate(ordered)}
    if not present:
        raise InputError(f"{where}: no labels at all; expected a class name or index per picture")
    if len(names) < min_classes:
        raise InputError(f"{where}: only one class ('{names[0]}'); a classifier needs two or more")
    return names, index_of


def _as_plain(labels: Sequence[Any] | np.ndarray, where: str) -> list[Any]:
    """Python ints, strings or None."""
    plain = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    for row, value in enumerate(plain):
        if isinstance(value, (bool, np.bool_)):
            plain[row] = str(value)
        elif isinstance(value, (int, np.integer)):
            plain[row] = int(value)
        elif isinstance(value, str):
            plain[row] = value.strip() or None
        elif value is not None:
            raise InputError(
                f"{where}: label {value!r} is a {type(value).__name__}; expected a class name or an integer index"
            )
    return plain


def _reason(value: Any, names: tuple[str, ...]) -> str:
    if value is None:
        return "no label"
    if isinstance(value, int):
        return f"label {value} out of range 0..{len(names) - 1}"
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    return f"label '{value}' is no class" + (f"; did you mean '{near[0]}'?" if near else "")


def _hint(found: list[Any], names: tuple[str, ...]) -> str:
    integers = [value for value in found if isinstance(value, int)]
    if integers and min(integers) == 1 and max(integers) == len(names):
        return " (labels seem to count from 1; class indices count from 0)"
    return ""
