"""Pictures with points in published layouts: 300W, WFLW, COFW.

What does not live here: folders and tables of one's own (`point_sets`), looking at the points (`points`).
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.folder import existing_folder
from limbeck.data.point_crops import CropPolicy
from limbeck.data.point_sets import from_first_pixel, points_data, pts_split
from limbeck.data.raw import PointAnnotation, RawData, RawSplit
from limbeck.errors import InputError
from limbeck.files import read_lines
from limbeck.pictures import list_pictures

__all__ = ["read_300w", "read_cofw", "read_wflw"]

_TRAIN_300W = (("afw",), ("helen", "trainset"), ("lfpw", "trainset"))
_TEST_300W = ((("helen", "testset"), "common"), (("lfpw", "testset"), "common"), (("ibug",), "challenging"))
_PRIVATE_300W = ((("300W", "01_Indoor"), "indoor"), (("300W", "02_Outdoor"), "outdoor"))
WFLW_ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
_WFLW_COLUMNS = 2 * 98 + 4 + len(WFLW_ATTRIBUTES) + 1
_COFW_POINTS = 29


def read_300w(
    path: str | None = None,
    test_set: str = "full",
    crop: str = "gt_box",
    pad: float = 0.0,
    pad_pixels: float = 5.0,
    square: bool = False,
    boxes: str | None = None,
) -> RawData:
    """Read 300W: folders afw, helen, lfpw and ibug of pictures with `.pts` files of 68 points; 3148 for training.

    Test pictures belong to the subset `common` (HELEN's and LFPW's) or `challenging` (iBUG's), of the private test to
    `indoor` or `outdoor`. The default crop is that of Fard and Mahoor: the box of the true points and 5 pixels, stretched.

    Args:
        path: the folder of all.
        test_set: `full`, or `private` = the 600 pictures in 300W/01_Indoor and 300W/02_Outdoor.
        crop: as `CropPolicy` has it, as are the others.
        pad: see `crop`.
        pad_pixels: see `crop`.
        square: see `crop`.
        boxes: see `crop`.

    Raises:
        InputError: a folder is missing, or the same file lies in both training and test folders of one source.
    """
    if test_set not in ("full", "private"):
        raise InputError(f"data.options.test_set = '{test_set}': expected full or private")
    policy = CropPolicy(crop, pad, pad_pixels, square, boxes)
    root = existing_folder(path, "data.path")
    warnings: list[str] = []
    train = [picture for place in _TRAIN_300W for picture in _with_points(root, place, warnings)]
    tested, subsets = [], []
    for place, subset in _TEST_300W if test_set == "full" else _PRIVATE_300W:
        found = _with_points(root, place, warnings)
        tested += found
        subsets += [(subset,)] * len(found)
    _refuse_shared(root, train, tested)
    splits = {
        "train": pts_split(train, first_pixel=1.0, subsets=[()] * len(train)),
        "test": pts_split(tested, first_pixel=1.0, subsets=subsets),
    }
    return points_data(splits, policy, "face68", None, None, warnings)


def read_wflw(
    path: str | None = None,
    crop: str = "given_and_gt_box",
    pad: float = 0.0,
    pad_pixels: float = 10.0,
    square: bool = False,
    boxes: str | None = None,
) -> RawData:
    """Read WFLW: its lists of 98 points, a box, six attributes and a picture's name in each line; 7500 and 2500 pictures.

    Attributes are subsets: pose, expression, illumination, make-up, occlusion, blur. The default crop is that of Fard and
    Mahoor: the box around the given one and the true points, and 10 pixels, stretched.

    Args:
        path: the folder with the pictures' folder and that of the lists, as they are unpacked.
        crop: as `CropPolicy` has it, as are the others.
        pad: see `crop`.
        pad_pixels: see `crop`.
        square: see `crop`.
        boxes: see `crop`.

    Raises:
        InputError: a list or the pictures are missing, or a line is of another form.
    """
    policy = CropPolicy(crop, pad, pad_pixels, square, boxes)
    root = existing_folder(path, "data.path")
    splits = {}
    for split in ("train", "test"):
        name = f"list_98pt_rect_attr_{split}.txt"
        lists = sorted(root.rglob(name))
        if not lists:
            raise InputError(f"{root}: no {name} here or below; expected WFLW's lists")
        splits[split] = _wflw_split(lists[0], root)
    return points_data(splits, policy, "face98", None, None, [])


def read_cofw(
    path: str | None = None,
    crop: str = "given_and_gt_box",
    pad: float = 0.05,
    pad_pixels: float = 0.0,
    square: bool = False,
    boxes: str | None = None,
) -> RawData:
    """Read COFW in colour: `COFW_train_color.mat` and `COFW_test_color.mat`, 1345 and 507 pictures of 29 points, of which
    each is visible or hidden. Needs h5py (`limbeck[points]`).

    The default crop is close to that of Fard and Mahoor: the box around the given one and the true points, and 5 %.

    Args:
        path: the folder of both files, or of the folder that they are in.
        crop: as `CropPolicy` has it, as are the others.
        pad: see `crop`.
        pad_pixels: see `crop`.
        square: see `crop`.
        boxes: see `crop`.

    Raises:
        InputError: h5py or a file is missing, or a file is of another form.
    """
    policy = CropPolicy(crop, pad, pad_pixels, square, boxes)
    root = existing_folder(path, "data.path")
    splits = {}
    for split, mark in (("train", "Tr"), ("test", "T")):
        name = f"COFW_{split}_color.mat"
        files = sorted(root.rglob(name))
        if not files:
            raise InputError(f"{root}: no {name} here or below")
        splits[split] = _cofw_split(files[0], mark)
    return points_data(splits, policy, "face29", None, None, [])


def _with_points(root: Path, place: Sequence[str], warnings: list[str]) -> list[str]:
    folder = root.joinpath(*place)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected 300W's layout (afw, helen, lfpw, ibug)")
    pictures = list(list_pictures(folder))
    paired = [picture for picture in pictures if Path(picture).with_suffix(".pts").is_file()]
    if not paired:
        raise InputError(f"{folder}: no picture has a .pts file of the same name beside it")
    if len(paired) < len(pictures):
        warnings.append(f"{folder}: {len(pictures) - len(paired)} pictures have no .pts file and are left out")
    return paired


def _refuse_shared(root: Path, train: Sequence[str], test: Sequence[str]) -> None:
    """A training set that holds test pictures has been published by mistake before. A name tells nothing: LFPW numbers
    its training and its test pictures separately.
    """

    def by_name(pictures: Sequence[str]) -> dict[tuple[str, str], str]:
        return {(Path(picture).relative_to(root).parts[0], Path(picture).stem): picture for picture in pictures}

    trained, tested = by_name(train), by_name(test)
    equal = sorted(trained.keys() & tested.keys())
    shared = [name for name in equal if filecmp.cmp(trained[name], tested[name], shallow=False)]
    if shared:
        raise InputError(
            f"{root / shared[0][0]}: {len(shared)} pictures are in both training and test folders (first: {shared[0][1]})"
        )


def _wflw_split(file: Path, root: Path) -> RawSplit:
    folder = next((one for one in (root / "WFLW_images", *sorted(root.rglob("WFLW_images"))) if one.is_dir()), None)
    if folder is None:
        raise InputError(f"{root}: no folder WFLW_images here or below")
    lines = read_lines(file)
    pictures, found, names = [], [], []
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            values = np.array(words[: _WFLW_COLUMNS - 1], np.float64)
        except ValueError as error:
            raise InputError(f"{file}: line {number}: {error}") from error
        if len(words) != _WFLW_COLUMNS:
            raise InputError(f"{file}: line {number}: {len(words)} columns; expected {_WFLW_COLUMNS}")
        points, box, flags = values[:196].reshape(-1, 2), values[196:200] + 0.5, values[200:]
        subsets = tuple(name for name, flag in zip(WFLW_ATTRIBUTES, flags, strict=True) if flag)
        given = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
        pictures.append(str(folder / words[-1]))
        names.append(f"{words[-1]} (line {number})")  # a photo with several faces is listed once for each
        found.append(PointAnnotation(from_first_pixel(points.astype(np.float32), 0.0), None, given, subsets))
    if not pictures:
        raise InputError(f"{file}: names no pictures")
    return RawSplit(pictures, annotations=found, names=names, groups=np.array([str(one) for one in pictures]))


def _cofw_split(file: Path, mark: str) -> RawSplit:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{file}: needs h5py; install limbeck[points]") from None
    try:
        with h5py.File(file) as archive:
            cells = [archive[reference] for reference in np.asarray(archive[f"Is{mark}"]).reshape(-1)]
            # Matlab's arrays arrive with their axes in reverse order
            pictures: list[Any] = [np.ascontiguousarray(np.asarray(cell).T).astype(np.uint8) for cell in cells]
            places = np.asarray(archive[f"phis{mark}"], np.float32).T
            given = np.asarray(archive[f"bboxes{mark}"], np.float64).T
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{file}: not of COFW's form, with Is{mark}, phis{mark} and bboxes{mark} ({reason})"
        ) from error
    if places.shape != (len(pictures), 3 * _COFW_POINTS) or given.shape != (len(pictures), 4):
        raise InputError(
            f"{file}: {len(pictures)} pictures with points {list(places.shape)} and boxes {list(given.shape)}; expected "
            f"[N, {3 * _COFW_POINTS}] and [N, 4]"
        )
    across, down, hidden = np.split(places, 3, axis=1)
    points = from_first_pixel(np.stack([across, down], axis=2), 1.0)
    found = []
    for row in range(len(pictures)):
        left, top, wide, tall = (given[row] - [0.5, 0.5, 0, 0]).tolist()
        found.append(PointAnnotation(points[row], hidden[row] == 0, (left, top, left + wide, top + tall)))
    return RawSplit(pictures, annotations=found, names=[f"{file.name} picture {row}" for row in range(len(pictures))])
