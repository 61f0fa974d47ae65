"""Published sets with boxes in the layouts they are handed out in: COCO, Pascal VOC.

What does not live here: someone's own folders and tables (`box_sets`), looking at the boxes (`boxes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from limbeck.data.box_sets import annotation_of, keep_present
from limbeck.data.folder import SPLIT_NAMES, existing_folder
from limbeck.data.raw import BoxAnnotation, RawData, RawSplit
from limbeck.data.voc import VOC_CLASSES, find_voc, read_voc_list
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pictures import list_pictures

__all__ = ["read_coco", "read_voc_detection"]


def read_coco(path: str | None = None, year: str | int | None = None) -> RawData:
    """COCO's layout: `annotations/instances_NAME.json` with pictures in `NAME` or `images/NAME` (NAME such as train2017),
    or a folder for each split with `_annotations.coco.json` among its pictures.

    Categories become classes 0 .. K-1 in the order of their ids. Crowds are neither learned nor judged. Annotations of the
    official test pictures are withheld, so val is the test set.

    Args:
        path: the folder that holds all of it.
        year: where several sets lie there, what the names of the wanted one end in, such as 2017.

    Raises:
        InputError: missing files, JSON of another form, categories that differ between splits, or more than a few pictures
            that are not there.

    **Source:** Lin et al. 2014, arXiv 1405.0312; the format's page on cocodataset.org.
    """
    root = existing_folder(path, "data.path")
    warnings: list[str] = []
    splits: dict[str, RawSplit] = {}
    categories: dict[int, str] = {}
    for split, (file, folders) in sorted(_coco_files(root, year).items(), key=lambda item: item[0] != "train"):
        record = _read_coco_file(file)
        with _entries_of(file):
            named = {int(one["id"]): str(one["name"]) for one in record["categories"]}
        categories = categories or dict(sorted(named.items()))
        if named != categories:
            other = next(iter(set(named.items()) ^ set(categories.items())))
            raise InputError(
                f"{file}: its categories differ from the training set's; first: id {other[0]}, '{other[1]}'"
            )
        splits[split] = _coco_split(record, folders, list(categories), file, warnings)
    if not categories:
        raise InputError(f"{root}: no categories in its training file")
    return RawData(splits, class_names=list(categories.values()), warnings=warnings, kind="boxes")


def read_voc_detection(
    path: str | None = None,
    train_list: str = "train",
    test_list: str = "val",
    class_names: Sequence[str] | None = None,
) -> RawData:
    """Pascal VOC's layout (`VOCdevkit/VOC2012` or a folder in which it lies): `JPEGImages`, `Annotations`, `ImageSets/Main`.

    Its pixels count from 1 and name the last one inside; difficult objects are neither learned nor judged.

    Args:
        path: the folder of these three, or one above it.
        train_list: which list of `ImageSets/Main` is trained on, such as `trainval`.
        test_list: which one is the test set.
        class_names: by index; None = VOC's own 20 where all objects have such names, else those found in training, sorted.

    Raises:
        InputError: missing folders or lists, a file that is no annotation, or more than a few pictures or annotations that a
            list names and that are not there.

    **Source:** Everingham et al. 2015, "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV.
    """
    root = find_voc(path, "Annotations")
    warnings: list[str] = []
    by_stem = {Path(picture).stem: picture for picture in list_pictures(root / "JPEGImages")}
    found: dict[str, tuple[list[str], list[list[tuple[str, bool, list[float]]]]]] = {}
    for split, name in (("train", train_list), ("test", test_list)):
        stems = read_voc_list(root, "Main", name)
        pictures = [by_stem.get(stem, str(root / "JPEGImages" / f"{stem}.jpg")) for stem in stems]
        files = [root / "Annotations" / f"{stem}.xml" for stem in stems]
        there = keep_present(pictures, where=f"{root}/ImageSets/Main/{name}.txt", warnings=warnings)
        there &= keep_present(
            [str(file) for file in files], where=f"{root}/ImageSets/Main/{name}.txt", warnings=warnings
        )
        chosen = np.flatnonzero(there).tolist()
        found[split] = [pictures[i] for i in chosen], [_voc_objects(files[i]) for i in chosen]
    trained = sorted({name for objects in found["train"][1] for name, _, _ in objects})
    names = list(class_names or (VOC_CLASSES if set(trained) <= set(VOC_CLASSES) else trained))
    index_of = {name: index for index, name in enumerate(names)}
    splits = {}
    for split, (pictures, annotated) in found.items():
        annotations = [
            annotation_of(
                [box for *_, box in objects], [index_of.get(n, -1) for n, *_ in objects], [d for _, d, _ in objects]
            )
            for objects in annotated
        ]
        unknown = sorted({name for objects in annotated for name, _, _ in objects} - set(names))
        if unknown:
            warnings.append(f"{split}: pictures with objects of no class are left out: {', '.join(unknown)}")
        splits[split] = RawSplit(pictures, annotations=annotations)
    return RawData(splits, class_names=names, warnings=warnings, kind="boxes")


def _coco_files(root: Path, year: str | int | None) -> dict[str, tuple[Path, list[Path]]]:
    """By split, the file of annotations and the folders in which its pictures may lie."""
    found: dict[str, list[tuple[Path, list[Path]]]] = {}
    for file in sorted((root / "annotations").glob("instances_*.json")):
        name = file.stem.removeprefix("instances_")
        word = re.match("[a-z]+", name.lower())
        if word and word[0] in SPLIT_NAMES and (year is None or name.endswith(str(year))):
            found.setdefault(SPLIT_NAMES[word[0]], []).append((file, [root / name, root / "images" / name, root]))
    for folder in sorted(root.iterdir()):
        file = folder / "_annotations.coco.json"
        if folder.name.lower() in SPLIT_NAMES and file.is_file():
            found.setdefault(SPLIT_NAMES[folder.name.lower()], []).append((file, [folder]))
    for split, files in found.items():
        if len(files) > 1:
            listed = ", ".join(file.name for file, _ in files)
            raise InputError(
                f"{root}: several files for {split} ({listed}); name one set by data.options.year, such as 2017"
            )
    if "train" not in found:
        expected = "annotations/instances_train2017.json, or train/_annotations.coco.json"
        raise InputError(f"{root}: no training annotations in COCO's layout; expected {expected}")
    return {split: files[0] for split, files in found.items()}


def _read_coco_file(file: Path) -> dict[str, Any]:
    record = read_json(file)
    for name in ("images", "annotations", "categories"):
        if not isinstance(record, dict) or not isinstance(record.get(name), list):
            raise InputError(f"{file}: no list '{name}'; expected COCO's form with images, annotations and categories")
    return record


@contextmanager
def _entries_of(file: Path) -> Iterator[None]:
    """Say of an entry that lacks something, or is of another type, in which file it stands."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{file}: an entry is not of COCO's form ({reason})") from error


