"""Class maps: brought back to the size of the picture that was given, coloured, written as palette pictures.

Not here: running a model (`model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from limbeck.files import atomic_path

__all__ = ["VOID", "ClassMaps", "class_colours", "map_in_picture", "save_map"]

VOID = 255
"""Of pixels that the model did not see, because the picture was cropped to fit."""


@dataclass(frozen=True)
class ClassMaps:
    """What a model says of every pixel of N pictures.

    Attributes:
        maps: N of [H, W] uint8 class indices in the size of the picture that was given; 255 where the model did not see.
        class_names: by index.
    """

    maps: list[np.ndarray]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.maps)

    def shares(self) -> np.ndarray:
        """[N, K] share of each class in the pixels that the model saw."""
        count = len(self.class_names)
        pixels = np.array([np.bincount(one[one != VOID], minlength=count)[:count] for one in self.maps], np.float64)
        pixels = pixels.reshape(len(self.maps), count)
        return pixels / np.maximum(pixels.sum(1, keepdims=True), 1)


def map_in_picture(found: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H, W] uint8 class map of a picture, each pixel from the nearest of the fitted picture's map.

    Args:
        found: [h, w] class map of the fitted picture.
        affine: [2, 3] from coordinates of the picture to those of the fitted one (`limbeck.pictures.fit_affine`).
        size: (height, width) of the picture.
    """
    places = [
        np.floor((np.arange(side) + 0.5) * affine[axis, axis] + affine[axis, 2]).astype(np.int64)
        for axis, side in ((1, size[0]), (0, size[1]))
    ]
    inside = [(place >= 0) & (place < side) for place, side in zip(places, found.shape, strict=True)]
    rows, columns = (np.clip(place, 0, side - 1) for place, side in zip(places, found.shape, strict=True))
    return np.where(inside[0][:, None] & inside[1][None], found[rows][:, columns], VOID).astype(np.uint8)


def class_colours(count: int) -> np.ndarray:
    """[count + 1, 3] uint8 colours of the classes by index, and the one of void last.

    **Source:** the colour map of the PASCAL VOC development kit, whose class 0 is black: bit by bit of the index, spread
    over red, green and blue. Void is its (224, 224, 192).

    Example:
        >>> class_colours(3).tolist()
        [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]
    """
    index = np.arange(count)[:, None]
    bits = [(index >> (3 * place + np.arange(3)) & 1) << (7 - place) for place in range(8)]
    return np.concatenate([np.bitwise_or.reduce(bits), [[224, 224, 192]]]).astype(np.uint8)


def save_map(found: np.ndarray, path: str | Path, class_names: Sequence[str]) -> None:
    """Write a class map as a PNG with a palette: its pixels are the class indices, its texts `class 0` ... their names.

    Raises:
        OSError: it cannot be written.
    """
    colours = class_colours(len(class_names))
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(class_names)], palette[VOID] = colours[:-1], colours[-1]
    image = Image.fromarray(found).convert("P")
    image.putpalette(palette.tobytes())
    told = PngImagePlugin.PngInfo()
    for index, name in enumerate(class_names):
        told.add_itxt(f"class {index}", name)
    with atomic_path(Path(path)) as temporary:
        image.save(temporary, "PNG", pnginfo=told)
