"""Standard picture sets in the layouts they are handed out in: CIFAR-10/100, Tiny ImageNet, ImageNet.

What does not live here: decoding and checking; plain class folders (`folder`).
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.folder import existing_folder, read_class_folders
from limbeck.data.raw import RawData, RawSplit
from limbeck.errors import InputError
from limbeck.files import read_lines

__all__ = ["read_cifar10", "read_cifar100", "read_imagenet", "read_tiny_imagenet"]


def read_cifar10(path: str | None = None) -> RawData:
    """CIFAR-10 as published (`cifar-10-batches-py`), below `path` (default: `data`); downloaded by torchvision where
    it is missing.

    **Source:** Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    from torchvision.datasets import CIFAR10

    return _read_cifar(CIFAR10, path)


def read_cifar100(path: str | None = None) -> RawData:
    """CIFAR-100 as published (`cifar-100-python`, fine labels), below `path` (default: `data`); downloaded where it
    is missing.
    """
    from torchvision.datasets import CIFAR100

    return _read_cifar(CIFAR100, path)


def read_tiny_imagenet(path: str | None = None) -> RawData:
    """Tiny ImageNet as published (`tiny-imagenet-200`): its test pictures have no labels, so its val pictures are
    the test set.

    **Source:** Le and Yang, "Tiny ImageNet Visual Recognition Challenge", Stanford CS231n, 2015.
    """
    root = _below(existing_folder(path, "data.path"), "tiny-imagenet-200", "wnids.txt")
    annotations = root / "val" / "val_annotations.txt"
    for needed in (root / "train", annotations):
        if not needed.exists():
            raise InputError(
                f"{needed}: missing; expected what tiny-imagenet-200.zip unpacks to (train/, val/val_annotations.txt)"
            )
    warnings: list[str] = []
    train = read_class_folders(root / "train", warnings, below="images")
    rows = [line.split("\t") for line in read_lines(annotations) if line.strip()]
    if any(len(row) < 2 for row in rows):
        raise InputError(f"{annotations}: expected lines of file name, tab, class")
    paths = [str(root / "val" / "images" / row[0]) for row in rows]
    return _named(train, RawSplit(paths, [row[1] for row in rows]), root / "words.txt", warnings)


def read_imagenet(path: str | None = None) -> RawData:
    """ImageNet (ILSVRC 2012): `train/WNID` and `val/WNID`, the archives as handed out (unpacked by torchvision), or
    Kaggle's layout.

    Classes are in the order of their WordNet ids, as in every published network. val is the test set.

    **Source:** Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015.
    """
    root = existing_folder(path, "data.path")
    kaggle = root / "ILSVRC" / "Data" / "CLS-LOC"
    warnings: list[str] = []
    if kaggle.is_dir():
        train = read_class_folders(kaggle / "train", warnings)
        return _named(train, _kaggle_validation(root, kaggle / "val"), root / "LOC_synset_mapping.txt", warnings)
    if any(root.glob("ILSVRC2012_img_*.tar")) and not (root / "train").is_dir():
        _unpack_imagenet(root)
    for needed in (root / "train", root / "val"):
        if not needed.is_dir():
            raise InputError(
                f"{needed}: no such folder; expected train/WNID and val/WNID, or the archives "
                "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz"
            )
    train = read_class_folders(root / "train", warnings)
    return _named(train, read_class_folders(root / "val", warnings), root / "words.txt", warnings)


def _read_cifar(kind: Any, path: str | None) -> RawData:
    root = Path(path or "data").expanduser()
    if root.name == kind.base_folder:  # the folder itself is as good as the one that it lies in
        root = root.parent
    try:
        train, test = (
            kind(root, train=is_train, download=not (root / kind.base_folder).is_dir()) for is_train in (True, False)
        )
    except (RuntimeError, OSError) as error:  # a wrong checksum or a missing file; no network
        what = (
            "not the published files (a checksum differs)"
            if (root / kind.base_folder).is_dir()
            else f"cannot be downloaded ({error})"
        )
        raise InputError(f"{root / kind.base_folder}: {what}; unpack {kind.url} in {root}") from error
    splits = {
        name: RawSplit(part.data, np.asarray(part.targets, np.int64))
        for name, part in (("train", train), ("test", test))
    }
    return RawData(splits, class_names=train.classes, image_size=(32, 32))


def _unpack_imagenet(root: Path) -> None:
    from torchvision.datasets import ImageNet

    try:
        for split in ("train", "val"):
            ImageNet(str(root), split=split)
    except (RuntimeError, OSError) as error:
        raise InputError(f"{root}: the ImageNet archives cannot be unpacked ({error})") from error


def _kaggle_validation(root: Path, folder: Path) -> RawSplit:
    solution = root / "LOC_val_solution.csv"
    if not solution.exists():
        raise InputError(f"{solution}: missing; it holds the classes of the validation pictures")
    with open(solution, newline="", encoding="utf-8") as handle:
        rows = [(row["ImageId"], row["PredictionString"].split()[0]) for row in csv.DictReader(handle)]
    return RawSplit([str(folder / f"{name}.JPEG") for name, _ in rows], [wnid for _, wnid in rows])


def _named(train: RawSplit, test: RawSplit, words: Path, warnings: list[str]) -> RawData:
    """Put the class indices in the order of the WordNet ids, and call the classes by their words where a file lists
    those.
    """
    wnids = sorted(set(train.labels))  # type: ignore[arg-type]
    index = {wnid: place for place, wnid in enumerate(wnids)}
    called: dict[str, str] = {}
    if words.exists():
        for line in read_lines(words):
            wnid, _, text = line.replace("\t", " ").partition(" ")
            called[wnid] = text.split(",")[0].strip()
    names = [called.get(wnid) or wnid for wnid in wnids]
    doubled = {name for name, count in Counter(names).items() if count > 1}  # crane: a bird and a machine
    names = [f"{name} ({wnid})" if name in doubled else name for name, wnid in zip(names, wnids, strict=True)]

    def numbered(split: RawSplit) -> RawSplit:
        unknown = sorted(set(split.labels) - set(index))  # type: ignore[arg-type]
        if unknown:
            raise InputError(f"{split.pictures[0]}: class '{unknown[0]}' has no training pictures")
        return RawSplit(split.pictures, [index[wnid] for wnid in split.labels])  # type: ignore[union-attr]

    return RawData({"train": numbered(train), "test": numbered(test)}, class_names=names, warnings=warnings)


def _below(root: Path, name: str, sign: str) -> Path:
    """`root/name` where `root` is the folder that the set lies in, else `root`."""
    return root / name if not (root / sign).exists() and (root / name).is_dir() else root