def _coco_split(
    record: Mapping[str, Any], folders: Sequence[Path], ids: Sequence[int], file: Path, warnings: list[str]
) -> RawSplit:
    index_of = {identity: index for index, identity in enumerate(ids)}
    with _entries_of(file):
        images = {one["id"]: str(one["file_name"]) for one in record["images"]}
        rows: dict[Any, list[Any]] = {identity: [] for identity in images}
        lost = 0
        for one in record["annotations"]:
            if one["image_id"] not in rows:
                lost += 1
                continue
            x, y, width, height = (float(value) for value in one["bbox"])
            label, crowd = index_of.get(one["category_id"], -1), bool(one.get("iscrowd", 0))
            rows[one["image_id"]].append(([x, y, x + width, y + height], label, crowd))
    if lost:
        warnings.append(f"{file.name}: {lost} boxes belong to pictures that the file does not list, and are left out")
    folder = next((place for place in folders if images and (place / next(iter(images.values()))).is_file()), None)
    folder = folder or next((place for place in folders if place.is_dir()), folders[0])
    pictures = [str(folder / name) for name in images.values()]
    annotations = [_of_columns(found) for found in rows.values()]
    there = np.flatnonzero(keep_present(pictures, where=str(file), warnings=warnings)).tolist()
    return RawSplit([pictures[i] for i in there], annotations=[annotations[i] for i in there])


def _of_columns(rows: Sequence[tuple[list[float], int, bool]]) -> BoxAnnotation:
    return annotation_of([box for box, _, _ in rows], [label for _, label, _ in rows], [crowd for *_, crowd in rows])


def _voc_objects(file: Path) -> list[tuple[str, bool, list[float]]]:
    """Name, whether it is difficult, and box in continuous pixels of each object in a file."""
    try:
        tree = _parse_xml(file.read_bytes())
        objects = []
        for one in tree.iter("object"):
            box = one.find("bndbox")
            low, high = [float(_text(box, name)) - 1 for name in ("xmin", "ymin")], ("xmax", "ymax")
            corners = [*low, *(float(_text(box, name)) for name in high)]
            objects.append((_text(one, "name"), one.findtext("difficult", "0").strip() == "1", corners))
    except (OSError, ValueError, expat.ExpatError, ElementTree.ParseError) as error:
        raise InputError(f"{file}: not an annotation in Pascal VOC's form ({error})") from error
    return objects


def _parse_xml(data: bytes) -> ElementTree.Element:
    """The tree of a file without a document type: what declares entities could make a small file a huge one."""

    def refuse(*declared: Any) -> None:
        raise ValueError("it declares a document type")

    probe = expat.ParserCreate()
    probe.StartDoctypeDeclHandler = refuse
    probe.Parse(data, True)
    return ElementTree.fromstring(data)


def _text(element: ElementTree.Element | None, name: str) -> str:
    found = None if element is None else element.findtext(name)
    if not found or not found.strip():
        raise ValueError(f"an object lacks '{name}'")
    return found.strip()
