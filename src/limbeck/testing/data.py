"""What every data reader must do: the conformance suite for a data set of your own. The readers are `limbeck.data`'s."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from limbeck.data import RawData, RawSplit
from limbeck.data.raw import read_picture

__all__ = ["check_reader"]


def check_reader(reader: Callable[..., RawData], *, pictures: int = 8, **fields: Any) -> None:
    """Hold a reader to its rules: equal calls give equal sets, and every split is whole.

    Args:
        reader: the callable that a recipe names.
        pictures: how many of each split are decoded.
        fields: what it is called with.

    Raises:
        AssertionError: the first rule that it breaks, in words.
    """
    raw, again = reader(**fields), reader(**fields)
    assert isinstance(raw, RawData), f"a reader must return a RawData, not {type(raw).__name__}"
    assert raw.splits.get("train") is not None or raw.stream is not None, "there is no train split"
    unknown = sorted(set(raw.splits) - {"train", "validation", "test", "unlabelled"})
    assert not unknown, f"'{next(iter(unknown), '')}' is no split; there are train, validation, test, unlabelled"
    for name, split in raw.splits.items():
        _check_split(name, split, raw)
        count = len(split.pictures)
        for row in range(0, count, max(1, count // pictures)):
            first, second = read_picture(split.pictures[row]), read_picture(again.splits[name].pictures[row])
            assert np.array_equal(first, second), (
                f"{name}: picture {row} differs from call to call; draw it from `seed`"
            )
        labels, others = split.labels, again.splits[name].labels
        if labels is not None and others is not None:
            assert list(labels) == list(others), f"{name}: labels differ from call to call"
    if "seed" in inspect.signature(reader).parameters and "seed" not in fields:
        check_reader(reader, pictures=pictures, **fields, seed=1)


def _check_split(name: str, split: RawSplit, raw: RawData) -> None:
    count = len(split.pictures)
    assert count > 0, f"{name}: there are no pictures"
    for field in ("labels", "groups", "names"):
        values = getattr(split, field)
        assert values is None or len(values) == count, f"{name}: {count} pictures but {len(values)} {field}"
    if name == "unlabelled":
        return
    assert split.labels is not None, f"{name}: there are no labels"
    names = raw.class_names
    for row, label in enumerate(split.labels):
        if label is None or names is None:
            continue
        if isinstance(label, str):
            assert label in names, f"{name}: label '{label}' of picture {row} is no class name"
        else:
            assert 0 <= int(label) < len(names), (
                f"{name}: label {label} of picture {row} is not in 0 .. {len(names) - 1}"
            )
