"""What generator and readers of signals give (`Signals`), and what every set of frames is checked for.

Not here: where frames come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from limbeck.data.radio.levels import cell_numbers, snr_levels
from limbeck.errors import InputError

__all__ = ["Signals", "check_frames", "check_signals"]

SLICE = 4096  # frames looked at together
SHORTEST_FRAME = 16  # samples
LONGEST_NAME = 200  # characters
HIGHEST_SNR = 1000  # dB, either side of 0: what lies beyond is meant for something else


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
        levels: [N] float32, the level of SNR that each frame counts to (`snr_levels`); None = as the SNR has it.
        left_out: (source, reason) of what gave no frame.
        notes: lines on the set as a whole, for reports.
    """

    X: np.ndarray
    y: np.ndarray
    snr: np.ndarray | None
    classes: tuple[str, ...]
    groups: np.ndarray | None = None
    names: tuple[str, ...] = ()
    levels: np.ndarray | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.levels is None and self.snr is not None:
            object.__setattr__(self, "levels", snr_levels(self.snr))

    def __len__(self) -> int:
        return len(self.y)

    def cells(self) -> np.ndarray:
        """[N] int64, a number for each pair of class and SNR: what splits are stratified by."""
        return cell_numbers(self.y, self.levels)

    @property
    def is_measured(self) -> bool:
        """Whether frames have each an SNR of its own, which is rounded to levels."""
        return self.snr is not None and self.levels is not None and not np.array_equal(self.snr, self.levels)

    @property
    def full_cells(self) -> np.ndarray | None:
        """[N] levels that every class is to have frames at; None = of what was recorded or measured no class has to."""
        return None if self.groups is not None or self.is_measured else self.levels


def check_frames(frames: np.ndarray, *, where: str, numbers: Sequence[int] | np.ndarray | None = None) -> None:
    """Check some frames' values.

    Args:
        frames: [n, 2, L].
        where: for errors.
        numbers: of the frames, for errors; None = from 0 on.

    Raises:
        InputError: a frame holds NaN or infinity, or no power at all.
    """
    flat = frames.reshape(len(frames), -1)
    numbers = range(len(frames)) if numbers is None else numbers
    wrong = np.flatnonzero(~np.isfinite(flat).all(1))
    if len(wrong):
        raise InputError(f"{where}: frame {numbers[wrong[0]]} holds a value that is not finite ({len(wrong)} such)")
    silent = np.flatnonzero(~flat.any(1))
    if len(silent):
        raise InputError(f"{where}: frame {numbers[silent[0]]} is all zeros ({len(silent)} such); leave them out")


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
        InputError: frames of another shape, lengths that differ, labels out of range, values that are not finite.
    """
    X, y, snr = found.X, found.y, found.snr
    if X.ndim != 3 or X.shape[1] != 2 or X.dtype != np.float32:
        hint = "; swap its last two axes" if X.ndim == 3 and X.shape[2] == 2 else ""
        raise InputError(f"{where}: frames must be [N, 2, samples] float32, not {list(X.shape)} {X.dtype}{hint}")
    if not len(X):
        raise InputError(f"{where}: holds no frame")
    if X.shape[2] < SHORTEST_FRAME:
        raise InputError(f"{where}: frames must have at least {SHORTEST_FRAME} samples, not {X.shape[2]}")
    check_names(found.classes, where=where)
    for name, values in (("y", y), ("snr", snr), ("groups", found.groups)):
        if values is not None and values.shape != (len(X),):
            raise InputError(f"{where}: {len(X)} frames, but {name} is {list(values.shape)}")
    if snr is not None and not (np.abs(snr) < HIGHEST_SNR).all():
        raise InputError(f"{where}: snr holds a value that is not finite, or is no SNR in dB")
    if y.min() < 0 or y.max() >= len(found.classes):
        wrong = y.min() if y.min() < 0 else y.max()
        raise InputError(f"{where}: label {wrong} is outside of 0 .. {len(found.classes) - 1}")
    for piece in slices(len(X)) if look_at_values else ():
        check_frames(X[piece], where=where, numbers=range(piece.start, piece.stop))
    return found


def check_names(classes: tuple[str, ...], *, where: str) -> None:
    """Check that classes can be told apart, in one line.

    Raises:
        InputError: two have one name, or a name is empty, not of one line, or very long.
    """
    for name in classes:
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
            raise InputError(
                f"{where}: the class name {name[:40]!r} must be one line of 1 to {LONGEST_NAME} printable characters"
            )
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise InputError(f"{where}: two classes have the name '{twice}'")
