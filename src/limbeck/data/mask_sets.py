"""Pictures with masks in someone's own files: two folders of equal names, or tables with a column of masks.

What does not live here: published layouts (`mask_layouts`), looking at the masks (`masks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from limbeck.data.folder import SPLIT_NAMES, existing_folder
from limbeck.data.raw import RawData, RawSplit
from limbeck.data.slips import too_many
from limbeck.data.table import PictureColumn, find_table_files, read_table_splits, schema_class_names, table_column
from limbeck.errors import InputError
from limbeck.files import read_lines
from limbeck.pictures import list_pictures

__all__ = ["match_masks", "read_masks"]


def read_masks(
    path: str | None = None,
    validation_path: str | None = None,
    test_path: str | None = None,
    image_column: str = "image",
    group_by: str | None = None,
    mask_column: str = "mask",
    class_names: Sequence[str] | None = None,
    ignore: Sequence[int] = (),
    values: Sequence[int] | None = None,
    split_column: str | None = None,
    root: str | None = None,
    image_folder: str = "images",
    mask_folder: str = "masks",
) -> RawData:
    """Read pictures with masks of one channel, whose values are classes.

    Args:
        path: a folder with `images` and `masks` below it, or with those below `train`, `val`, `test`, or with these
            below `images` and `masks`; a mask has the name of its picture but for the ending. Or tables, as the reader
            `table` takes them.
        validation_path: of tables: file or pattern of the validation split.
        test_path: of tables: file or pattern of the test split.
        image_column: of tables: paths, bytes, or Hugging Face's {bytes, path}.
        group_by: of tables: column of values that never cross splits.
        mask_column: of tables, as `image_column`.
        class_names: by class index; None = what a table's schema says, or a file `classes.txt` beside the folders: a
            name a line.
        ignore: values of masks that are void beside 255: neither learned nor judged.
        values: the value that each class has in the masks, by class index; None = counted from 0, those in `ignore` left
            out.
        split_column: of tables: column that says train, val or test.
        root: of tables: folder that paths are relative to.
        image_folder: name of the folder of pictures.
        mask_folder: name of the folder of masks.

    Raises:
        InputError: a missing file, folder or column, more than a few pictures without a mask, or no class names.
    """
    names = list(class_names or ())
    warnings: list[str] = []
    if path and _is_pair(Path(path).expanduser(), image_folder, mask_folder):
        for field, value in (("validation_path", validation_path), ("test_path", test_path), ("group_by", group_by)):
            if value:
                raise InputError(
                    f"data.{field} = {value!r}: is of tables; {path} is a folder of pictures; leave it out"
                )
        folder = existing_folder(path, "data.path")
        splits = _read_folders(folder, image_folder, mask_folder, warnings)
        if not names and (folder / "classes.txt").is_file():
            lines = read_lines(folder / "classes.txt")
            names = [line.strip() for line in lines if line.strip()]
    else:

        def masks_of(table: pa.Table, where: str, folder: Path) -> dict[str, Any]:
            if not names:
                names.extend(schema_class_names(table.schema, mask_column) or ())
            field = "data.options.mask_column"
            column = table_column(table, mask_column, field, where)
            return {"annotations": PictureColumn(column, folder, where, what="mask", field=field)}

        files = _table_files(path, validation_path, test_path, image_folder, mask_folder)
        columns: dict[str, Any] = {"image_column": image_column, "group_by": group_by, "split_column": split_column}
        splits = read_table_splits(files, masks_of, **columns, root=root)
    if not names:
        raise InputError(f"{path}: classes have no names; give data.options.class_names, a list by class index")
    return RawData(
        splits, class_names=names, warnings=warnings, kind="mask", mask_values=_mask_values(names, ignore, values)
    )


def match_masks(
    pictures: Sequence[str], masks: dict[str, str], key_of: Any, *, where: str, warnings: list[str]
) -> RawSplit:
    """A split of the pictures that have a mask; the others are counted, and said.

    Args:
        pictures: paths.
        masks: path by key.
        key_of: path of a picture -> key of its mask.
        where: the folder of the masks, named in errors.
        warnings: one is added where masks are missing.

    Raises:
        InputError: more than a tenth of the pictures (and more than one) have no mask.
    """
    found = [picture for picture in pictures if key_of(picture) in masks]
    missing = [picture for picture in pictures if key_of(picture) not in masks]
    if missing:
        said = f"{len(missing)} of {len(pictures)} pictures have no mask in {where}; first: {missing[0]}"
        if too_many(len(missing), len(pictures)):
            raise InputError(said)
        warnings.append(said)
    return RawSplit(found, annotations=[masks[key_of(picture)] for picture in found])


def _is_pair(folder: Path, image_folder: str, mask_folder: str) -> bool:
    """Whether pictures and masks lie in folders of these names, here or one level below."""
    if not folder.is_dir():
        return False
    below = [folder, *(each for each in folder.iterdir() if each.is_dir() and each.name.lower() in SPLIT_NAMES)]
    return any((each / name).is_dir() for each in below for name in (image_folder, mask_folder))


def _read_folders(folder: Path, image_folder: str, mask_folder: str, warnings: list[str]) -> dict[str, RawSplit]:
    """Splits of `SPLIT/images` and `SPLIT/masks`, of `images/SPLIT` and `masks/SPLIT`, or train alone."""
    outer = {SPLIT_NAMES[each.name.lower()]: each for each in folder.iterdir() if each.name.lower() in SPLIT_NAMES}
    pairs = {split: (each / image_folder, each / mask_folder) for split, each in outer.items() if each.is_dir()}
    if not pairs:
        pictures, masks = folder / image_folder, folder / mask_folder
        inner = [each for each in _existing(pictures).iterdir() if each.is_dir() and each.name.lower() in SPLIT_NAMES]
        pairs = {SPLIT_NAMES[each.name.lower()]: (each, masks / each.name) for each in inner}
        pairs = pairs or {"train": (pictures, masks)}
    if "train" not in pairs:
        raise InputError(f"{folder}: no train folder beside {', '.join(sorted(pairs))}")
    splits = {}
    for split, (pictures, masks) in pairs.items():
        by_key = {_key(path, masks): path for path in list_pictures(_existing(masks))}
        paths = list(list_pictures(_existing(pictures)))
        if not paths:
            raise InputError(f"{pictures}: no pictures")

        def key_of(path: str, root: Path = pictures) -> str:
            return _key(path, root)

        splits[split] = match_masks(paths, by_key, key_of, where=str(masks), warnings=warnings)
    return splits


def _key(path: str, root: Path) -> str:
    """The path below the folder, without its ending."""
    return str(Path(path).relative_to(root).with_suffix(""))


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected pictures and masks of equal names in two folders")
    return folder


def _table_files(
    path: str | None, validation_path: str | None, test_path: str | None, image_folder: str, mask_folder: str
) -> dict[str, list[Path]]:
    try:
        return find_table_files(path, validation_path, test_path)
    except InputError as error:
        if path and Path(path).expanduser().is_dir():
            raise InputError(
                f"{path}: neither the folders {image_folder} and {mask_folder} nor a table named train..., such as "
                "train.parquet, are in this folder"
            ) from error
        raise


def _mask_values(names: Sequence[str], ignore: Sequence[int], values: Sequence[int] | None) -> dict[int, int]:
    """Value of a mask -> class, -1 = void."""
    for field, given in (("ignore", ignore), ("values", values or ())):
        if not all(type(value) is int and value >= 0 for value in given):
            raise InputError(f"data.options.{field} = {list(given)}: expected whole numbers, the values of masks")
    if values is None:
        counted = [value for value in range(len(names) + len(ignore)) if value not in set(ignore)]
        values = counted[: len(names)]
    if len(values) != len(names) or len(set(values)) != len(values):
        raise InputError(f"data.options.values: expected one value for each of {len(names)} classes, got {len(values)}")
    both = sorted(set(values) & set(ignore))
    if both:
        raise InputError(f"data.options.ignore: {both[0]} is the value of class '{names[values.index(both[0])]}'")
    return {**dict.fromkeys(ignore, -1), **{value: index for index, value in enumerate(values)}}
