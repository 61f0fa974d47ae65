"""Class weights for sets whose classes are not equally frequent. Balanced sampling is the loader's."""

from __future__ import annotations

import numpy as np

__all__ = ["class_weights"]


def class_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """[K] float32 weights inverse to class frequency; their mean over the labelled samples is 1, a class without
    samples gets 1.

    Example:
        >>> class_weights(np.array([0, 0, 0, 1, -1]), 2).round(2)
        array([0.67, 2.  ], dtype=float32)
    """
    counts = np.bincount(labels[labels >= 0], minlength=num_classes)
    present = counts > 0
    weights = np.ones(num_classes)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)
