"""What generator and readers of signals give (`Signals`), and what every set of frames is checked for.

Not here: where frames come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.errors import InputError

__all__ = ["Signals", "check_frames", "check_signals"]

SLICE = 4096  # frames looked at together


@dataclass(frozen=True)
class Signals:
    """Frames with their classes.

    Attributes:
        X: [N, 2, L] float32, in phase and quadrature; may lie on disk.
        y: [N] int64, indices into `classes`.
        snr: [N] float32, in dB, as whoever made the set counts it; None where it is unknown.
        classes: names.
        groups: [N] int64, recordings; frames of one must not be split. None = every frame stands alone.
        names: of the recordings, by group.
    """

    X: np.ndarray
    y: np.ndarray
    snr: np.ndarray | None
    classes: tuple[str, ...]
    groups: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def cells(self) -> np.ndarray:
        """[N] int64, a number for each pair of class and SNR: what splits are stratified by."""
        if self.snr is None:
            return self.y.astype(np.int64)
        _, level = np.unique(self.snr, return_inverse=True)
        return self.y * (int(level.max()) + 1) + level.reshape(-1)


def check_frames(frames: np.ndarray, *, where: str, first: int = 0) -> None:
    """Check some frames' values.

    Args:
        frames: [n, 2, L].
        where: for errors.
        first: number of the first of them.

    Raises:
        InputError: a frame holds NaN or infinity, or no power at all.
    """
    flat = frames.reshape(len(frames), -1)
    wrong = np.flatnonzero(~np.isfinite(flat).all(1))
    if len(wrong):
        raise InputError(f"{where}: frame {first + wrong[0]} holds a value that is not finite ({len(wrong)} such)")
    silent = np.flatnonzero(~flat.any(1))
    if len(silent):
        raise InputError(f"{where}: frame {first + silent[0]} is all zeros ({len(silent)} such); leave them out")


def slices(count: int) -> Iterator[slice]:
    """0 to `count` in pieces."""
    for start in range(0, count, SLICE):
        yield slice(start, min(start + SLICE, count))


def check_signals(found: Signals, *, where: str, look_at_values: bool = True) -> Signals:
    """The same signals, if they are whole.

    Args:
        found: as they were read.
        where: for errors.
        look_at_values: False = the frames' own were looked at when the set was written.

    Raises:
        InputError: frames of another shape, lengths that differ, labels out of range, values that are not finite, a
            class without frames, or without any at an SNR that others have.
    """
    X, y, snr = found.X, found.y, found.snr
    if X.ndim != 3 or X.shape[1] != 2 or X.dtype != np.float32:
        hint = "; swap its last two axes" if X.ndim == 3 and X.shape[2] == 2 else ""
        raise InputError(f"{where}: frames must be [N, 2, samples] float32, not {list(X.shape)} {X.dtype}{hint}")
    if not len(X):
        raise InputError(f"{where}: holds no frame")
    for name, values in (("y", y), ("snr", snr), ("groups", found.groups)):
        if values is not None and values.shape != (len(X),):
            raise InputError(f"{where}: {len(X)} frames, but {name} is {list(values.shape)}")
    if snr is not None and not np.isfinite(snr).all():
        raise InputError(f"{where}: snr holds a value that is not finite")
    if y.min() < 0 or y.max() >= len(found.classes):
        wrong = y.min() if y.min() < 0 else y.max()
        raise InputError(f"{where}: label {wrong} is outside of 0 .. {len(found.classes) - 1}")
    # what was recorded has the SNR that it had; what was made, or sorted into cells, has all of them
    check_cells(y, snr if found.groups is None else None, found.classes, where=where)
    for piece in slices(len(X)) if look_at_values else ():
        check_frames(X[piece], where=where, first=piece.start)
    return found


def check_cells(y: np.ndarray, snr: np.ndarray | None, classes: Sequence[str], *, where: str) -> None:
    """Check that every class has frames, at every SNR.

    Raises:
        InputError: one has not.
    """
    levels, level = (np.zeros(1), np.zeros(len(y), np.intp)) if snr is None else np.unique(snr, return_inverse=True)
    counts = np.bincount(y * len(levels) + level.reshape(-1), minlength=len(classes) * len(levels))
    empty = np.argwhere(counts.reshape(len(classes), -1) == 0)
    if len(empty):
        name, at = classes[empty[0][0]], "" if snr is None else f" at {levels[empty[0][1]]:g} dB"
        more = f" ({len(empty)} such)" if len(empty) > 1 else ""
        raise InputError(f"{where}: class '{name}' has no frame{at}{more}; add some, or leave the class or the SNR out")
