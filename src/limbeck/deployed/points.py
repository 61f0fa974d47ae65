"""Found points: put back from the crop that the model saw into the picture that was given.

Not here: running a model (`model`), cutting the crop (`limbeck.pictures`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.errors import InputError
from limbeck.pictures import fit_window, padded_window, shows_something

__all__ = ["Box", "FoundPoints", "as_boxes", "crop_window", "cut_box", "found_points"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of a picture."""


@dataclass(frozen=True)
class FoundPoints:
    """Where a model finds the points of N pictures.

    Attributes:
        points: [N, L, 2] float32 x and y in pixels of the picture that was given, continuous (a pixel's centre lies at + 0.5).
        radii: [N, L] float32 pixels around each point within which the true one lies with the probability `coverage`; None
            where the file does not know.
        coverage: that probability, as it held on validation; None without `radii`.
        names: [L].
    """

    points: np.ndarray
    radii: np.ndarray | None
    coverage: float | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.points)


def as_boxes(boxes: Any, count: int | None) -> list[Box] | None:
    """Boxes as they were given, one per picture; None = none.

    Args:
        boxes: [N, 4], or [4] for one picture; None = none.
        count: of the pictures, where it is known.

    Raises:
        InputError: another form or number, or one that holds nothing.
    """
    if boxes is None:
        return None
    try:
        found = np.asarray(boxes, np.float64)
    except (TypeError, ValueError):
        raise InputError("boxes: expected four numbers, left, top, right, bottom, for each picture") from None
    found = np.zeros((0, 4)) if found.size == 0 else found[None] if found.ndim == 1 else found
    if found.ndim != 2 or found.shape[1] != 4:
        raise InputError(f"boxes: expected left, top, right, bottom of each picture, got {list(found.shape)}")
    if count is not None and len(found) != count:
        raise InputError(f"boxes: {len(found)} for {count} pictures; expected one for each")
    wrong = np.flatnonzero(~(np.isfinite(found).all(1) & (found[:, 2:] - found[:, :2] >= 1).all(1)))
    if len(wrong):
        raise InputError(
            f"box {int(wrong[0])}: {found[wrong[0]].tolist()} holds no pixel; expected left, top, right, bottom"
        )
    return [(left, top, right, bottom) for left, top, right, bottom in found.tolist()]


def crop_window(box: Box, crop: Mapping[str, Any], shape: tuple[int, ...], *, where: str = "picture") -> Box:
    """What is cut out of a picture around a box, as training did it.

    Args:
        box: in the picture's pixels.
        crop: `pad`, `pad_pixels` and `square`, as training had them; empty = the box itself.
        shape: [height, width, ...] of the picture.
        where: what the picture is called in errors.

    Raises:
        InputError: the box does not show the picture.
    """
    known = {key: crop[key] for key in ("pad", "pad_pixels", "square") if key in crop}
    window = padded_window(box, **known) if known else box
    if not shows_something(window, shape[:2]):
        edges = ", ".join(f"{edge:g}" for edge in box)
        raise InputError(f"{where}: the box {edges} does not show it; it has {shape[1]} x {shape[0]} pixels")
    return window


def cut_box(
    picture: np.ndarray, box: Box, size: tuple[int, int], crop: Mapping[str, Any], *, where: str = "picture"
) -> tuple[np.ndarray, Box]:
    """[H, W, 3] uint8 of `size`, cut out around a box as training cut its own, and the window that it shows.

    Args:
        picture: [h, w, 3] uint8.
        box: as of `crop_window`, like the two that follow the size.
        size: (height, width) that the model takes.
        crop: see above.
        where: see above.

    Raises:
        InputError: the box does not show the picture.
    """
    window = crop_window(box, crop, picture.shape, where=where)
    return fit_window(picture, window, size), window


def found_points(
    shares: Sequence[np.ndarray], affines: Sequence[np.ndarray], size: tuple[int, int], metadata: Mapping[str, Any],
    names: tuple[str, ...],
) -> FoundPoints:  # fmt: skip
    """Points of crops in the pixels of their pictures.

    Args:
        shares: N of [L, 2] as shares of the crop.
        affines: N of [2, 3] from coordinates of the picture to those of the crop.
        size: (height, width) of the crops.
        metadata: of the file; `error_bars` holds `coverage` and `radii`, [L] as shares of the root of the crop's area.
        names: [L].
    """
    length, bars = len(names), metadata.get("error_bars")
    pixels = [one.astype(np.float64) * (size[1], size[0]) for one in shares]
    scales = [np.diagonal(affine[:, :2]) for affine in affines]
    moved = [(one - affine[:, 2]) / scale for one, affine, scale in zip(pixels, affines, scales, strict=True)]
    points = np.array(moved, np.float32).reshape(len(moved), length, 2)
    if not bars:
        return FoundPoints(points, None, None, names)
    sides = np.array([np.sqrt(size[0] * size[1] / scale.prod()) for scale in scales]).reshape(-1, 1)
    radii = (sides * np.array(bars["radii"], np.float64)).astype(np.float32).reshape(len(moved), length)
    return FoundPoints(points, radii, float(bars["coverage"]), names)
