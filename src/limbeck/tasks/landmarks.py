"""Landmarks: the supervised loss of networks that give the places of points, and the figures that they are judged by.

Not here: the losses themselves (`losses`), which points stand where (`point_schemes`), how points move (`data.points`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import InputError, unknown_name
from limbeck.losses import landmark_l1, landmark_l2, landmark_main, landmark_smooth_l1, wing
from limbeck.losses.wing import adaptive_wing
from limbeck.point_schemes import PointScheme, as_ends, scheme_of

__all__ = [
    "LandmarkMetric",
    "Landmarks",
    "auc",
    "ced",
    "compat_auc",
    "failure_rate",
    "figures_by_subset",
    "figures_of_errors",
    "nme",
]

Normalizer = str | Sequence[int | Sequence[int]]

BOX = "box"
"""The normaliser that any points have: the root of the area of their box."""

THRESHOLDS = {"8": 0.08, "10": 0.10}
"""Errors beyond which a picture counts as failed, and up to which areas are taken, by their names in figures."""

CRITERIA = {
    "landmark_main": landmark_main,
    "landmark_l1": landmark_l1,
    "landmark_l2": landmark_l2,
    "landmark_smooth_l1": landmark_smooth_l1,
    "wing": wing,
    "adaptive_wing": adaptive_wing,
}
"""Losses of points that need no teacher."""


class Landmarks:
    """The places of L points, as shares of the picture; NaN in a target is unknown: neither learned nor judged.

    Args:
        num_classes: L, number of points.
        scheme: what errors may be divided by; None = the known one of so many points.
        normalizer: what `nme` is divided by; None = the scheme's `inter_ocular`, and `box` where it has none.
        image_size: (height, width) of the pictures, in whose pixels distances are where nobody says their own sizes; None =
            they are square.
        loss: of `CRITERIA`.
        soften: what is learned in place of the target, such as `ShapeModel.soften`; None = the target.

    Raises:
        InputError: no points, a scheme of another number, an unknown normaliser or loss.
    """

    name = "landmarks"
    target_kind = "points"
    primary = "nme"
    higher_is_better = False

    def __init__(
        self,
        num_classes: int,
        *,
        scheme: PointScheme | None = None,
        normalizer: Normalizer | None = None,
        image_size: tuple[int, int] | None = None,
        loss: str = "landmark_main",
        soften: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if num_classes < 1:
            raise InputError(f"landmarks: needs at least 1 point, not {num_classes}")
        if loss not in CRITERIA:
            raise unknown_name("loss", loss, CRITERIA, where="landmarks")
        self.points, self.image_size = num_classes, image_size
        self.scheme = scheme or scheme_of(num_classes) or PointScheme(f"points{num_classes}", num_classes, None, {})
        if self.scheme.points != num_classes:
            raise InputError(
                f"landmarks: point scheme '{self.scheme.name}' has {self.scheme.points} points, not {num_classes}"
            )
        default = "inter_ocular" if "inter_ocular" in self.scheme.normalizers else BOX
        self.normalizer: Normalizer = default if normalizer is None else normalizer
        _find_ends(self.normalizer, num_classes, self.scheme)
        self._loss, self._soften = CRITERIA[loss], soften

    def criterion(self, out: Tensor, target: Tensor) -> Tensor:
        """The loss, mean over batch and known coordinates.

        Args:
            out: [N, 2L] or [N, L, 2] shares of the picture.
            target: [N, L, 2] the same, NaN = unknown.

        Raises:
            InputError: shapes that do not fit.
        """
        self._check(out, target)
        return self._loss(out, target=target if self._soften is None else self._soften(target))

    def errors(
        self,
        out: Tensor | np.ndarray,
        target: Tensor | np.ndarray,
        normalizer: Normalizer | None = None,
        *,
        sizes: np.ndarray | None = None,
    ) -> np.ndarray:
        """[N] error of each picture as `nme` has it, NaN where it cannot be judged; by this task's normaliser, or another.

        `sizes` is [N, 2], (height, width) of what each picture shows in its own pixels, in which distances then are: a
        stretched crop has others than the picture that it was cut from.
        """
        self._check(out, target)
        chosen = self.normalizer if normalizer is None else normalizer
        size = self.image_size if sizes is None else sizes
        return nme(_pairs(out), _pairs(target), chosen, image_size=size, scheme=self.scheme)

    def normalizers(self) -> dict[str, Normalizer]:
        """What each figure is divided by: `nme` by this task's, and `nme_NAME` by every other that the scheme has."""
        others = {f"nme_{name}": name for name in self.scheme.normalizers if name != self.normalizer}
        return {self.primary: self.normalizer, **others}

    def metric(self, *, sizes: np.ndarray | None = None) -> LandmarkMetric:
        """A fresh accumulator of what `figures_of_errors` gives, and the error by every normaliser of the scheme; `sizes` as
        `errors` has it, of all pictures in the order in which they will come.
        """
        return LandmarkMetric(self, sizes)

    def figures(
        self, out: Tensor | np.ndarray, target: Tensor | np.ndarray, *, sizes: np.ndarray | None = None
    ) -> dict[str, float]:
        """The metric of a whole data set at once."""
        metric = self.metric(sizes=sizes)
        metric.update(torch.as_tensor(out), torch.as_tensor(target))
        return metric.compute()

    def _check(self, out: Tensor | np.ndarray, target: Tensor | np.ndarray) -> None:
        given, wanted = tuple(out.shape), (len(target), 2 * self.points)
        if given not in (wanted, (len(target), self.points, 2)) or tuple(target.shape) != (len(target), self.points, 2):
            raise InputError(
                f"landmarks: outputs {list(given)} and targets {list(target.shape)} do not fit; expected {list(wanted)} "
                f"and {[len(target), self.points, 2]} for {self.points} points"
            )


