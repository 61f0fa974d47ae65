"""What pictures are annotated with where that is more than one class each, as sets, loaders and openers see it.

What does not live here: any one kind (`masks`, `boxes`, `points`), and which opener belongs to which kind (`open`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

from limbeck.data.raw import RawData, RawSplit
from limbeck.errors import InputError

if TYPE_CHECKING:
    from limbeck.data.augment import Augment

__all__ = ["OpenTargets", "OpenedTargets", "Targets", "check_annotated"]


class Targets(Protocol):
    """The annotations of some pictures, checked and ready; position i belongs to picture i of its set."""

    def __len__(self) -> int:
        """Number of pictures."""

    def take(self, indices: np.ndarray) -> Targets:
        """Those of only these pictures, in this order."""

    def changed(self, index: int, affine: np.ndarray, size: tuple[int, int]) -> Any:
        """One picture's annotation after the picture was moved.

        Args:
            index: which picture.
            affine: [2, 3] from coordinates of the original picture to those of what became of it (`placement`).
            size: (height, width) of what became of it.
        """

    def collate(self, samples: Sequence[Any]) -> Tensor:
        """What `changed` gave of N pictures as `Batch.target`."""

    def class_counts(self) -> np.ndarray:
        """[K] how often each class occurs: labelled pixels, boxes."""

    def identity(self) -> bytes:
        """Changes when an annotation does, not when files are moved."""


@dataclass
class OpenedTargets:
    """What looking at the annotations of some pictures gave.

    Attributes:
        targets: of those that can be used, in order.
        usable: [N] bool, which of the given pictures these are.
        errors: reason by raw row of each picture that is left out.
        notes: what was repaired, with counts, as lines for the report.
    """

    targets: Targets
    usable: np.ndarray
    errors: Mapping[int, str]
    notes: list[str] = field(default_factory=list)


class OpenTargets(Protocol):
    """Looks at every annotation once, before any training."""

    def __call__(
        self,
        raw: RawData,
        split: RawSplit,
        rows: np.ndarray,
        *,
        sizes: np.ndarray,
        class_names: tuple[str, ...],
        keep: bool,
        description: str,
        cache: Path | None = None,
    ) -> OpenedTargets:
        """Check the annotations of some pictures.

        Args:
            raw: the whole set, for what all splits have in common.
            split: the one that the pictures are of.
            rows: [N] which of its pictures; all of them can be read.
            sizes: [N, 2] their heights and widths.
            class_names: by index.
            keep: whether annotations are to be held in memory.
            description: of what is done, for a bar.
            cache: folder that remembers what looking gave.
        """


def check_annotated(name: str, augment: Augment | None, *, sampling: str, joins: bool, needs: Collection[str]) -> None:
    """Refuse what batches of pictures that are annotated place by place cannot be asked for.

    Args:
        name: of the data set.
        augment: how its pictures are changed.
        sampling: in which order they come.
        joins: whether pictures without annotations are to join them.
        needs: what else is asked of each picture.

    Raises:
        InputError: something needs one class per picture.
    """
    refused = None if augment is None else augment.refusal_with_targets()
    if sampling == "balanced":
        refused = "data.sampling = balanced needs one class per picture"
    elif joins:
        refused = "pictures without annotations cannot join"
    elif needs:
        refused = f"{', '.join(sorted(needs))}: further pictures in a batch need one class per picture"
    if refused:
        raise InputError(f"data '{name}': {refused}")
