"""What a batch may carry of each sample beside its picture, by the name that an objective asks for: the same picture
changed anew, or another of its class.

What does not live here: reading and changing pictures, batches (`batches`).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from limbeck.data.augment import Stream
from limbeck.data.draws import Draws
from limbeck.errors import InputError

__all__ = ["CLASSMATE_COPY", "SAME_CLASS", "Classmates", "view_copies"]

SAME_CLASS = "same_class"
COPY = 1 << 32  # apart from every `repeat` of balanced sampling: the further copies of a sample within one view
CLASSMATE_COPY = -COPY


def view_copies(needs: Collection[str]) -> dict[str, int]:
    """`inputs` and each further view that is needed -> what is added to `repeat` where it is drawn.

    Raises:
        InputError: a need that no batch can carry.
    """
    copies = {"inputs": 0}
    for need in sorted(needs):
        if found := re.fullmatch(r"view([2-9]|[1-9]\d+)", need):
            copies[need] = (int(found.group(1)) - 1) * COPY
        elif need != SAME_CLASS:
            raise InputError(f"batches cannot carry '{need}'; they can: {SAME_CLASS}, view2, view3 ...")
    return copies


@dataclass(frozen=True)
class Classmates:
    """The samples of a set by class, for drawing one of each sample's own.

    Attributes:
        members: [M] indices, class by class.
        starts: [K] where a class begins in `members`.
        sizes: [K] how many it has.
    """

    members: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, num_classes: int) -> Classmates:
        """Those of a set with these labels; -1 = unlabelled, in no class."""
        order = np.argsort(labels, kind="stable")
        sizes = np.bincount(labels[labels >= 0], minlength=num_classes)
        return cls(order[len(labels) - sizes.sum() :], np.concatenate([[0], sizes.cumsum()[:-1]]), sizes)

    def draw(self, draws: Draws, index: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """[N] a sample of each one's class, itself perhaps; of an unlabelled one itself.

        **Source:** the pairs of Yun, Park, Lee, Shin, "Regularizing Class-wise Predictions via Self-knowledge
        Distillation", CVPR 2020, arXiv 2003.13964, as their code draws them.
        """
        known = labels >= 0
        found = index.copy()
        place = draws.integers(Stream.SAME_CLASS, 0, self.sizes[labels])
        found[known] = self.members[self.starts[labels[known]] + place[known]]
        return found
