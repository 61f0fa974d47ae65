"""Pictures with boxes in someone's own files: YOLO's text files, or tables with columns of boxes and labels.

What does not live here: published layouts (`box_layouts`), looking at the boxes (`boxes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import yaml

from limbeck.data.folder import SPLIT_NAMES, existing_folder
from limbeck.data.labels import class_index
from limbeck.data.raw import BoxAnnotation, RawData, RawSplit, size_of_picture
from limbeck.data.slips import too_many
from limbeck.data.table import find_table_files, read_table_splits, schema_class_names, table_column
from limbeck.errors import InputError, unknown_name
from limbeck.files import read_lines
from limbeck.pictures import list_pictures

__all__ = ["annotation_of", "keep_present", "read_boxes", "read_yolo"]

_FORMS = ("xyxy", "xywh")


def annotation_of(boxes: Sequence[Any], labels: Sequence[int], crowd: Sequence[bool] | None = None) -> BoxAnnotation:
    """A record of plain lists: M boxes of x1, y1, x2, y2, M labels, M marks (None = no crowds)."""
    marks = np.zeros(len(labels), bool) if crowd is None else np.array(crowd, bool)
    return BoxAnnotation(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), marks)


def keep_present(paths: Sequence[str], *, where: str, warnings: list[str]) -> np.ndarray:
    """Which files are there, [N] bool; missing ones are counted, and the first is named.

    Args:
        paths: of the files.
        where: the file that names them.
        warnings: one is added where any is missing.

    Raises:
        InputError: there are none, or more than a tenth of them (and more than one) is missing.
    """
    if not len(paths):
        raise InputError(f"{where}: names no pictures")
    there = np.array([Path(path).is_file() for path in paths], bool)
    missing = [path for path, found in zip(paths, there, strict=True) if not found]
    if missing:
        said = f"{len(missing)} of {len(paths)} files that {where} names are not there; first: {missing[0]}"
        if too_many(len(missing), len(paths)):
            raise InputError(said)
        warnings.append(said)
    return there


def read_yolo(path: str | None = None, class_names: Sequence[str] | None = None) -> RawData:
    """YOLO's layout: a text file for each picture, a line for each object: class, then centre x, centre y, width and height
    as shares of the picture; or class and the corners of a polygon, whose bounds are taken.

    Folders are `images/SPLIT` and `labels/SPLIT`, or `SPLIT/images` and `SPLIT/labels`, or as `data.yaml` says. A picture
    without a text file has no objects.

    Args:
        path: the folder of all of it, or its `data.yaml`.
        class_names: by index; None = `names` of `data.yaml`.

    Raises:
        InputError: missing folders, no class names, or a `data.yaml` of another form.
    """
    place = Path(path).expanduser() if path else None
    file = place if place is not None and place.suffix in (".yaml", ".yml") and place.is_file() else None
    root = file.parent if file else existing_folder(path, "data.path")
    file = file or next((root / name for name in ("data.yaml", "data.yml") if (root / name).is_file()), None)
    described = _read_yaml(file) if file else {}
    names = list(class_names or _yaml_names(described.get("names"), file))
    if not names:
        raise InputError(f"{root}: classes have no names; give data.options.class_names, or `names` in data.yaml")
    folders = _yaml_folders(described, root) or _split_folders(root)
    if "train" not in folders:
        raise InputError(f"{root}: no pictures for training; expected the folders images/train or train/images")
    splits = {}
    for split, folder in folders.items():
        pictures = list(list_pictures(folder))
        if not pictures:
            raise InputError(f"{folder}: no pictures")
        splits[split] = RawSplit(pictures, annotations=_TextBoxes(pictures))
    return RawData(splits, class_names=names, kind="boxes")


def read_boxes(
    path: str | None = None,
    validation_path: str | None = None,
    test_path: str | None = None,
    image_column: str = "image",
    group_by: str | None = None,
    boxes_column: str = "boxes",
    labels_column: str = "labels",
    crowd_column: str | None = None,
    box_form: Literal["xyxy", "xywh"] = "xyxy",
    class_names: Sequence[str] | None = None,
    split_column: str | None = None,
    root: str | None = None,
) -> RawData:
    """Read tables of pictures with a list of boxes and a list of labels each.

    Args:
        path: as the reader `table` takes it.
        validation_path: file or pattern of the validation split.
        test_path: file or pattern of the test split.
        image_column: paths, bytes, or Hugging Face's {bytes, path}.
        group_by: column of values that never cross splits.
        boxes_column: lists of four numbers, in pixels; a field of a struct as `objects.bbox`.
        labels_column: lists of class indices or names; a field of a struct as `objects.category`.
        crowd_column: lists of marks of objects that are neither learned nor judged.
        box_form: `xyxy` = x1, y1, x2, y2; `xywh` = x1, y1, width, height.
        class_names: by index; None = what the file's own schema says.
        split_column: column that says train, val or test.
        root: folder that paths are relative to.

    Raises:
        InputError: a missing file or column, lists of unequal lengths, or no class names.
    """
    if box_form not in _FORMS:
        raise unknown_name("box_form", box_form, _FORMS, where="data.options.box_form")
    names = list(class_names or ())

    def boxes_of(table: pa.Table, where: str, folder: Path) -> dict[str, Any]:
        if not names:
            names.extend(schema_class_names(table.schema, labels_column) or ())
        columns = [_lists(table, boxes_column, "data.options.boxes_column", where)]
        columns.append(_lists(table, labels_column, "data.options.labels_column", where))
        if crowd_column:
            columns.append(_lists(table, crowd_column, "data.options.crowd_column", where))
        index_of = {name: index for index, name in enumerate(names)}
        found = []
        for row, (boxes, labels, *crowd) in enumerate(zip(*columns, strict=True)):
            if any(len(one) != len(boxes) for one in (labels, *crowd)):
                raise InputError(f"{where}: row {row}: {len(boxes)} boxes but {len(labels)} labels")
            corners = [_corners(box, box_form, f"{where}: row {row}") for box in boxes]
            indices = [index_of.get(label, -1) if isinstance(label, str) else class_index(label) for label in labels]
            found.append(annotation_of(corners, indices, *crowd))
        return {"annotations": found}

    splits = read_table_splits(
        find_table_files(path, validation_path, test_path), boxes_of,
        image_column=image_column, group_by=group_by, split_column=split_column, root=root,
    )  # fmt: skip
    if not names:
        raise InputError(f"{path}: classes have no names; give data.options.class_names, a list by class index")
    return RawData(splits, class_names=names, kind="boxes")


class _TextBoxes(Sequence[Any]):
    """The objects of each picture, read from its text file when they are asked for: pixels need the picture's size."""

    def __init__(self, pictures: Sequence[str]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, row: int) -> BoxAnnotation:  # type: ignore[override]
        picture = self._pictures[row]
        file = _text_of(picture)
        if not file.is_file():
            return annotation_of([], [])
        lines = read_lines(file)
        height, width = size_of_picture(picture)
        boxes, labels = [], []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words:
                continue
            try:
                label, numbers = int(words[0]), [float(word) for word in words[1:]]
            except ValueError:
                raise InputError(
                    f"{file}: line {number}: expected a class index and numbers, got '{line[:60]}'"
                ) from None
            if len(numbers) == 4:
                x, y, wide, tall = numbers
                x1, y1, x2, y2 = x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2
            elif len(numbers) >= 6 and len(numbers) % 2 == 0:
                x1, y1, x2, y2 = min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
            else:
                raise InputError(
                    f"{file}: line {number}: {len(numbers)} numbers after the class; expected 4, or a polygon"
                )
            boxes.append([x1 * width, y1 * height, x2 * width, y2 * height])
            labels.append(label)
        return annotation_of(boxes, labels)


