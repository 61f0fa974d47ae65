"""Class weights for sets whose classes are not equally frequent. Balanced sampling is the loader's."""

from __future__ import annotations

import numpy as np

from limbeck.data.masks import MaskTargets
from limbeck.data.picture_set import PictureSet
from limbeck.data.signal_set import SignalSet
from limbeck.data.stream import PictureStream
from limbeck.errors import InputError

__all__ = ["balanced_weights", "class_weights", "median_frequency_weights"]


def balanced_weights(pictures: PictureSet | PictureStream | SignalSet) -> np.ndarray:
    """[K] float32 weights of a training set's classes: by how many pictures they have, or by their pixels in masks.

    Raises:
        InputError: pictures of another kind, or streamed ones.
    """
    if isinstance(pictures, PictureStream) or pictures.targets is None:
        return class_weights(pictures.labels, len(pictures.class_names))
    if isinstance(pictures.targets, MaskTargets):
        return median_frequency_weights(pictures.targets.counts)
    raise InputError("data.class_weights = balanced: for pictures with one class or a mask each; leave it out")


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


def median_frequency_weights(counts: np.ndarray) -> np.ndarray:
    """[K] float32: the median of the classes' frequencies over each class's own; a class without pixels gets 1.

    A class's frequency is its share of the labelled pixels of the pictures that it occurs in.

    Args:
        counts: [N, K] labelled pixels of each picture by class.

    **Source:** Eigen and Fergus 2015, arXiv 1411.4734, section 6.3.2.

    Example:
        >>> median_frequency_weights(np.array([[6, 2, 0], [8, 0, 8]])).round(3)   # 14/24, 2/8, 8/16
        array([0.857, 2.   , 1.   ], dtype=float32)
    """
    present = counts.sum(0) > 0
    around = ((counts > 0) * counts.sum(1, keepdims=True)).sum(0)  # labelled pixels of the pictures with each class
    frequency = counts.sum(0)[present] / around[present]
    weights = np.ones(counts.shape[1])
    weights[present] = np.median(frequency) / frequency
    return weights.astype(np.float32)
