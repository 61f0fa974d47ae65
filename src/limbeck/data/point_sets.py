"""Pictures with points in someone's own files: folders of pictures with a `.pts` file beside each, or tables.

What does not live here: published layouts (`point_layouts`), looking at the points (`points`), crops (`point_crops`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from limbeck.data.folder import SPLIT_NAMES, existing_folder
from limbeck.data.point_crops import CropPolicy, cropped
from limbeck.data.raw import PointAnnotation, RawData, RawSplit
from limbeck.data.table import find_table_files, read_table_splits, table_column
from limbeck.errors import InputError
from limbeck.pictures import list_pictures
from limbeck.point_schemes import choose_scheme

__all__ = [
    "from_first_pixel",
    "groups_of",
    "points_data",
    "pts_beside",
    "read_point_table",
    "read_pts",
    "read_pts_file",
]

Normalizers = Mapping[str, Sequence[int | Sequence[int]]]


def read_pts(
    path: str | None = None,
    crop: str = "gt_box",
    pad: float = 0.1,
    pad_pixels: float = 0.0,
    square: bool = True,
    boxes: str | None = None,
    scheme: str | None = None,
    mirrored: Sequence[Sequence[int]] | None = None,
    normalizers: Normalizers | None = None,
    group_pattern: str | None = None,
    first_pixel: float = 1.0,
) -> RawData:
    """Read a folder of pictures with a `.pts` file of the same stem beside each, or folders named train, val, test of such.

    Coordinates are those of the upright picture, as it is after the orientation that its EXIF data tells. A picture's
    subset is the folder that it lies in.

    Args:
        path: the folder.
        crop: what is cut out, as `CropPolicy.policy` has it.
        pad: as `CropPolicy` has it, as are `pad_pixels`, `square` and `boxes`.
        pad_pixels: see `pad`.
        square: see `pad`.
        boxes: see `pad`.
        scheme: the points' order by name; None = the known one of so many points.
        mirrored: pairs of points that change places in a mirror; None = the scheme's.
        normalizers: what errors may be divided by, name -> two points or two lists of points.
        group_pattern: regular expression whose first group, in a picture's path below `path`, names the person or video
            that never crosses splits.
        first_pixel: coordinate of the first pixel's centre; 1 as Matlab counts.

    Raises:
        InputError: no such folder, no pictures with `.pts` files, or options out of range.
    """
    policy = CropPolicy(crop, pad, pad_pixels, square, boxes)
    root = existing_folder(path, "data.path")
    inner = {SPLIT_NAMES[one.name.lower()]: one for one in root.iterdir() if one.name.lower() in SPLIT_NAMES}
    folders = inner if "train" in inner else {"train": root}
    warnings: list[str] = []
    splits = {}
    for name, folder in folders.items():
        pictures = list(list_pictures(folder))
        paired = [picture for picture in pictures if pts_beside(picture).is_file()]
        if not paired:
            raise InputError(f"{folder}: no picture has a .pts file of the same name beside it")
        if len(paired) < len(pictures):
            warnings.append(f"{folder}: {len(pictures) - len(paired)} pictures have no .pts file and are left out")
        splits[name] = pts_split(paired, first_pixel=first_pixel)
    _group(splits, group_pattern, root)
    return points_data(splits, policy, scheme, mirrored, normalizers, warnings)


def read_point_table(
    path: str | None = None,
    validation_path: str | None = None,
    test_path: str | None = None,
    image_column: str = "image",
    group_by: str | None = None,
    points_column: str | None = "landmarks",
    point_columns: Sequence[str] | None = None,
    visible_column: str | None = None,
    box_column: str | None = None,
    subset_column: str | None = None,
    split_column: str | None = None,
    root: str | None = None,
    crop: str = "none",
    pad: float = 0.1,
    pad_pixels: float = 0.0,
    square: bool = True,
    boxes: str | None = None,
    scheme: str | None = None,
    mirrored: Sequence[Sequence[int]] | None = None,
    normalizers: Normalizers | None = None,
    group_pattern: str | None = None,
    first_pixel: float = 0.0,
) -> RawData:
    """Read tables of pictures with the places of their points; empty cells and NaN are unknown points.

    Args:
        path: as the reader `table` takes it.
        validation_path: file or pattern of the validation split.
        test_path: file or pattern of the test split.
        image_column: paths, bytes, or Hugging Face's {bytes, path}.
        group_by: column of values that never cross splits.
        points_column: lists of x and y in turn, or of pairs, or either as text with spaces or commas between.
        point_columns: 2L columns of x and y in turn instead.
        visible_column: L marks in the same forms, false or 0 = hidden.
        box_column: x1, y1, x2, y2 that the set gives, in the same forms.
        subset_column: name of the part of the set.
        split_column: column that says train, val or test.
        root: folder that paths are relative to.
        crop: as `read_pts` has it, as are `pad`, `pad_pixels`, `square`, `boxes`, `scheme`, `mirrored`, `normalizers`
            and `group_pattern`.
        pad: see `crop`.
        pad_pixels: see `crop`.
        square: see `crop`.
        boxes: see `crop`.
        scheme: see `crop`.
        mirrored: see `crop`.
        normalizers: see `crop`.
        group_pattern: see `crop`.
        first_pixel: coordinate of the first pixel's centre; 0 as most libraries count.

    Raises:
        InputError: a missing file or column, cells of another form, or options out of range.
    """
    policy = CropPolicy(crop, pad, pad_pixels, square, boxes)
    if group_by and group_pattern:
        raise InputError(f"data.options.group_pattern: data.group_by = '{group_by}' names the groups; leave one out")

    def points_of(table: pa.Table, where: str, folder: Path) -> dict[str, Any]:
        if point_columns:
            columns = [table_column(table, name, "data.options.point_columns", where) for name in point_columns]
            cells: list[Any] = [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]
        elif points_column:
            cells = table_column(table, points_column, "data.options.points_column", where).to_pylist()
        else:
            raise InputError(f"{where}: no points; give data.options.points_column or point_columns")
        further = {
            name: table_column(table, column, f"data.options.{name}_column", where).to_pylist()
            for name, column in (("visible", visible_column), ("box", box_column), ("subset", subset_column))
            if column
        }
        found: list[PointAnnotation | InputError] = []
        for row, cell in enumerate(cells):
            known = {name: values[row] for name, values in further.items()}
            try:
                found.append(_annotation(cell, known, first_pixel))
            except InputError as error:
                found.append(error)
        return {"annotations": found}

    files = find_table_files(path, validation_path, test_path)
    splits = read_table_splits(
        files, points_of, image_column=image_column, group_by=group_by, split_column=split_column, root=root
    )
    _group(splits, group_pattern, Path(root).expanduser() if root else files["train"][0].parent)
    return points_data(splits, policy, scheme, mirrored, normalizers, [])


def points_data(
    splits: Mapping[str, RawSplit],
    policy: CropPolicy,
    scheme: str | None,
    mirrored: Sequence[Sequence[int]] | None,
    normalizers: Normalizers | None,
    warnings: list[str],
) -> RawData:
    """What all readers of points return: crops, and the order of the points; they are named by their number.

    The number of points is that of most training pictures; those of another are left out when they are looked at.

    Raises:
        InputError: no picture has points, or options out of range.
    """
    annotations = splits["train"].annotations
    lengths = Counter(len(one.points) for one in annotations or () if isinstance(one, PointAnnotation))
    if not lengths:
        reason = next((str(one) for one in annotations or () if isinstance(one, InputError)), "there are none")
        raise InputError(f"no training picture has points; first: {reason}")
    length = lengths.most_common(1)[0][0]
    try:
        known = choose_scheme(length, name=scheme, mirrored=mirrored, normalizers=normalizers)
    except InputError as error:
        raise InputError(f"data.options: {error}") from None
    if not scheme and known.mirrored is not None and mirrored is None:
        warnings.append(f"points are taken to be in the order of {known.name} (data.options.scheme)")
    warnings.append(policy.sentence())
    made = cropped(splits, policy)
    names = tuple(str(number) for number in range(length))
    kept = None if policy.policy == "none" else policy
    return RawData(made, class_names=names, warnings=warnings, kind="points", scheme=known, crop=kept)


def _group(splits: Mapping[str, RawSplit], pattern: str | None, root: Path) -> None:
    """Give pictures the groups that a pattern finds in their paths below `root`; what lies above is no part of the set."""
    if pattern is None:
        return
    for fallback, split in splits.items():
        names = [Path(split.name(row, fallback)) for row in range(len(split.pictures))]
        below = [name.relative_to(root) if name.is_relative_to(root) else name for name in names]
        split.groups = groups_of([name.as_posix() for name in below], pattern)


def groups_of(names: Sequence[str], pattern: str) -> np.ndarray:
    """[N] the person or video that each picture's name tells; names that do not fit are groups of their own.

    Raises:
        InputError: no regular expression, one without a group, or one that fits no name.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"data.options.group_pattern = '{pattern}': not a regular expression ({error})") from error
    if not compiled.groups:
        raise InputError(f"data.options.group_pattern = '{pattern}': expected one group in brackets, such as (.+)_\\d+")
    found = [compiled.search(name) for name in names]
    if not any(found):
        raise InputError(f"data.options.group_pattern = '{pattern}': fits no picture's name; first: {names[0]}")
    return np.array([match[1] if match and match[1] else name for name, match in zip(names, found, strict=True)])


