"""Published sets with masks in the layouts they are handed out in: Cityscapes, Pascal VOC's segmentation.

What does not live here: someone's own folders and tables (`mask_sets`), looking at the masks (`masks`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from limbeck.data.folder import existing_folder
from limbeck.data.mask_sets import match_masks
from limbeck.data.raw import RawData, RawSplit
from limbeck.data.voc import VOC_CLASSES, find_voc, read_voc_list
from limbeck.errors import InputError
from limbeck.pictures import list_pictures

__all__ = ["CITYSCAPES", "read_cityscapes", "read_voc_segmentation"]

CITYSCAPES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""The 19 classes that are judged, by the ids of `labelIds.png`; ids 0 to 33 that are not here are void."""


def read_cityscapes(path: str | None = None) -> RawData:
    """Cityscapes as handed out: `leftImg8bit/{train,val}/CITY/*_leftImg8bit.png` and `gtFine/.../*_gtFine_labelIds.png`.

    The 19 classes that are judged; every other id is void. A split of train is made city by city. Annotations of the
    official test pictures are withheld, so val is the test set.

    **Source:** Cordts et al. 2016, arXiv 1604.01685; ids of `cityscapesscripts.helpers.labels`.

    Raises:
        InputError: missing folders, or more than a few pictures without annotation.
    """
    root = existing_folder(path, "data.path")
    warnings: list[str] = []
    splits = {}
    for split, folder in (("train", "train"), ("test", "val")):
        pictures, masks = root / "leftImg8bit" / folder, root / "gtFine" / folder
        for needed in (pictures, masks):
            if not needed.is_dir():
                raise InputError(
                    f"{needed}: no such folder; expected what leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip "
                    "unpack to"
                )
        ending = "_gtFine_labelIds.png"
        by_key = {Path(each).name.removesuffix(ending): each for each in list_pictures(masks) if each.endswith(ending)}
        paths = [each for each in list_pictures(pictures) if each.endswith("_leftImg8bit.png")]
        if not paths:
            raise InputError(f"{pictures}: no pictures named CITY_SEQUENCE_FRAME_leftImg8bit.png")
        found = match_masks(paths, by_key, _frame, where=str(masks), warnings=warnings)
        found.groups = np.array([_frame(str(each)).partition("_")[0] for each in found.pictures])
        splits[split] = found
    values = dict.fromkeys(range(34), -1) | {value: index for index, value in enumerate(CITYSCAPES.values())}
    return RawData(splits, class_names=list(CITYSCAPES), warnings=warnings, kind="mask", mask_values=values)


def read_voc_segmentation(path: str | None = None, train_list: str = "train", test_list: str = "val") -> RawData:
    """Pascal VOC as handed out (`VOCdevkit/VOC2012` or a folder in which it lies): pictures with `SegmentationClass`.

    Args:
        path: the folder of `JPEGImages`, `SegmentationClass` and `ImageSets`, or one above it.
        train_list: which list of `ImageSets/Segmentation` is trained on, such as `trainaug` where that was added.
        test_list: which one is the test set.

    Raises:
        InputError: missing folders or lists, or pictures or masks that a list names and that are not there.

    **Source:** Everingham et al. 2015, "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV.
    """
    root = find_voc(path, "SegmentationClass")
    warnings: list[str] = []
    masks = {Path(each).stem: each for each in list_pictures(root / "SegmentationClass")}
    splits: dict[str, RawSplit] = {}
    for split, name in (("train", train_list), ("test", test_list)):
        stems = read_voc_list(root, "Segmentation", name)
        paths = [str(root / "JPEGImages" / f"{stem}.jpg") for stem in stems]
        splits[split] = match_masks(paths, masks, _stem, where=str(root / "SegmentationClass"), warnings=warnings)
    return RawData(splits, class_names=["background", *VOC_CLASSES], warnings=warnings, kind="mask")


def _frame(path: str) -> str:
    """City, sequence and frame in the name of one of Cityscapes' pictures."""
    return Path(path).name.removesuffix("_leftImg8bit.png")


def _stem(path: str) -> str:
    return Path(path).stem
