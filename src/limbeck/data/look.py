"""A first look at someone's data, for `limbeck new`: what kind it is, how many classes and pictures, how large.

What does not live here: reading it for a run (`open`).
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from limbeck.data.inspect import choose_image_size
from limbeck.data.labels import drop_unlabelled_splits, resolve_labels
from limbeck.data.raw import RawSplit, size_of_picture
from limbeck.data.readers import DATA, read_raw
from limbeck.data.table import find_table_files, table_columns
from limbeck.errors import InputError
from limbeck.parts import is_outside
from limbeck.pictures import list_pictures

__all__ = ["Look", "find_kind", "look_at"]

_IMAGE_COLUMNS = ("image", "img", "picture", "file", "filename", "file_name", "path", "image_path", "filepath", "photo")
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "fine_label", "class_name", "y")


@dataclass(frozen=True)
class Look:
    """What a first look found.

    Attributes:
        name: the reader, as in `data.name`.
        path: for `data.path`; None for a set that is known by its name alone.
        task: `classification`.
        class_names: by index.
        counts: labelled pictures by split, as the set divides them.
        image_size: (height, width) that suits it.
        picture_size: (height, width) of the median picture.
        fields: further fields of `[data]` that must be written, such as `image_column`.
    """

    name: str
    path: str | None
    task: str
    class_names: tuple[str, ...]
    counts: dict[str, int]
    image_size: tuple[int, int]
    picture_size: tuple[int, int]
    fields: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def look_at(path: str | Path) -> Look:
    """Find out what lies at `path`: a standard set, class folders, or a table of pictures. Reads a sample's headers
    only. A reader that needs no path (`digits`, `package.module:name`) is looked at by its name.

    Raises:
        InputError: nothing there, or nothing that a reader knows.
    """
    place = Path(path).expanduser()
    by_name = (str(path) in DATA or is_outside(str(path))) and not place.exists()
    name, fields = (str(path), {}) if by_name else find_kind(place)
    raw = read_raw(name, fields if by_name else {"path": str(path), **fields})
    drop_unlabelled_splits(raw)
    class_names, labels, _ = resolve_labels(raw, where=str(path))
    train = raw.splits["train"]
    rows = np.arange(len(train.pictures))
    size = raw.image_size or choose_image_size(train, rows, seed=0)
    sizes = _sample_sizes(train, rows)
    if size is None or not len(sizes):
        raise InputError(f"{path}: none of the sampled pictures can be read; first: {train.name(0, 'train')}")
    counts = {split: int((found >= 0).sum()) for split, found in labels.items()}
    median = tuple(int(side) for side in np.median(sizes, axis=0))
    where = None if by_name else str(path)
    return Look(name, where, "classification", class_names, counts, size, (median[0], median[1]), fields)


def find_kind(place: Path) -> tuple[str, dict[str, Any]]:
    """The reader (as in `data.name`) for what lies at `place`, and the fields that it must be given beside the path.

    Raises:
        InputError: nothing that a reader knows.
    """
    if not place.exists():
        near = difflib.get_close_matches(str(place), DATA, n=1)
        hint = f"; did you mean the data set '{near[0]}'?" if near else ""
        raise InputError(f"{place}: no such file or folder{hint}")
    if place.is_file():
        if place.suffix.lower() not in (".csv", ".tsv", ".parquet"):
            raise InputError(f"{place}: expected a folder of pictures, or a .csv, .tsv or .parquet table")
        return "table", _table_fields(place)
    for name, sign in (("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")):
        if place.name == sign or (place / sign).is_dir():
            return name, {}
    if (place / "wnids.txt").exists() or (place / "tiny-imagenet-200").is_dir():
        return "tiny_imagenet", {}
    if (place / "ILSVRC").is_dir() or any(place.glob("ILSVRC2012_img_*.tar")):
        return "imagenet", {}
    if any(child.is_dir() for child in place.iterdir()) and next(list_pictures(place), None) is not None:
        return "folder", {}
    try:
        files = find_table_files(str(place))
    except InputError:
        return "folder", {}  # whose own error says what a folder of pictures looks like
    return "table", _table_fields(files["train"][0])


def _table_fields(file: Path) -> dict[str, Any]:
    """The picture and label columns, by their usual names, then by their types; only what differs from the defaults."""
    columns = table_columns(file)
    by_lower = {name.lower(): name for name in columns}
    image = next((by_lower[name] for name in _IMAGE_COLUMNS if name in by_lower), None)
    image = image or next(
        (name for name, kind in columns.items() if pa.types.is_struct(kind) or pa.types.is_binary(kind)), None
    )
    label = next((by_lower[name] for name in LABEL_COLUMNS if name in by_lower and by_lower[name] != image), None)
    for what, found in (("pictures", image), ("labels", label)):
        if found is None:
            raise InputError(
                f"{file}: no column that looks like {what} (columns: {', '.join(columns)}); "
                "name it in a recipe's [data] section"
            )
    chosen = {"image_column": image, "label_column": label}
    return {key: value for key, value in chosen.items() if value != key.removesuffix("_column")}


def _sample_sizes(raw: RawSplit, rows: np.ndarray, sample: int = 64) -> list[tuple[int, int]]:
    sizes = []
    for row in rows[:: max(1, len(rows) // sample)]:
        try:
            sizes.append(size_of_picture(raw.pictures[int(row)]))
        except InputError:
            continue
    return sizes