def pts_split(
    pictures: Sequence[str], *, first_pixel: float, subsets: Sequence[tuple[str, ...]] | None = None
) -> RawSplit:
    """A split of pictures with `.pts` files beside them; what cannot be read is an `InputError` in its place.

    Args:
        pictures: paths.
        first_pixel: coordinate of the first pixel's centre.
        subsets: of each picture; None = the folder that it lies in.
    """
    found: list[Any] = []
    for row, picture in enumerate(pictures):
        named = (Path(picture).parent.name,) if subsets is None else subsets[row]
        try:
            points = from_first_pixel(read_pts_file(pts_beside(picture)), first_pixel)
            found.append(PointAnnotation(points, subsets=named))
        except InputError as error:
            found.append(error)
    return RawSplit(list(pictures), annotations=found)


def read_pts_file(file: Path) -> np.ndarray:
    """[L, 2] float32 as a `.pts` file has them: a head, `n_points: L`, and L lines of x and y in curly brackets.

    Raises:
        InputError: it cannot be read, is of another form, or holds another number of points than it says.
    """
    try:
        text = file.read_text(encoding="utf-8", errors="strict")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable ({error})") from error
    said = re.search(r"n_points:\s*(\d+)", text)
    body = re.search(r"\{([^}]*)\}", text)
    if said is None or body is None:
        raise InputError(f"{file}: not a .pts file; expected n_points: and lines of x and y in curly brackets")
    try:
        values = [float(word) for word in body[1].split()]
    except ValueError as error:
        raise InputError(f"{file}: {error}; expected lines of x and y") from error
    if len(values) != 2 * int(said[1]):
        raise InputError(
            f"{file}: says n_points: {said[1]} and holds {len(values)} numbers; expected two for each point"
        )
    return np.array(values, np.float32).reshape(-1, 2)


