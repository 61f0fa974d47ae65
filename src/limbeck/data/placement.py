"""Where a picture's points go when it is fitted, cut, shifted and mirrored: windows, and affine maps of coordinates.

Coordinates are x to the right and y down, in pixels, continuous: a pixel's centre lies at + 0.5. A map is [2, 3]: a point
(x, y) goes to map @ (x, y, 1). What does not live here: how pixels (`augment`) and annotations (`targets`) are moved.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from limbeck.pictures import fit_window

__all__ = [
    "Size",
    "Window",
    "combine",
    "context_margin",
    "context_size",
    "context_window",
    "cut_context",
    "cut_window",
    "move_points",
    "resized_window",
    "scaled_window",
    "turned_affine",
    "warp",
]

Window = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of a picture; what lies outside the picture is black."""

Size = tuple[int, int]

_CONTEXT = 8  # around a window an eighth of its side is kept, so that it can be moved and turned


def resized_window(crop: np.ndarray, source: Size, size: Size) -> Window:
    """The window of a random resized crop, inside the picture.

    Args:
        crop: [4] area share, log of the aspect (1 = the output's), and where it lies in what is left over (down, right).
        source: (height, width) of the picture.
        size: (height, width) of the output.
    """
    height, width = source
    area, log_aspect, down, right = crop.tolist()
    aspect = math.exp(log_aspect) * size[1] / size[0]
    wide = min(math.sqrt(area * height * width * aspect), width)
    tall = min(math.sqrt(area * height * width / aspect), height)
    top, left = down * (height - tall), right * (width - wide)
    return left, top, min(left + wide, width), min(top + tall, height)


def scaled_window(scale: np.ndarray, size: Size) -> Window:
    """The window that shows a picture of `size` enlarged by a factor, or reduced on black, in its own aspect.

    A reduced picture lies on whole pixels of the output, so that its edges are not smeared.

    Args:
        scale: [3] factor above 0, and where the window lies in what is left over (down, right), in [0, 1].
        size: (height, width) of the picture and of the output.
    """
    factor, down, right = scale.tolist()
    edges = []
    for side, place in ((size[1], right), (size[0], down)):
        if factor >= 1:
            start = place * (side - side / factor)
            edges.append((start, start + side / factor))
            continue
        inner = max(1, round(side * factor))
        unit = side / inner  # pixels of the picture per pixel of the output
        start = -round(place * (side - inner)) * unit
        edges.append((start, start + side * unit))
    (left, end), (top, bottom) = edges
    return left, top, end, bottom


def cut_window(picture: np.ndarray, window: Window, size: Size) -> np.ndarray:
    """[H, W, C] uint8 of `size`: a window of a picture, bilinear with antialiasing, black outside the picture.

    Windows that leave the picture must put it on whole pixels of the output, as `scaled_window`'s do.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = window
    if left >= 0 and top >= 0 and right <= width and bottom <= height:
        return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=window))
    out = np.zeros((*size, *picture.shape[2:]), picture.dtype)
    across, down = size[1] / (right - left), size[0] / (bottom - top)
    inner = (max(1, round(width * across)), max(1, round(height * down)))
    x, y = round(-left * across), round(-top * down)
    out[y : y + inner[1], x : x + inner[0]] = np.asarray(
        Image.fromarray(picture).resize(inner, Image.Resampling.BILINEAR)
    )
    return out


def context_margin(size: Size) -> Size:
    """(rows, columns) of pixels that are kept above and below, left and right of a window of `size`."""
    return size[0] // _CONTEXT, size[1] // _CONTEXT


def context_size(size: Size) -> Size:
    """(height, width) of a window of `size` with what is kept around it."""
    down, across = context_margin(size)
    return size[0] + 2 * down, size[1] + 2 * across


def context_window(window: Window, size: Size) -> Window:
    """The window with what is kept around it.

    Args:
        window: of the picture.
        size: (height, width) that it is fitted to.
    """
    left, top, right, bottom = window
    down, across = context_margin(size)
    wide, tall = across * (right - left) / size[1], down * (bottom - top) / size[0]
    return left - wide, top - tall, right + wide, bottom + tall


def cut_context(picture: np.ndarray, window: Window, size: Size) -> np.ndarray:
    """[H + 2 rows, W + 2 columns, 3] uint8: a window of a picture in `size` and what is kept around it (`context_margin`).

    Bilinear with antialiasing; black outside the picture. The window may lie anywhere.
    """
    return fit_window(picture, context_window(window, size), context_size(size))


def turned_affine(turn: np.ndarray, size: Size) -> np.ndarray:
    """The map that turns a picture about its middle, enlarges it and moves it.

    Args:
        turn: [4] degrees (clockwise, as y points down), factor above 0, and pixels that it moves (down, right).
        size: (height, width) of the picture.

    Example:
        >>> turned_affine(np.array([90.0, 1.0, 0.0, 0.0]), (10, 10)).round(9).tolist()
        [[0.0, -1.0, 10.0], [1.0, 0.0, 0.0]]
    """
    degrees, factor, down, right = turn.tolist()
    angle = math.radians(degrees)
    linear = factor * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = np.array([size[1] / 2, size[0] / 2])
    return np.concatenate([linear, (middle + np.array([right, down]) - linear @ middle)[:, None]], axis=1)


def warp(picture: np.ndarray, affine: np.ndarray, size: Size) -> np.ndarray:
    """[H, W, 3] uint8 of `size`: a picture moved by a map of its coordinates, bilinear, black outside it.

    Without antialiasing: the map must not reduce the picture by much.
    """
    linear = np.linalg.inv(affine[:, :2])  # Pillow asks where a pixel of the output comes from
    back = np.concatenate([linear, -linear @ affine[:, 2:]], axis=1)
    moved = Image.fromarray(picture).transform(
        (size[1], size[0]), Image.Transform.AFFINE, tuple(back.ravel().tolist()), Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def combine(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """The map that does `first`, `then` the other."""
    linear = then[:, :2] @ first[:, :2]
    return np.concatenate([linear, then[:, :2] @ first[:, 2:] + then[:, 2:]], axis=1)


def move_points(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[..., 2] points where the map puts them."""
    return points @ affine[:, :2].T + affine[:, 2]
