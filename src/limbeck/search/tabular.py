"""Search spaces whose every point was evaluated before: a table in, a space and its evaluation out. Nothing is trained."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import InputError, unknown_name
from limbeck.files import file_sha256
from limbeck.search.space import Point, Scalar, Space

__all__ = ["TabularEvaluation", "read_tabular"]

FIGURES = ("accuracy", "latency_ms")


@dataclass(frozen=True)
class TabularEvaluation:
    """Looks a point up; called like any evaluation of `compare_samplers`.

    Attributes:
        names: the choices, in the order of the keys.
        figures: (accuracy, latency in ms) by the ids of a point.
    """

    names: tuple[str, ...]
    figures: Mapping[tuple[Scalar, ...], tuple[float, float]] = field(repr=False)

    def __call__(self, point: Point) -> dict[str, float]:
        """The row's figures by name."""
        return dict(zip(FIGURES, self.figures[tuple(point[name] for name in self.names)], strict=True))

    def all(self) -> list[tuple[float, float]]:
        """(accuracy, latency_ms) of every point."""
        return list(self.figures.values())


def read_tabular(path: str | Path, *, ignore: tuple[str, ...] = ()) -> tuple[Space, TabularEvaluation]:
    """Read a table of every point of a space, a row each: `accuracy`, `latency_ms`, and one column per choice.

    Args:
        path: a parquet file, or an npz file of one-dimensional arrays of equal length (its text is unicode, not objects).
        ignore: columns that are no choice.

    Returns:
        The space, whose reference is the first row and whose builder returns the point itself, and what looks a point up.

    Raises:
        InputError: an unreadable file, a column that is missing or has a value that cannot be, a point that is missing or
            comes twice.
    """
    columns = {name: values for name, values in _columns(Path(path)).items() if name not in ignore}
    for name in FIGURES:
        if name not in columns:
            raise unknown_name("column", name, columns, where=f"{path} (needed)")
    if not (count := len(columns["accuracy"])) or len(columns) == len(FIGURES):
        raise InputError(f"{path}: expected at least one row and one column beside accuracy and latency_ms")
    for name, values in columns.items():
        for row, value in enumerate(values):
            is_fine = isinstance(value, str | bool | int | float) if name not in FIGURES else _is_figure(name, value)
            if not is_fine:
                raise InputError(f"{path}: row {row}: {name} = {value!r} is not a {_wanted(name)}")
    choices = {name: _ids(values) for name, values in columns.items() if name not in FIGURES}
    keys = list(zip(*(columns[name] for name in choices), strict=True))
    pairs = ((float(a), float(b)) for a, b in zip(*(columns[name] for name in FIGURES), strict=True))
    figures: dict[tuple[Scalar, ...], tuple[float, float]] = {}
    for row, (key, pair) in enumerate(zip(keys, pairs, strict=True)):
        if key in figures:
            raise InputError(f"{path}: row {row}: the point {dict(zip(choices, key, strict=True))} came before")
        figures[key] = pair
    space = Space(
        Path(path).stem,
        choices,
        dict,
        dict(zip(choices, keys[0], strict=True)),
        {"table": file_sha256(path)},
    )
    if space.size != count:
        raise InputError(f"{path}: has {count:,} of the {space.size:,} points that its columns span; all are needed")
    return space, TabularEvaluation(tuple(choices), figures)


def _columns(path: Path) -> dict[str, list[Any]]:
    if path.suffix not in (".parquet", ".npz"):
        raise InputError(f"{path}: expected a .parquet or .npz file")
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(path)
            return {name: table[name].to_pylist() for name in table.column_names}
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:  # pyarrow's errors are ValueErrors
        raise InputError(f"{path}: cannot be read ({(str(error).splitlines() or [''])[0][:200]})") from error
    if wrong := [name for name, array in columns.items() if array.ndim != 1]:
        raise InputError(f"{path}: {wrong[0]} has {columns[wrong[0]].ndim} dimensions; expected one")
    if len({len(array) for array in columns.values()}) > 1:
        raise InputError(f"{path}: its arrays are not of one length")
    return {name: array.tolist() for name, array in columns.items()}


def _ids(values: list[Any]) -> tuple[Scalar, ...]:
    """Numbers in order of size, words in order of appearance."""
    found = list(dict.fromkeys(values))
    return tuple(sorted(found) if all(type(one) in (int, float) for one in found) else found)


def _is_figure(name: str, value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value) and (name == "accuracy" or value > 0)


def _wanted(name: str) -> str:
    return {"accuracy": "finite number", "latency_ms": "finite number above 0"}.get(name, "word, number or truth value")