def from_first_pixel(points: np.ndarray, first_pixel: float) -> np.ndarray:
    """Coordinates in which the first pixel's centre has a given value, as continuous ones (it lies at 0.5)."""
    return points + np.float32(0.5 - first_pixel)


def pts_beside(picture: str) -> Path:
    """The `.pts` file of a picture, whose ending may be written large as the picture's may."""
    small, large = (Path(picture).with_suffix(ending) for ending in (".pts", ".PTS"))
    return large if large.is_file() and not small.is_file() else small


_FORMS = {
    "points are": "x and y in turn, or pairs",
    "box is": "x1, y1, x2, y2",
    "marks are": "one for each point, 0 = hidden",
}


def _annotation(cell: Any, known: Mapping[str, Any], first_pixel: float) -> PointAnnotation:
    points = _numbers(cell, "points are")
    if points is None:
        raise InputError("no points are known")
    if points.ndim == 1 and points.size % 2 == 0:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"its points are of shape {list(points.shape)}; expected {_FORMS['points are']}")
    box = _numbers(known.get("box"), "box is")
    if box is not None and box.shape != (4,):
        raise _wrong(known["box"], "box is")
    marks = _numbers(known.get("visible"), "marks are")
    if marks is not None and np.isnan(marks).any():
        raise _wrong(known["visible"], "marks are")
    return PointAnnotation(
        from_first_pixel(points.astype(np.float32), first_pixel),
        None if marks is None else marks.astype(bool),
        None if box is None else tuple((box + (0.5 - first_pixel)).tolist()),
        () if not known.get("subset") else (str(known["subset"]),),
    )


def _numbers(cell: Any, what: str) -> np.ndarray | None:
    """Float64 numbers of a cell, lists or text; NaN where one, or a pair of them, is missing. None = an empty cell."""
    if cell is None or cell == "":
        return None
    found = _listed(cell) if isinstance(cell, str) else cell
    try:
        if not isinstance(found, list):
            raise TypeError
        if any(isinstance(one, list) for one in found):
            pairs = [[None, None] if pair is None else pair for pair in found]
            return np.array([[_number(one) for one in pair] for pair in pairs], np.float64)
        return np.array([_number(one) for one in found], np.float64)
    except (TypeError, ValueError):
        raise _wrong(cell, what) from None


def _wrong(cell: Any, what: str) -> InputError:
    return InputError(f"its {what} {repr(cell)[:60]}; expected {_FORMS[what]}")


def _number(cell: Any) -> float:
    return np.nan if cell is None or cell == "" else float(cell)


def _listed(text: str) -> Any:
    """JSON where it is, else numbers between spaces, commas and brackets."""
    try:
        return json.loads(text)
    except ValueError:
        return [word for word in re.split(r"[\s,;()\[\]]+", text) if word]
