"""Pictures listed in a CSV or Parquet table: one row each, a path or the encoded bytes, and a label.

What does not live here: Hugging Face's hub (`hub`), though its Parquet files are read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from limbeck.data.folder import SPLIT_NAMES
from limbeck.data.raw import RawData, RawSplit
from limbeck.errors import InputError, unknown_name

__all__ = [
    "PictureColumn",
    "find_table_files",
    "read_table",
    "read_table_file",
    "read_table_splits",
    "schema_class_names",
    "table_column",
    "table_columns",
]


def read_table(
    path: str | None = None,
    validation_path: str | None = None,
    test_path: str | None = None,
    image_column: str = "image",
    label_column: str = "label",
    group_by: str | None = None,
    split_column: str | None = None,
    class_names: Sequence[str] | None = None,
    root: str | None = None,
) -> RawData:
    """Read tables of pictures.

    Args:
        path: a .csv, .tsv or .parquet file, a pattern such as `train-*.parquet`, or a folder of files named
            train..., val..., test...
        validation_path: file or pattern of the validation split.
        test_path: file or pattern of the test split.
        image_column: paths (relative to the table's folder, or `root`), bytes, or Hugging Face's {bytes, path}.
        label_column: class names, or integers: indices into the class names where the set lists them.
        group_by: column of values that never cross splits.
        split_column: column that says train, val or test.
        class_names: by index; None = what the file's own schema says, else the values found.
        root: folder that paths are relative to.

    Raises:
        InputError: a missing file or column, or a column of a type that cannot be meant.
    """
    names = list(class_names or ())

    def labels_of(table: pa.Table, where: str, folder: Path) -> dict[str, Any]:
        if not names:
            names.extend(schema_class_names(table.schema, label_column) or ())
        return {"labels": _labels(table_column(table, label_column, "data.label_column", where), label_column, where)}

    splits = read_table_splits(
        find_table_files(path, validation_path, test_path), labels_of,
        image_column=image_column, group_by=group_by, split_column=split_column, root=root,
    )  # fmt: skip
    return RawData(splits, class_names=names or None)


def read_table_splits(
    files: Mapping[str, Sequence[Path]],
    known_of: Callable[[pa.Table, str, Path], Mapping[str, Any]],
    *,
    image_column: str = "image",
    group_by: str | None = None,
    split_column: str | None = None,
    root: str | None = None,
) -> dict[str, RawSplit]:
    """The splits of any tables of pictures.

    Args:
        files: by split.
        known_of: (table, its name in errors, folder that its paths are relative to) -> what is known of its pictures:
            `labels` or `annotations`.
        image_column: as in `read_table`, as are `group_by`, `split_column` and `root`.
        group_by: see `image_column`.
        split_column: see `image_column`.
        root: see `image_column`.

    Raises:
        InputError: a missing column, or a column of a type that cannot be meant.
    """
    splits: dict[str, RawSplit] = {}
    for split, paths in files.items():
        where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} (and {len(paths) - 1} more)"
        tables = [read_table_file(file) for file in paths]
        try:
            table = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{where}: a column must have one type in all files of a split ({reason})") from error
        if table.num_rows == 0:
            raise InputError(f"{where}: no rows")
        folder = Path(root).expanduser() if root else paths[0].parent
        pictures = PictureColumn(table_column(table, image_column, "data.image_column", where), folder, where)
        known = known_of(table, where, folder)
        groups = table_column(table, group_by, "data.group_by", where).to_pylist() if group_by else None
        names = [pictures.name(row) or f"{paths[0].name} row {row}" for row in range(len(pictures))]
        whole = RawSplit(
            pictures,
            groups=None if groups is None else np.array([str(group) for group in groups]),
            names=names,
            **known,
        )
        if split_column and split == "train":
            splits |= _divide(
                whole, table_column(table, split_column, "data.options.split_column", where).to_pylist(), where
            )
        else:
            splits[split] = whole
    return splits


def find_table_files(
    path: str | None, validation_path: str | None = None, test_path: str | None = None
) -> dict[str, list[Path]]:
    """Table files by split.

    Raises:
        InputError: nothing there.
    """
    if not path:
        raise InputError("data.path: missing; give a .csv or .parquet file, a pattern, or a folder of them")
    files: dict[str, list[Path]] = {}
    if Path(path).expanduser().is_dir():
        for file in sorted(Path(path).expanduser().iterdir()):
            named = re.match(r"([a-z]+)([-_.\d]|$)", file.name.lower())
            if file.suffix.lower() in (".csv", ".tsv", ".parquet") and named and named[1] in SPLIT_NAMES:
                files.setdefault(SPLIT_NAMES[named[1]], []).append(file)
        if "train" not in files:
            raise InputError(
                f"{path}: no table named train... in this folder; "
                "expected such as train.csv or train-00000-of-00001.parquet"
            )
    else:
        files["train"] = _expand(path, "data.path")
    for split, given in (("validation", validation_path), ("test", test_path)):
        if given:
            files[split] = _expand(given, f"data.{split}_path")
    return files


def table_columns(file: Path) -> dict[str, pa.DataType]:
    """Columns of one table file and their types.

    Raises:
        InputError: not readable.
    """
    if file.suffix.lower() == ".parquet":
        with _reading(file, "Parquet"):
            schema = pa.parquet.read_schema(file)
    else:
        schema = read_table_file(file).schema
    return {field.name: field.type for field in schema}


class PictureColumn(Sequence[Any]):
    """A table's column as pictures: each item a path or the encoded bytes. The bytes stay in Arrow's memory.

    Raises:
        InputError: the column holds neither paths nor bytes.
    """

    def __init__(
        self, column: pa.ChunkedArray, root: Path, where: str, *, what: str = "image", field: str = "data.image_column"
    ) -> None:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        is_struct = pa.types.is_struct(kind) and {"bytes", "path"} & {part.name for part in kind}
        if not (is_struct or _is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise InputError(
                f"{where}: the {what} column holds {kind}; "
                f"expected paths, bytes or a struct of bytes and path ({field})"
            )
        self._column = column
        self._root = root

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: int) -> Any:  # type: ignore[override]
        value = self._column[row].as_py()
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if not value:
            return b""  # an empty cell: found and named like any other unreadable picture
        return str(self._root / Path(value).expanduser())

    def name(self, row: int) -> str | None:
        """The path that the cell gives; None where it is only bytes."""
        value = self._column[row]
        if isinstance(value, pa.StructScalar):
            value = value["path"] if "path" in value.type.names else None
        found = value.as_py() if isinstance(value, (pa.StringScalar, pa.LargeStringScalar)) else None
        return found or None


def _expand(pattern: str, field: str) -> list[Path]:
    found = [Path(match) for match in sorted(glob(str(Path(pattern).expanduser())))]
    if not found:
        raise InputError(f"{pattern}: no such file ({field})")
    return found


def read_table_file(file: Path) -> pa.Table:
    """One table file, whole.

    Raises:
        InputError: not readable.
    """
    if file.suffix.lower() in (".csv", ".tsv", ".txt"):
        options = pa.csv.ParseOptions(delimiter="," if file.suffix.lower() == ".csv" else "\t")
        with _reading(file, "CSV"):
            return pa.csv.read_csv(file, parse_options=options)
    with _reading(file, "Parquet"):
        return pa.parquet.read_table(file)


@contextmanager
def _reading(file: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: not readable as {kind} ({str(error).splitlines()[0]})") from error


def table_column(table: pa.Table, name: str, field: str, where: str) -> pa.ChunkedArray:
    """A column by its name; `field` is where a recipe names it.

    Raises:
        InputError: no such column.
    """
    if name not in table.column_names:
        raise unknown_name("column", name, table.column_names, where=f"{where}: {field}")
    return table[name]


def _labels(column: pa.ChunkedArray, name: str, where: str) -> list[Any]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"{where}: column '{name}' holds {kind}; expected class names or integer indices (data.label_column)"
        )
    return column.to_pylist()


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def schema_class_names(schema: pa.Schema, label_column: str) -> Sequence[str] | None:
    """Class names in a Parquet schema: a JSON list under `class_names`, or as Hugging Face's `datasets` writes them."""
    stored = schema.metadata or {}
    try:
        if b"class_names" in stored:
            return list(json.loads(stored[b"class_names"]))
        feature = json.loads(stored[b"huggingface"])["info"]["features"][label_column]
        return feature["names"] if "names" in feature else feature["feature"]["names"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _divide(whole: RawSplit, marks: list[Any], where: str) -> dict[str, RawSplit]:
    rows: dict[str, list[int]] = {}
    for row, mark in enumerate(marks):
        split = SPLIT_NAMES.get(str(mark).strip().lower())
        if split is None:
            raise InputError(
                f"{where}: row {row}: split '{mark}'; expected train, val or test (data.options.split_column)"
            )
        rows.setdefault(split, []).append(row)
    return {split: _rows_of(whole, chosen) for split, chosen in rows.items()}


class _Rows(Sequence[Any]):
    """Some rows of a sequence, without copying it."""

    def __init__(self, whole: Sequence[Any] | np.ndarray, rows: list[int]) -> None:
        self._whole, self._rows = whole, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Any:  # type: ignore[override]
        return self._whole[self._rows[row]]

    def __iter__(self) -> Iterator[Any]:
        return (self._whole[row] for row in self._rows)


def _rows_of(whole: RawSplit, rows: list[int]) -> RawSplit:
    pick = lambda values: None if values is None else [values[row] for row in rows]  # noqa: E731
    groups = pick(whole.groups)
    annotations = None if whole.annotations is None else _Rows(whole.annotations, rows)
    return RawSplit(
        _Rows(whole.pictures, rows),
        pick(whole.labels),
        None if groups is None else np.array(groups),
        pick(whole.names),
        annotations,
    )
