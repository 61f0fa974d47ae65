"""What a reader returns, ours or anyone's: pictures and labels as they were found, nothing checked yet.

What does not live here: checking, splitting, decoding (`inspect`, `labels`, `split`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from limbeck.pictures import decode, picture_size
from limbeck.point_schemes import PointScheme

if TYPE_CHECKING:
    from limbeck.data.point_crops import CropPolicy
    from limbeck.data.stream import PictureStream

__all__ = [
    "BoxAnnotation",
    "Kind",
    "Picture",
    "PointAnnotation",
    "RawData",
    "RawSplit",
    "read_picture",
    "size_of_picture",
]

Picture = str | Path | bytes | np.ndarray
"""A path, the bytes of an encoded file, or pixels: [H, W], [H, W, 1] or [H, W, 3] uint8."""


Kind = Literal["class", "mask", "boxes", "points", "signal"]
"""What is known of each picture: one class; a class of every pixel; boxes with a class each; places of named points. Of a
signal one class, and its SNR perhaps.
"""


@dataclass(frozen=True)
class BoxAnnotation:
    """The objects in one picture, as they were found.

    Attributes:
        boxes: [M, 4] float32 as x1, y1, x2, y2 in pixels of the picture, its edges at 0 and its width or height.
        labels: [M] int64 class indices.
        crowd: [M] bool, objects that are neither learned nor judged (a crowd, or one too difficult to tell).
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class PointAnnotation:
    """The points in one picture, as they were found.

    Attributes:
        points: [L, 2] x and y in pixels of the picture, continuous (a pixel's centre lies at + 0.5); NaN = unknown.
        visible: [L] bool, False = hidden, though its place may be known; None = nobody said.
        box: x1, y1, x2, y2 that the set gives of the face or thing; None = none.
        subsets: names of the parts of the set that the picture belongs to, such as `challenging` or `blur`.
    """

    points: np.ndarray
    visible: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None
    subsets: tuple[str, ...] = ()


@dataclass
class RawSplit:
    """One split as it was found.

    Attributes:
        pictures: N of them; also one [N, H, W] or [N, H, W, 3] uint8 array, or anything with `len` and `[i]`.
        labels: N class names or class indices (None = not labelled); or None where the split is unlabelled, or has
            annotations.
        groups: N values; samples of equal value (a product, a person) never cross splits that Limbeck makes.
        names: N names by which reports call the pictures; None = the paths, or `name[i]`.
        annotations: where the set's kind is not `class`, N of them. `mask`: a path, the bytes of an encoded file or
            [H, W] uint8, in the size of the picture. `boxes`: a `BoxAnnotation`. `points`: a `PointAnnotation`, or the
            `InputError` that says why there is none.
        windows: [N, 4] left, top, right, bottom in pixels: what of each picture is fitted, in any aspect (`data.fit` is for
            whole pictures); black outside the picture, NaN = none is known. None = whole pictures.
    """

    pictures: Sequence[Any] | np.ndarray
    labels: Sequence[Any] | np.ndarray | None = None
    groups: Sequence[Any] | np.ndarray | None = None
    names: Sequence[str] | None = None
    annotations: Sequence[Any] | None = None
    windows: np.ndarray | None = None

    def name(self, row: int, fallback: str) -> str:
        """How reports call the picture in `row`."""
        if self.names is not None and self.names[row]:
            return str(self.names[row])
        picture = self.pictures[row] if isinstance(self.pictures, (list, tuple)) else None
        return str(picture) if isinstance(picture, (str, Path)) else f"{fallback}[{row}]"


@dataclass
class RawData:
    """A whole data set as it was found.

    Attributes:
        splits: `train`, and `validation`, `test` and `unlabelled` where the set has them. With train and validation only,
            validation is the reported test set.
        class_names: by index; None = the values found in the labels, sorted.
        warnings: lines for the report.
        image_size: (height, width) that suits the set; None = looked up in the pictures.
        stream: the training pictures where they can only be read in order; `splits` then holds no `train`.
        kind: what is known of each picture.
        mask_values: of masks, value -> class, or -1 = void; any other is a mistake. None = values are classes. 255 is void
            where it is not named.
        scheme: of points, which change places in a mirror, and what errors are divided by; None = nobody said.
        crop: of points, what was cut out around them; None = nothing.
    """

    splits: dict[str, RawSplit]
    class_names: Sequence[str] | None = None
    warnings: list[str] = field(default_factory=list)
    image_size: tuple[int, int] | None = None
    stream: PictureStream | None = None
    kind: Kind = "class"
    mask_values: Mapping[int, int] | None = None
    scheme: PointScheme | None = None
    crop: CropPolicy | None = None


def read_picture(picture: Picture) -> np.ndarray:
    """[H, W, 3] uint8 RGB of a picture in any of its forms.

    Raises:
        UnreadablePicture: it cannot be decoded.
        ValueError: an array of another shape or type.
    """
    if not isinstance(picture, np.ndarray):
        return decode(picture)
    if picture.dtype != np.uint8:
        raise ValueError(f"pixels are {picture.dtype}, expected uint8")
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim == 2:
        return np.repeat(picture[:, :, None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise ValueError(f"pixels have shape {list(picture.shape)}, expected [H, W] or [H, W, 3]")
    return picture


def size_of_picture(picture: Picture) -> tuple[int, int]:
    """(height, width), read as cheaply as the form allows.

    Raises:
        UnreadablePicture: the header cannot be read.
    """
    if isinstance(picture, np.ndarray):
        return int(picture.shape[0]), int(picture.shape[1])
    return picture_size(picture)