def _text_of(picture: str) -> Path:
    """The text file of a picture: `labels` in the place of the last folder called `images`, another ending."""
    parts = list(Path(picture).parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: expected fields such as train, val and names")
    return found


def _yaml_names(names: Any, file: Path | None) -> list[str]:
    """A list of names, or a table of index and name."""
    if isinstance(names, Mapping):
        if sorted(names) != list(range(len(names))):
            raise InputError(f"{file}: names must count from 0 without gaps, got {sorted(names)[:5]} ...")
        return [str(names[index]) for index in range(len(names))]
    if names is not None and not isinstance(names, list):
        raise InputError(f"{file}: names must be a list, or a table of index and name")
    return [str(name) for name in names or ()]


def _yaml_folders(described: Mapping[str, Any], root: Path) -> dict[str, Path]:
    """By split, the folder of pictures that `data.yaml` names, from its own folder or its field `path` on."""
    folders = {}
    for key, split in SPLIT_NAMES.items():
        value = described.get(key)
        if value is None:
            continue
        if not isinstance(value, str) or value.endswith(".txt"):
            raise InputError(f"{root}/data.yaml: {key} = {value!r}: expected one folder of pictures")
        below = [Path(str(described.get("path") or "")), Path()]
        # exported files often say ../train/images although the folder lies beside them
        places = [root / base / given for base in below for given in (value, value.removeprefix("../"))]
        found = next((place for place in places if place.is_dir()), None)
        if found is None and split != "test":
            raise InputError(f"{root}/data.yaml: {key} = {value}: no such folder from {root} on")
        if found is not None:
            folders[split] = found
    return folders


def _split_folders(root: Path) -> dict[str, Path]:
    """`images/SPLIT`, or `SPLIT/images`."""
    inner = root / "images"
    if inner.is_dir():
        found = {SPLIT_NAMES[each.name.lower()]: each for each in inner.iterdir() if each.name.lower() in SPLIT_NAMES}
        return found or {"train": inner}
    outer = [each for each in root.iterdir() if each.name.lower() in SPLIT_NAMES and (each / "images").is_dir()]
    return {SPLIT_NAMES[each.name.lower()]: each / "images" for each in outer}


def _lists(table: pa.Table, name: str, field: str, where: str) -> list[list[Any]]:
    """A column of lists, or the field of a struct as `column.field`, as plain lists; an empty cell has no objects."""
    outer, _, inner = name.partition(".")
    column = table_column(table, outer, field, where)
    if inner:
        kind = column.type
        if not pa.types.is_struct(kind) or inner not in [one.name for one in kind]:
            raise InputError(f"{where}: column '{outer}' has no field '{inner}' ({field})")
        column = pa.chunked_array([chunk.field(inner) for chunk in column.chunks])
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise InputError(f"{where}: column '{name}' holds {column.type}; expected a list for each picture ({field})")
    return [found or [] for found in column.to_pylist()]


def _corners(box: Any, form: str, where: str) -> list[float]:
    if not isinstance(box, list) or len(box) != 4:
        raise InputError(f"{where}: a box is {box!r}; expected four numbers")
    try:
        x, y, third, fourth = (float("nan") if value is None else float(value) for value in box)
    except (TypeError, ValueError):
        raise InputError(f"{where}: a box is {box!r}; expected four numbers") from None
    return [x, y, third, fourth] if form == "xyxy" else [x, y, x + third, y + fourth]