class LandmarkMetric:
    """Accumulates over batches; every picture counts alike, those that cannot be judged are left out."""

    def __init__(self, task: Landmarks, sizes: np.ndarray | None = None) -> None:
        self._task, self._sizes, self._seen = task, sizes, 0
        self._errors: dict[str, list[np.ndarray]] = {name: [] for name in task.normalizers()}

    @torch.no_grad()
    def update(self, out: Tensor, target: Tensor) -> None:
        """Add a batch: [N, 2L] or [N, L, 2] and [N, L, 2], both shares of the picture.

        Raises:
            InputError: shapes that do not fit.
        """
        first, self._seen = self._seen, self._seen + len(target)
        sizes = None if self._sizes is None else self._sizes[first : self._seen]
        for name, normalizer in self._task.normalizers().items():
            self._errors[name].append(self._task.errors(out, target, normalizer, sizes=sizes))

    def compute(self) -> dict[str, float]:
        """The figures over everything added.

        Raises:
            InputError: no picture could be judged.
        """
        found = {name: np.concatenate([np.zeros(0), *parts]) for name, parts in self._errors.items()}
        figures = figures_of_errors(found.pop(Landmarks.primary))
        others = {name: float(np.nanmean(errors)) for name, errors in found.items() if not np.isnan(errors).all()}
        return {**figures, **others}


