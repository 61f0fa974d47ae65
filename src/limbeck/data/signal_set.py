"""Frames of signals with their classes, checked and ready: one split. Pictures are `picture_set`'s.

What does not live here: reading or making frames (`radio`), dividing them (`signal_splits`), batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from limbeck.data.radio.levels import cell_numbers
from limbeck.data.split import choose_rows

__all__ = ["SignalSet"]


@dataclass(frozen=True)
class SignalSet:
    """Frames of one length; read-only, and cheap to cut into subsets. What a `PictureSet` has for all samples it has too.

    Attributes:
        name: of the data set.
        split: `train`, `validation` or `test`.
        class_names: by index.
        labels: [N] int64.
        snr: [N] float32 in dB; None where it is unknown.
        levels: [N] float32 in dB, the level that each frame counts to: what is told by SNR is told by these.
        image_size: (1, samples of a frame), as networks for signals take it.
        fit: nothing is cut or padded; as a `PictureSet` has it.
        targets: None: one class each.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    snr: np.ndarray | None
    levels: np.ndarray | None
    image_size: tuple[int, int]
    _frames: np.ndarray = field(repr=False)
    _rows: np.ndarray = field(repr=False)
    _sources: tuple[str, ...] = field(default=(), repr=False)
    _groups: np.ndarray | None = field(default=None, repr=False)
    fit: str = "none"
    targets: None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_in_memory(self) -> bool:
        """Whether reading a frame costs nothing; mapped ones are kept by the system as memory allows."""
        return True

    def samples(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """[N, 2, T] float32 of several frames, in phase and quadrature: a copy."""
        rows = self._rows[np.asarray(indices, np.int64)]
        order = np.argsort(rows, kind="stable")  # what is mapped is read from front to back
        found = np.empty((len(rows), *self._frames.shape[1:]), np.float32)
        found[order] = self._frames[rows[order]]
        return found

    def source(self, index: int) -> str:
        """How reports call the frame: its number, of its recording where it is of one."""
        row = int(self._rows[index])
        if self._groups is None:
            return f"{self.name}[{row}]"
        group = int(self._groups[row])
        named = self._sources[group] if group < len(self._sources) else f"recording {group}"
        return f"{named}[{row - int(np.argmax(self._groups == group))}]"

    def cells(self) -> np.ndarray:
        """[N] int64, a number for each pair of class and SNR."""
        return cell_numbers(self.labels, self.levels)

    def take(self, indices: Sequence[int] | np.ndarray) -> SignalSet:
        """The set of only these frames, in this order."""
        indices = np.asarray(indices, np.int64)
        snr, levels = (None if values is None else values[indices] for values in (self.snr, self.levels))
        return replace(self, labels=self.labels[indices], snr=snr, levels=levels, _rows=self._rows[indices])

    def limited(self, limit: int, *, seed: int = 0) -> SignalSet:
        """A subset of at most `limit` frames, stratified by class and SNR, in the old order."""
        return self if limit >= len(self) else self.take(choose_rows(self.cells(), limit, seed=seed))

    def class_counts(self) -> np.ndarray:
        """[K] number of frames of each class."""
        return np.bincount(self.labels, minlength=len(self.class_names))
