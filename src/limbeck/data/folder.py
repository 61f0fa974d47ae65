"""Pictures in folders: one sub-folder per class, with or without train / val / test folders above them.

What does not live here: the standard sets whose folders follow rules of their own (`standard`).
"""

from __future__ import annotations

from pathlib import Path

from limbeck.data.raw import RawData, RawSplit
from limbeck.errors import InputError
from limbeck.pictures import PICTURE_SUFFIXES, list_pictures

__all__ = ["SPLIT_NAMES", "existing_folder", "read_class_folders", "read_folder", "read_unlabelled"]

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Names of folders and files that are splits."""


def read_folder(path: str | None = None) -> RawData:
    """Read `path/CLASS/*.jpg`, or `path/{train,val,test}/CLASS/*.jpg`; classes are the sorted folder names, and may
    hold folders again.

    Raises:
        InputError: no such folder, no class folders, or no pictures.
    """
    root = existing_folder(path, "data.path")
    folders = _sub_folders(root)
    by_split = {SPLIT_NAMES[folder.name.lower()]: folder for folder in folders if folder.name.lower() in SPLIT_NAMES}
    if by_split and "train" not in by_split and len(by_split) == len(folders):
        raise InputError(f"{root}: no train folder beside {', '.join(folder.name for folder in folders)}")
    if "train" not in by_split:
        by_split = {"train": root}
    warnings: list[str] = []
    splits = {split: read_class_folders(folder, warnings) for split, folder in by_split.items()}
    trained = set(splits["train"].labels)  # type: ignore[arg-type]
    for split, found in splits.items():
        extra = sorted(set(found.labels) - trained)  # type: ignore[arg-type]
        if extra:
            raise InputError(
                f"{by_split[split]}: class '{extra[0]}' has no pictures in {by_split['train']}; train every class or remove it"
            )
    return RawData(splits, class_names=sorted(trained), warnings=warnings)


def read_class_folders(root: Path, warnings: list[str], *, below: str = "") -> RawSplit:
    """Read one split: every sub-folder of `root` is a class, its pictures lie in it or in its sub-folder `below`."""
    folders = _sub_folders(root)
    if not folders:
        loose = next(list_pictures(root), None) is not None
        found = "pictures but no class folders" if loose else "no class folders"
        raise InputError(
            f"{root}: {found}; expected one sub-folder per class, such as {root.name}/cat and {root.name}/dog"
        )
    paths: list[str] = []
    labels: list[str] = []
    for folder in folders:
        before = len(paths)
        paths += list_pictures(folder / below if below else folder)
        labels += [folder.name] * (len(paths) - before)
        if len(paths) == before:
            warnings.append(f"{folder}: class folder without pictures, left out")
    if not paths:
        raise InputError(
            f"{root}: no pictures in {len(folders)} class folders; known endings: {', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    return RawSplit(paths, labels)


def read_unlabelled(path: str) -> RawSplit:
    """Every picture below a folder, without labels.

    Raises:
        InputError: no such folder, or no pictures.
    """
    root = existing_folder(path, "data.unlabelled")
    paths = list(list_pictures(root))
    if not paths:
        raise InputError(
            f"{root}: no pictures for data.unlabelled; known endings: {', '.join(sorted(PICTURE_SUFFIXES))}"
        )
    return RawSplit(paths)


def existing_folder(path: str | Path | None, field: str) -> Path:
    """The folder as a `Path`.

    Raises:
        InputError: not given, or no such folder.
    """
    if not path:
        raise InputError(f"{field}: missing; give the folder of the pictures")
    root = Path(path).expanduser()
    if not root.exists():
        raise InputError(f"{root}: no such folder ({field})")
    if not root.is_dir():
        raise InputError(f"{root}: a file, expected a folder ({field})")
    return root


def _sub_folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))
