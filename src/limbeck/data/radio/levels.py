"""Levels of SNR, and the cells of class and level that sets are divided, counted and judged by. Not here: reading either."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from limbeck.errors import InputError

__all__ = ["STEP", "cell_numbers", "check_cells", "count_cells", "missing_cells", "snr_levels"]

MOST = 64  # levels that were set; what has more of them was measured
SHARED = 8  # frames that usually have one level where those were set to broken numbers
STEP = 2.0  # dB between the levels that a measured SNR is rounded to: as the sets of RadioML have it


def snr_levels(snr: np.ndarray) -> np.ndarray:
    """[N] float32, the level of each frame in dB: its SNR where those were set, the nearest multiple of 2 dB where they
    were measured.

    Few different values (at most 64), of whole decibels or each shared by frames (8 and more of most), were set.

    Args:
        snr: [N] of a whole set: the levels of a part of it are those of the whole.

    Example:
        >>> snr_levels(np.array([5, 5, -3])).tolist(), snr_levels(np.array([4.71, 5.02, -2.9])).tolist()
        ([5.0, 5.0, -3.0], [4.0, 6.0, -2.0])
    """
    snr = np.asarray(snr, np.float32)
    values, counts = np.unique(snr, return_counts=True)
    if len(values) <= MOST and ((values == np.round(values)).all() or np.median(counts) >= SHARED):
        return snr
    return np.round(snr / np.float32(STEP)) * np.float32(STEP) + np.float32(0)  # + 0: -0.0 is 0.0


def cell_numbers(y: np.ndarray, levels: np.ndarray | None) -> np.ndarray:
    """[N] int64, a number for each pair of class and level; for each class where those are unknown."""
    if levels is None:
        return y.astype(np.int64)
    values, level = np.unique(levels, return_inverse=True)
    return y * len(values) + level.reshape(-1)


def count_cells(y: np.ndarray, levels: np.ndarray | None, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The levels, from low to high, and [classes, levels] frames at each; one level, 0, where those are unknown."""
    values = np.zeros(1) if levels is None else np.unique(levels)
    counts = np.bincount(cell_numbers(y, levels), minlength=classes * len(values))
    return values, counts.reshape(classes, len(values))


def missing_cells(y: np.ndarray, levels: np.ndarray | None, classes: Sequence[str]) -> str | None:
    """A clause on the first class without frames, or without any at a level that others have; None = there is none."""
    values, counts = count_cells(y, levels, len(classes))
    empty = np.argwhere(counts == 0)
    if not len(empty):
        return None
    name, at = classes[empty[0][0]], "" if levels is None else f" at {values[empty[0][1]]:g} dB"
    return f"class '{name}' has no frame{at}" + (f" ({len(empty)} such)" if len(empty) > 1 else "")


def check_cells(y: np.ndarray, levels: np.ndarray | None, classes: Sequence[str], *, where: str) -> None:
    """Check that every class has frames, at every level.

    Raises:
        InputError: one has not.
    """
    missing = missing_cells(y, levels, classes)
    if missing is not None:
        raise InputError(f"{where}: {missing}; add some, or leave the class or the SNR out")
