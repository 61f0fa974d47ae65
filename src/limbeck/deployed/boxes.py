"""Found boxes: chosen among a detector's anchors where its file leaves that to the caller, and put back into the picture.

Not here: running a model (`model`); the same choice inside a graph (`export`), or on a network's outputs (`models`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["FoundBoxes", "boxes_in_picture", "choose_found"]

COLUMNS = 6  # x1, y1, x2, y2, score, label


@dataclass(frozen=True)
class FoundBoxes:
    """What a detector found in N pictures, the surest first.

    Attributes:
        boxes: N of [M, 4] float32 x1, y1, x2, y2 in pixels of the picture that was given.
        scores: N of [M] float32 in [0, 1].
        classes: N of [M] int64.
        class_names: by index.
    """

    boxes: list[np.ndarray]
    scores: list[np.ndarray]
    classes: list[np.ndarray]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def labels(self) -> list[list[str]]:
        """Names of the classes, per picture and box."""
        return [[self.class_names[index] for index in one] for one in self.classes]


def choose_found(
    decoded: np.ndarray,
    *,
    score_threshold: float = 0.001,
    iou_threshold: float = 0.6,
    candidates: int = 300,
    limit: int = 100,
) -> np.ndarray:
    """[N, L, 6] float32 rows of x1, y1, x2, y2, score, label: what is kept of every anchor's boxes and scores, class by
    class, the surest first, filled up with zeros.

    Args:
        decoded: [N, A, 4 + K] float32, boxes and scores.
        score_threshold: boxes at or below it are dropped.
        iou_threshold: overlap, intersection over union, above which the less sure box is dropped.
        candidates: of each class before that, the surest.
        limit: L, of a picture after it, of all classes.
    """
    chosen = np.zeros((len(decoded), limit, COLUMNS), np.float32)
    for rows, picture in zip(chosen, decoded, strict=True):
        boxes, found = picture[:, :4], []
        for label, scores in enumerate(picture[:, 4:].T):
            order = np.argsort(-scores, kind="stable")[:candidates]
            order = order[scores[order] > score_threshold]
            kept = order[_apart(boxes[order], iou_threshold)]
            found.append(np.column_stack([boxes[kept], scores[kept], np.full(len(kept), label, np.float32)]))
        all_classes = np.concatenate(found)
        best = all_classes[np.argsort(-all_classes[:, 4], kind="stable")[:limit]]
        rows[: len(best)] = best
    return chosen


def boxes_in_picture(
    rows: np.ndarray, affine: np.ndarray, *, fitted: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """[M, 4] float32 boxes in pixels of a picture, cut at its edges.

    Args:
        rows: [M, 4] x1, y1, x2, y2 as shares of the fitted picture.
        affine: [2, 3] from coordinates of the picture to those of the fitted one (`limbeck.pictures.fit_affine`).
        fitted: (height, width) of the fitted picture.
        size: (height, width) of the picture.
    """
    corners = rows.astype(np.float64).reshape(-1, 2, 2) * (fitted[1], fitted[0])
    corners = (corners - affine[:, 2]) / np.diagonal(affine[:, :2])
    return np.clip(corners, 0, (size[1], size[0])).reshape(-1, 4).astype(np.float32)


def _apart(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """Places of boxes, the surest first, that no kept box before them overlaps by more than the threshold."""
    areas = np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1)
    left, kept = np.arange(len(boxes)), []
    while len(left):
        best, others = left[0], left[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[others, :2])
        high = np.minimum(boxes[best, 2:], boxes[others, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        whole = areas[best] + areas[others] - shared
        left = others[shared <= threshold * whole]
    return np.array(kept, np.int64)