def nme(
    predicted: Tensor | np.ndarray,
    true: Tensor | np.ndarray,
    normalizer: Normalizer = "inter_ocular",
    *,
    image_size: tuple[int, int] | np.ndarray | None = None,
    scheme: PointScheme | None = None,
) -> np.ndarray:
    """[N] normalised mean error: the mean distance of the known points over a distance within the true ones; 0.04 = 4 %.

    NaN where no point is known, or what is divided by is unknown or 0: of the truth alone. Infinite where a prediction of
    a known point is no number.

    Args:
        predicted: [N, L, 2] in any unit; [L, 2] of one picture gives a 0-d array.
        true: the same, NaN = unknown.
        normalizer: a name of the scheme's, as `inter_ocular` (outer corners of the eyes) or `inter_pupil` (their middles);
            `box`, the root of the area of the true points' box; or two points, or two lists of points whose centres are meant.
        image_size: (height, width) where the points are shares of the picture and it is not square: distances are those
            of its pixels; [N, 2] where pictures differ.
        scheme: of the points; None = the known one of so many.

    Raises:
        InputError: shapes that differ, or an unknown normaliser.

    Example:
        >>> true = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]])
        >>> round(float(nme(true + [0.6, 0.8], true, (0, 1))), 3)         # each point is 1 off, the first two are 10 apart
        0.1
    """
    found, truth = (_as_numpy(points) for points in (predicted, true))
    if found.shape != truth.shape or truth.ndim not in (2, 3) or truth.shape[-1] != 2:
        raise InputError(
            f"nme: predicted {list(found.shape)} and true {list(truth.shape)} do not fit; expected [N, L, 2] of both"
        )
    if truth.ndim == 2:
        return nme(found[None], truth[None], normalizer, image_size=image_size, scheme=scheme)[0]
    if image_size is not None:
        sides = np.broadcast_to(np.asarray(image_size, np.float64), (len(truth), 2))[:, None, ::-1]
        found, truth = found * sides, truth * sides
    distance = np.linalg.norm(found - truth, axis=2)
    distance = np.where(np.isnan(found).any(2), np.inf, distance)
    known = ~np.isnan(truth).any(2)
    mean = np.where(known, distance, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    ends = _find_ends(normalizer, truth.shape[1], scheme)
    if ends is None:
        low = np.where(known[:, :, None], truth, np.inf).min(1)
        high = np.where(known[:, :, None], truth, -np.inf).max(1)
        size = np.sqrt(np.prod(np.maximum(high - low, 0.0), axis=1, where=known.any(1)[:, None]))
    else:
        first, second = (truth[:, list(points)].mean(1) for points in ends)
        size = np.linalg.norm(first - second, axis=1)
    usable = known.any(1) & (size > 0)
    return np.where(usable, mean / np.where(usable, size, 1.0), np.nan)


def failure_rate(errors: np.ndarray, threshold: float = 0.10) -> float:
    """Share of pictures whose error is above a threshold, of those that can be judged."""
    return float((_judged(errors) > threshold).mean())


def auc(errors: np.ndarray, threshold: float = 0.10) -> float:
    """Area under the cumulative error distribution from 0 to a threshold, over the threshold: 1 = no error at all.

    Example:
        >>> round(auc(np.array([0.02, 0.05, 0.2])), 4)               # 0.8, 0.5 and 0 of the way
        0.4333
    """
    return float(np.maximum(0.0, threshold - _judged(errors)).mean() / threshold)


def ced(errors: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """[T] the cumulative error distribution: share of pictures whose error is at most each threshold."""
    return np.searchsorted(np.sort(_judged(errors)), np.asarray(thresholds), side="right") / len(_judged(errors))


def compat_auc(errors: np.ndarray) -> float:
    """What Fard and Mahoor's code calls AUC, to compare with their tables only: at most 0.95, far above `auc`.

    The distribution at 20 thresholds from 0 to 0.1, cumulated, with the trapezoid rule's axes swapped.

    **Source:** their published evaluation code of arXiv 2111.07047.
    """
    thresholds = np.linspace(0.0, 0.1, 20)
    shares = ced(errors, thresholds)
    return float((shares[1:] * (thresholds[1:] + thresholds[:-1]) / 2).sum())


def figures_of_errors(errors: np.ndarray) -> dict[str, float]:
    """`nme`, the mean of the pictures that can be judged; `failure_rate_8` and `failure_rate_10`, shares of them with an
    error above 0.08 and 0.10; `auc_8` and `auc_10` up to there.

    Raises:
        InputError: none can be judged.
    """
    found: dict[str, float] = {"nme": float(_judged(errors).mean())}
    for name, threshold in THRESHOLDS.items():
        found |= {f"failure_rate_{name}": failure_rate(errors, threshold), f"auc_{name}": auc(errors, threshold)}
    return found


def figures_by_subset(errors: np.ndarray, subsets: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """`figures_of_errors` and `count`, how many can be judged, of each part of a set in which any can.

    Args:
        errors: [N].
        subsets: name -> [N] bool.
    """
    judged = ~np.isnan(errors)
    counts = {name: int((judged & mask).sum()) for name, mask in subsets.items()}
    return {
        name: {"count": count, **figures_of_errors(errors[subsets[name]])} for name, count in counts.items() if count
    }


def _judged(errors: np.ndarray) -> np.ndarray:
    found = np.asarray(errors, np.float64)
    found = found[~np.isnan(found)]
    if not len(found):
        raise InputError("landmarks: no picture has points that can be judged")
    return found


def _find_ends(
    normalizer: Normalizer, points: int, scheme: PointScheme | None
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The two sets of points whose distance is meant; None = the box of all."""
    if not isinstance(normalizer, str):
        return as_ends(normalizer, points, where="normalizer")
    if normalizer == BOX:
        return None
    found = scheme or scheme_of(points)
    known = {} if found is None else found.normalizers
    if normalizer not in known:
        where = f"the points of '{found.name}'" if found is not None else f"{points} points of no known order"
        raise unknown_name("normalizer", normalizer, [*known, BOX], where=where)
    return known[normalizer]


def _as_numpy(points: Tensor | np.ndarray) -> np.ndarray:
    found = points.detach().cpu().numpy() if isinstance(points, Tensor) else np.asarray(points)
    return found.astype(np.float64)


def _pairs(points: Tensor | np.ndarray) -> np.ndarray:
    found = _as_numpy(points.float() if isinstance(points, Tensor) and points.dtype == torch.bfloat16 else points)
    return found.reshape(len(found), -1, 2)
