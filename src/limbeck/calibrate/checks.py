"""The one check of scores and targets that every calibration figure makes first, so that bad input is told in one line.

Not here: any figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from limbeck.errors import InputError

__all__ = ["checked_probabilities", "checked_scores"]


def checked_scores(scores: Any, target: Any, *, what: str = "logits") -> tuple[np.ndarray, np.ndarray]:
    """Return `scores` as [N, K] float64 and `target` as [N] int64.

    Raises:
        InputError: empty set, wrong shapes, values that are not finite, or targets outside 0..K-1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    target = np.asarray(target)
    if scores.ndim != 2 or scores.shape[1] < 1:
        raise InputError(f"calibration: {what} must have shape [samples, classes], not {list(scores.shape)}")
    if target.ndim != 1 or len(target) != len(scores):
        raise InputError(
            f"calibration: target must hold one class per sample: shape [{len(scores)}], not {list(target.shape)}"
        )
    if len(scores) == 0:
        raise InputError("calibration: the set is empty; at least one labelled sample is needed")
    if not np.isfinite(scores).all():
        raise InputError(f"calibration: {what} hold values that are not finite; the network or its input is broken")
    if target.dtype.kind not in "iu":
        raise InputError(f"calibration: target must hold whole class numbers, not {target.dtype}")
    classes = scores.shape[1]
    if target.min() < 0 or target.max() >= classes:
        worst = int(target.min() if target.min() < 0 else target.max())
        raise InputError(f"calibration: target {worst} is outside 0..{classes - 1}; leave unlabelled samples out")
    return scores, target.astype(np.int64)


def checked_probabilities(probabilities: Any, target: Any, bins: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """As `checked_scores`, for rows that must be distributions, and a number of bins.

    Raises:
        InputError: as `checked_scores`; or rows that are negative or do not sum to 1, or no bins.
    """
    probabilities, target = checked_scores(probabilities, target, what="probabilities")
    # 1e-3: half-precision softmax rows of 1000 classes still pass, logits and unnormalised scores do not
    if probabilities.min() < -1e-6 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
        raise InputError("calibration: each row of probabilities must sum to 1 (apply softmax to logits first)")
    if bins < 1:
        raise InputError(f"calibration: bins = {bins}: at least 1 is needed")
    return probabilities, target
