"""Which found boxes are right at which overlap, and the average precision that follows, for any number of copies of each
picture: what a bootstrap over pictures needs, which no library offers.

What does not live here: the figures that are reported (`detection`, by torchmetrics), choosing boxes (`models.heads`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["IOU_THRESHOLDS", "RECALLS", "Matches", "match_boxes"]

IOU_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALLS = tuple(np.linspace(0.0, 1.0, 101).tolist())

_TINY = np.spacing(1)  # a precision of nothing found is 0


@dataclass(frozen=True)
class _ClassMatches:
    """Found boxes of one class, the surest first.

    Attributes:
        picture: [D] index of each one's picture.
        right: [T, D] bool, whether it hits a box that nothing surer took.
        wrong: [T, D] bool, whether it does not; neither where it hits a crowd.
        truths: [N] number of true boxes in each picture, crowds left out.
    """

    picture: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    truths: np.ndarray

    def average_precisions(self, counts: np.ndarray) -> np.ndarray:
        """[T], NaN where there are no true boxes."""
        total = self.truths @ counts
        if total <= 0:
            return np.full(len(self.right), np.nan)
        weights = counts[self.picture]
        hits, misses = np.cumsum(self.right * weights, axis=1), np.cumsum(self.wrong * weights, axis=1)
        precision = hits / (hits + misses + _TINY)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # the best at this recall or beyond
        recall = hits / total
        found = np.zeros(len(recall))
        for i, (row, best) in enumerate(zip(recall, precision, strict=True)):
            places = np.searchsorted(row, RECALLS, side="left")
            found[i] = best[places[places < len(row)]].sum() / len(RECALLS)
        return found


@dataclass(frozen=True)
class Matches:
    """The found and the true boxes of N pictures, compared once.

    Attributes:
        pictures: N.
        classes: of each class.
    """

    pictures: int
    classes: tuple[_ClassMatches, ...]

    def average_precisions(self, counts: np.ndarray | None = None) -> np.ndarray:
        """[K, T] average precision of each class at each of `IOU_THRESHOLDS`, NaN where it has no true box.

        Args:
            counts: [N] how often each picture is in the sample, 0 included; None = once.
        """
        counts = np.ones(self.pictures) if counts is None else np.asarray(counts, np.float64)
        return np.stack([one.average_precisions(counts) for one in self.classes])

    def per_class(self, counts: np.ndarray | None = None) -> np.ndarray:
        """[K] average precision of each class, the mean over `IOU_THRESHOLDS`; NaN where it has no true box."""
        return self.average_precisions(counts).mean(1)

    def map(self, counts: np.ndarray | None = None) -> float:
        """The mean over the classes that have true boxes; NaN where none has. `counts` as in `average_precisions`."""
        found = self.per_class(counts)
        return float(found[~np.isnan(found)].mean()) if not np.isnan(found).all() else float("nan")


def match_boxes(kept: np.ndarray, target: np.ndarray, num_classes: int, *, limit: int = 100) -> Matches:
    """Compare what was found with what is there.

    Args:
        kept: [N, L, 6] rows of x1, y1, x2, y2, score, label; score 0 = no box.
        target: [N, M, 5] rows of class, x1, y1, x2, y2 in the same unit; -1 = no box, -2 - k = a crowd of class k.
        num_classes: K.
        limit: boxes of one picture and class that count, the surest.

    **Source:** the COCO evaluation (Lin et al. 2014, arXiv 1405.0312, and its published code), over all areas: within a
    picture and class the surest box chooses first, the true box that it overlaps most of those still free; what hits only
    a crowd, by the share of the box inside it, counts neither way; precision is read at 101 recalls.
    """
    classes = target[:, :, 0].astype(np.int64)
    scores, labels = kept[:, :, 4], kept[:, :, 5].astype(np.int64)
    matched = []
    for label in range(num_classes):
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        truths = (classes == label).sum(1)
        for n in np.flatnonzero(((labels == label) & (scores > 0)).any(1)):
            own = np.flatnonzero((labels[n] == label) & (scores[n] > 0))
            own = own[np.argsort(-scores[n, own], kind="stable")][:limit]
            real, crowd = target[n, classes[n] == label, 1:], target[n, classes[n] == -2 - label, 1:]
            hit, ignored = _match(kept[n, own, :4].astype(np.float64), real, crowd)
            parts.append((np.full(len(own), n), scores[n, own], hit, ~hit & ~ignored))
        if not parts:
            nothing = np.zeros((len(IOU_THRESHOLDS), 0), bool)
            matched.append(_ClassMatches(np.zeros(0, np.int64), nothing, nothing, truths))
            continue
        picture, score, right, wrong = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        order = np.argsort(-score, kind="stable")
        matched.append(_ClassMatches(picture[order], right[:, order], wrong[:, order], truths))
    return Matches(len(kept), tuple(matched))


def _match(found: np.ndarray, real: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[T, D] whether each found box, the surest first, hits a true box; [T, D] whether it hits a crowd at least."""
    thresholds = np.array(IOU_THRESHOLDS)
    hit = np.zeros((len(thresholds), len(found)), bool)
    overlaps = _overlaps(found, real)
    free = np.ones((len(thresholds), len(real)), bool)
    for d in np.flatnonzero(overlaps.max(1, initial=0.0) >= thresholds[0]):
        enough = np.where(free & (overlaps[d] >= thresholds[:, None]), overlaps[d], -1.0)
        best = enough.shape[1] - 1 - enough[:, ::-1].argmax(1)  # of equal ones the last, as COCO's loop has it
        hit[:, d] = enough.max(1) >= 0
        free[hit[:, d], best[hit[:, d]]] = False
    inside = _overlaps(found, crowd, of_found=True).max(1, initial=0.0)
    return hit, ~hit & (inside >= thresholds[:, None])


def _overlaps(found: np.ndarray, other: np.ndarray, *, of_found: bool = False) -> np.ndarray:
    """[D, G] intersection over union, or over the found box's own area."""
    low = np.maximum(found[:, None, :2], other[None, :, :2])
    high = np.minimum(found[:, None, 2:], other[None, :, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=2)
    own = np.prod(found[:, 2:] - found[:, :2], axis=1)[:, None]
    whole = own if of_found else own + np.prod(other[:, 2:] - other[:, :2], axis=1)[None] - inside
    return np.divide(inside, whole, out=np.zeros_like(inside), where=whole > 0)
