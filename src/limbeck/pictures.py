"""Decode a picture to RGB bytes and fit it to a size: the one pre-processing that training and deployment share; and which
files of a folder are pictures.

What does not live here: torch, data sets, augmentation, normalisation (every network owns its own).
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image, ImageOps

from limbeck.errors import InputError

__all__ = [
    "PICTURE_SUFFIXES",
    "UnreadablePicture",
    "decode",
    "find_by_path_end",
    "fit_affine",
    "fit_picture",
    "fit_window",
    "list_pictures",
    "padded_window",
    "picture_size",
    "shows_something",
    "window_affine",
]

_LARGEST_WINDOW = 8  # sides of a picture that a window of it may have

PICTURE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".bmp",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".tga",
        ".jp2",
        ".avif",
        ".ico",
        ".dib",
    ]
)
"""File name endings, lower case, that are taken for pictures when a folder is listed."""

Fit = Literal["crop", "squash", "pad"]


Known = TypeVar("Known")


class UnreadablePicture(InputError):
    """A file or bytes that cannot be decoded as a picture; the message says which and why."""


def decode(source: str | Path | bytes) -> np.ndarray:
    """Decode an encoded picture to [H, W, 3] uint8 RGB, upright as its EXIF orientation says.

    Grey and palette pictures become RGB; transparency is laid over white; 16-bit and 32-bit integer grey is scaled from
    the full 16-bit range; float grey is read as [0, 1], or as [0, 255] where it goes beyond 1. Of an animation, the
    first frame.

    Raises:
        UnreadablePicture: the file is missing, is no picture, or breaks off.
    """
    try:
        with _opened(source) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _as_rgb(upright)
    except (
        Exception
    ) as error:  # Pillow's plug-ins raise nearly anything on broken bytes, struct.error and SyntaxError included
        raise _unreadable(source, error) from error


def picture_size(source: str | Path | bytes) -> tuple[int, int]:
    """Read (height, width) of an encoded picture from its header only, orientation applied.

    Raises:
        UnreadablePicture: the header cannot be read.
    """
    try:
        with _opened(source) as image:
            width, height = image.size
            sideways = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # the EXIF orientations that swap the axes
            return (width, height) if sideways else (height, width)
    except Exception as error:
        raise _unreadable(source, error) from error


def fit_picture(array: np.ndarray, size: tuple[int, int], fit: Fit = "crop") -> np.ndarray:
    """Bring an [H, W, 3] uint8 picture to `size` = (height, width), bilinear with antialiasing.

    `crop` fills the size and cuts what is over evenly from both sides, `squash` changes the aspect, `pad` shows all
    of the picture on black. A picture that has the size already is returned as it is.

    Raises:
        InputError: `fit` is none of the three.
    """
    height, width = array.shape[:2]
    if (height, width) == tuple(size):
        return array
    image = Image.fromarray(array)
    target = (size[1], size[0])
    if fit == "squash":
        fitted = image.resize(target, Image.Resampling.BILINEAR)
    elif fit == "crop":
        # resize and cut in one step, so that no rounding of a size in between shifts the picture
        fitted = image.resize(target, Image.Resampling.BILINEAR, box=_crop_box((height, width), size))
    elif fit == "pad":
        left, top, inner_width, inner_height = _pad_place((height, width), size)
        fitted = Image.new("RGB", target)
        fitted.paste(image.resize((inner_width, inner_height), Image.Resampling.BILINEAR), (left, top))
    else:
        raise InputError(f"fit = '{fit}': expected crop, squash or pad")
    return np.asarray(fitted)


def fit_affine(source: tuple[int, int], size: tuple[int, int], fit: Fit = "crop") -> np.ndarray:
    """Where `fit_picture` puts the points of a picture: [2, 3], (x, y) -> affine @ (x, y, 1).

    Coordinates are pixels, x to the right and y down, continuous: a pixel's centre lies at + 0.5.

    Args:
        source: (height, width) of the picture.
        size: (height, width) that it is fitted to.
        fit: as in `fit_picture`.

    Example:
        >>> fit_affine((100, 200), (50, 100), "squash").tolist()
        [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    """
    if tuple(source) == tuple(size):
        return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    left, top, across, down = 0.0, 0.0, size[1] / source[1], size[0] / source[0]
    if fit == "crop":
        box = _crop_box(source, size)
        across, down = size[1] / (box[2] - box[0]), size[0] / (box[3] - box[1])
        left, top = -box[0] * across, -box[1] * down
    elif fit == "pad":
        left, top, inner_width, inner_height = _pad_place(source, size)
        across, down = inner_width / source[1], inner_height / source[0]
    return np.array([[across, 0.0, left], [0.0, down, top]])


def fit_window(picture: np.ndarray, window: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """[H, W, C] uint8 of `size`: left, top, right, bottom of a picture in pixels, bilinear with antialiasing.

    The window may lie anywhere and has any aspect; black outside the picture.
    """
    left, top, right, bottom = window
    height, width = picture.shape[:2]
    x, y, end, low = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    part = picture[max(0, y) : max(0, low), max(0, x) : max(0, end)]
    if x < 0 or y < 0 or end > width or low > height:
        black = np.zeros((low - y, end - x, picture.shape[2]), picture.dtype)
        black[max(0, -y) : max(0, -y) + len(part), max(0, -x) : max(0, -x) + part.shape[1]] = part
        part = black
    box = (left - x, top - y, right - x, bottom - y)
    return np.asarray(Image.fromarray(part).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))


def list_pictures(root: Path) -> Iterator[str]:
    """Paths of all files below `root` that are named like pictures, sorted; hidden files and folders are passed
    over.
    """
    for folder, inner, files in os.walk(root, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES:
                yield os.path.join(folder, name)


def window_affine(window: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Where `fit_window` puts the points of a picture: [2, 3], as `fit_affine` has it.

    Args:
        window: left, top, right, bottom in pixels of the picture.
        size: (height, width) that it is fitted to.

    Example:
        >>> window_affine((10, 0, 30, 10), (20, 40)).tolist()
        [[2.0, 0.0, -20.0], [0.0, 2.0, 0.0]]
    """
    left, top, right, bottom = window
    across, down = size[1] / (right - left), size[0] / (bottom - top)
    return np.array([[across, 0.0, -left * across], [0.0, down, -top * down]])


def find_by_path_end(path: str | Path, known: Mapping[str, Known]) -> Known | None:
    """What is known of a picture by the longest end of its path: all of it, less its first folders, its name alone.

    Example:
        >>> find_by_path_end("/data/ann/1.png", {"1.png": "any", "ann/1.png": "hers"})
        'hers'
    """
    place = PurePath(path)
    ends = (place.as_posix(), *("/".join(place.parts[start:]) for start in range(1, len(place.parts))))
    return next((known[end] for end in ends if end in known), None)


def shows_something(window: tuple[float, float, float, float], source: tuple[int, int]) -> bool:
    """Whether a window of a picture of the size `source` is one: finite, of a pixel at least, not far larger than the
    picture, and on it.
    """
    left, top, right, bottom = window
    if not all(math.isfinite(edge) for edge in window) or min(right - left, bottom - top) < 1:
        return False
    is_on = left < source[1] and top < source[0] and right > 0 and bottom > 0
    return is_on and max(right - left, bottom - top) <= _LARGEST_WINDOW * max(source)


def padded_window(
    box: tuple[float, float, float, float], *, pad: float = 0.0, pad_pixels: float = 0.0, square: bool = True
) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what is cut out around a box.

    Args:
        box: left, top, right, bottom in pixels.
        pad: added on every side, as a share of the longer one.
        pad_pixels: added on every side beside that.
        square: whether it becomes a square about the box's middle.

    Example:
        >>> padded_window((10, 10, 30, 20), pad=0.1)
        (8.0, 3.0, 32.0, 27.0)
    """
    left, top, right, bottom = box
    wide, tall = right - left, bottom - top
    more = pad * max(wide, tall) + pad_pixels
    half_wide, half_tall = wide / 2 + more, tall / 2 + more
    if square:
        half_wide = half_tall = max(half_wide, half_tall)
    x, y = (left + right) / 2, (top + bottom) / 2
    return x - half_wide, y - half_tall, x + half_wide, y + half_tall


def _crop_box(source: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest window of the size's aspect, in the middle of the picture."""
    height, width = source
    scale = max(size[0] / height, size[1] / width)
    half_height, half_width = size[0] / scale / 2, size[1] / scale / 2
    return (
        max(0.0, width / 2 - half_width),
        max(0.0, height / 2 - half_height),
        min(float(width), width / 2 + half_width),
        min(float(height), height / 2 + half_height),
    )


def _pad_place(source: tuple[int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width, height of the whole picture within the size."""
    scale = min(size[0] / source[0], size[1] / source[1])
    height, width = max(1, round(source[0] * scale)), max(1, round(source[1] * scale))
    return (size[1] - width) // 2, (size[0] - height) // 2, width, height


def _opened(source: str | Path | bytes) -> Image.Image:
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        values = values * 255 if values.max(initial=0.0) <= 1 else values
        return _grey_to_rgb(np.clip(np.rint(values), 0, 255))
    if image.mode.startswith("I"):  # I;16 and its byte orders, and I: how Pillow opens 16-bit grey, by version
        return _grey_to_rgb(np.rint(np.clip(np.asarray(image).astype(np.int64), 0, 65535) / 257))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba)
    return np.array(image.convert("RGB"))


def _grey_to_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _unreadable(source: str | Path | bytes, error: Any) -> UnreadablePicture:
    name = f"picture of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    if isinstance(error, FileNotFoundError):
        return UnreadablePicture(f"{name}: no such file")
    reason = (
        "no known picture format"
        if isinstance(error, Image.UnidentifiedImageError)
        else str(error) or type(error).__name__
    )
    return UnreadablePicture(f"{name}: not a readable picture ({' '.join(reason.split())})")
