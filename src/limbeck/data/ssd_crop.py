"""SSD's random crop: a window that some box overlaps enough, as a pure function of a number and the boxes.

What does not live here: the other crops (`augment`, `placement`), which boxes stay after a crop (`boxes.visible_boxes`).
"""

from __future__ import annotations

import numpy as np

from limbeck.data.placement import Size, Window

__all__ = ["LOWEST_OVERLAPS", "ssd_window"]

LOWEST_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
"""What some box must overlap a window by, one for each choice beside the whole picture; 0 = anything."""

_TRIALS = 50
_SMALLEST_AREA = 0.1  # of the picture
_LARGEST_ASPECT = 2.0


def ssd_window(seed: int, boxes: np.ndarray, source: Size) -> Window | None:
    """The window to cut; None = the whole picture.

    One of seven choices, even odds: the whole picture, or a window that some box overlaps (intersection over union) by at
    least 0.1, 0.3, 0.5, 0.7, 0.9, or by anything, and that holds some box's centre. Of 50 windows with 0.1 to 1 of the
    picture's area and an aspect of 1/2 to 2 times the picture's, the first that will do is taken; without any, or without
    boxes, the whole picture.

    Args:
        seed: at least 0; the same gives the same window.
        boxes: [M, 4] as x1, y1, x2, y2 in pixels of the picture.
        source: (height, width) of the picture.

    **Source:** Liu et al. 2016, arXiv 1512.02325, section 2.2 "Data augmentation"; 50 trials as in its code.

    Example:
        >>> ssd_window(3, np.zeros((0, 4)), (100, 100)) is None
        True
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    choice = int(generator.integers(len(LOWEST_OVERLAPS) + 1))
    if choice == len(LOWEST_OVERLAPS) or not len(boxes):
        return None
    draws = generator.random((_TRIALS, 4))
    area = _SMALLEST_AREA + (1 - _SMALLEST_AREA) * draws[:, 0]
    # a window of this area lies in the picture for aspects between the area and its inverse only
    widest = np.minimum(np.log(_LARGEST_ASPECT), -np.log(area))
    aspect = np.exp(widest * (2 * draws[:, 1] - 1))
    sides = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1).clip(max=1.0)
    low = draws[:, 2:] * (1 - sides)
    edges = np.array([source[1], source[0]], np.float64)
    windows = np.concatenate([low, low + sides], axis=1) * np.tile(edges, 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    holds = ((centres >= windows[:, None, :2]) & (centres <= windows[:, None, 2:])).all(2).any(1)
    fits = holds & (_overlaps(windows, boxes).max(1) >= LOWEST_OVERLAPS[choice])
    if not fits.any():
        return None
    left, top, right, bottom = windows[int(fits.argmax())].tolist()
    return left, top, min(right, edges[0].item()), min(bottom, edges[1].item())


def _overlaps(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[T, M] intersection over union."""
    low = np.maximum(windows[:, None, :2], boxes[None, :, :2])
    high = np.minimum(windows[:, None, 2:], boxes[None, :, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=2)
    own, others = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (windows, boxes))
    return inside / (own[:, None] + others[None] - inside)
