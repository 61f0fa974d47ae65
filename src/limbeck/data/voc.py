"""Where things lie in Pascal VOC's layout, whatever its pictures are annotated with. Readers: `mask_layouts`,
`box_layouts`.
"""

from __future__ import annotations

from pathlib import Path

from limbeck.data.folder import existing_folder
from limbeck.errors import InputError
from limbeck.files import read_lines

__all__ = ["VOC_CLASSES", "find_voc", "read_voc_list"]

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The 20 classes of the published sets, in alphabetical order."""


def find_voc(path: str | None, annotations: str) -> Path:
    """The folder with `JPEGImages`, `ImageSets` and the folder of annotations: `path`, or the one such folder up to two
    levels below it (`VOCdevkit/VOC2012`).

    Raises:
        InputError: none, or several.
    """
    root = existing_folder(path, "data.path")
    needed = ("JPEGImages", "ImageSets", annotations)
    places = [root, *sorted(root.glob("*/")), *sorted(root.glob("*/*/"))]
    found = [place for place in places if all((place / name).is_dir() for name in needed)]
    if not found:
        raise InputError(f"{root}: no folder with {', '.join(needed)} here or below; expected Pascal VOC's layout")
    if len(found) > 1 and found[0] != root:
        listed = ", ".join(place.name for place in found)
        raise InputError(f"{root}: several sets lie here ({listed}); give data.path = one of them")
    return found[0]


def read_voc_list(root: Path, kind: str, name: str) -> list[str]:
    """Names of the pictures of one list, without endings.

    Args:
        root: of `find_voc`.
        kind: folder of lists below `ImageSets`, such as `Segmentation`.
        name: of the list, such as `train`.

    Raises:
        InputError: no such list, or an empty one.
    """
    folder = root / "ImageSets" / kind
    file = folder / f"{name}.txt"
    if not file.is_file():
        there = ", ".join(sorted(each.stem for each in folder.glob("*.txt"))) or "none"
        raise InputError(f"{file}: no such list of pictures; there are: {there}")
    stems = [line.split()[0] for line in read_lines(file) if line.strip()]
    if not stems:
        raise InputError(f"{file}: names no pictures")
    return stems
