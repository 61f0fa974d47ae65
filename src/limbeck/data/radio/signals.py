"""Frames made by the generator: in memory (`make_signals`) or straight to a file (`write_signals`).

Not here: modulations and channels, recorded signals, splitting.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.radio import channel as link
from limbeck.data.radio.choices import check_choices
from limbeck.data.radio.modulate import MODULATIONS, find_modulation
from limbeck.data.radio.profiles import Profile, find_profile
from limbeck.data.radio.record import Signals
from limbeck.data.radio.signal_files import open_signal_file
from limbeck.data.radio.streams import Streams
from limbeck.errors import InputError

__all__ = ["make_frames", "make_signals", "write_signals"]

GENERATOR = 1  # raise it when frames of the same options change: what was kept of them is then made anew
CHUNK = 128  # frames made at once: their arrays stay in the processor's caches


@dataclass(frozen=True)
class Order:
    """What `make_signals` was asked for, checked."""

    profile: Profile
    frames_per_cell: int
    seed: int
    classes: tuple[str, ...]
    snrs: tuple[float, ...]
    length: int
    fixed_channels: int

    @property
    def frames(self) -> int:
        """N."""
        return len(self.classes) * len(self.snrs) * self.frames_per_cell

    def pieces(self) -> Iterator[tuple[str, float, range]]:
        """(class, SNR, numbers of frames in that cell) in the order of the rows."""
        for name in self.classes:
            for snr in self.snrs:
                for start in range(0, self.frames_per_cell, CHUNK):
                    yield name, snr, range(start, min(start + CHUNK, self.frames_per_cell))

    def make(self, name: str, snr: float, numbers: range) -> np.ndarray:
        """The frames of one piece."""
        options = {"seed": self.seed, "length": self.length, "fixed_channels": self.fixed_channels}
        return make_frames(self.profile, name, snr, numbers, **options)

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """`y` and `snr` of all rows."""
        y = np.repeat(np.arange(len(self.classes)), len(self.snrs) * self.frames_per_cell)
        snr = np.tile(np.repeat(np.array(self.snrs, np.float32), self.frames_per_cell), len(self.classes))
        return y, snr


def make_frames(
    profile: Profile,
    name: str,
    snr: float,
    numbers: Sequence[int] | range,
    *,
    seed: int,
    length: int = 128,
    fixed_channels: int = 0,
) -> np.ndarray:
    """The frames of one class at one SNR that have these numbers, [n, 2, L] float32; nothing else changes them."""
    name = find_modulation(name, where="name")
    way, draws = profile.channel, Streams(seed, name, snr, numbers)
    samples = MODULATIONS[name](draws, link.samples_before(way, length), profile.waveform)
    samples = link.resampled(way, draws, samples, length)
    paths = draws
    if fixed_channels:
        paths = Streams(seed, "channel", 0.0, [number % fixed_channels for number in numbers], purpose=1)
    samples = link.faded(link.draw_taps(way, paths, length), samples, length)
    samples = link.noisy(way, draws, link.turned(way, draws, samples), snr)
    size = np.abs(samples)
    size = size.sum(1) if profile.norm == "sum" else np.sqrt((size**2).mean(1))
    frames = np.empty((len(samples), 2, length), np.float32)
    np.divide(samples.real, size[:, None], out=frames[:, 0], casting="same_kind")
    np.divide(samples.imag, size[:, None], out=frames[:, 1], casting="same_kind")
    return frames


def check_order(
    profile: str | Profile,
    frames_per_cell: int,
    seed: int,
    classes: Sequence[str] | None,
    snrs: Sequence[float] | None,
    length: int,
    fixed_channels: int,
) -> Order:
    """Check what was asked for.

    Raises:
        InputError: an unknown or repeated name, or a number out of range.
    """
    found = find_profile(profile)
    check_choices(classes, snrs)
    names = tuple(found.classes if classes is None else classes)
    levels = tuple(float(snr) for snr in (found.snrs if snrs is None else snrs))
    made: dict[str, str] = {}
    for name in names:
        ours = find_modulation(name, where="classes")
        if ours in made:
            raise InputError(f"classes: '{made[ours]}' and '{name}' are one modulation; leave one out")
        made[ours] = name
    if not all(abs(snr) <= 200 for snr in levels):
        raise InputError(f"snrs: must lie between -200 and 200 dB, got {list(levels)}")
    for field, value, low, high in (
        ("frames_per_cell", frames_per_cell, 1, 2**40),
        ("seed", seed, 0, 2**64 - 1),
        ("length", length, 16, 2**24),
        ("fixed_channels", fixed_channels, 0, 2**40),
    ):
        if type(value) is not int or not low <= value <= high:
            raise InputError(f"{field}: must be a whole number from {low} to {high}, got {value!r}")
    return Order(found, frames_per_cell, seed, names, levels, length, fixed_channels)


def check_processes(processes: int) -> None:
    """Check how many processes are to make frames.

    Raises:
        InputError: none, or too many.
    """
    if type(processes) is not int or not 1 <= processes <= 1024:
        raise InputError(f"processes: must be a whole number from 1 to 1024, got {processes!r}")


def make_signals(
    profile: str | Profile = "radioml2016",
    *,
    frames_per_cell: int,
    seed: int,
    classes: Sequence[str] | None = None,
    snrs: Sequence[float] | None = None,
    length: int = 128,
    fixed_channels: int = 0,
) -> Signals:
    """Make frames of every class at every SNR.

    A frame depends on profile, seed, class, SNR, length and its number in the cell only: more frames, other classes or
    SNRs beside it leave it as it is.

    Args:
        profile: a name of `PROFILES`, or one of your own (`dataclasses.replace`).
        frames_per_cell: frames of each class at each SNR; rows are sorted by class, SNR, number.
        seed: from 0 to 2^64 - 1.
        classes: names of `MODULATIONS` or `ALIASES` in the order of `y`; None = the profile's.
        snrs: in dB; None = the profile's.
        length: L, at least 16.
        fixed_channels: so many draws of the fading take turns, the same in all cells (RadioML 2016 has practically one);
            0 = one for each frame.

    Raises:
        InputError: an unknown or repeated name, or a number out of range.

    Example:
        >>> made = make_signals("clean_snr", frames_per_cell=2, seed=0, classes=["BPSK", "QAM16"], snrs=[10])
        >>> made.X.shape, made.y.tolist(), made.classes
        ((4, 2, 128), [0, 0, 1, 1], ('BPSK', 'QAM16'))
    """
    order = check_order(profile, frames_per_cell, seed, classes, snrs, length, fixed_channels)
    X = np.empty((order.frames, 2, length), np.float32)
    row = 0
    for name, snr, numbers in order.pieces():
        X[row : row + len(numbers)] = order.make(name, snr, numbers)
        row += len(numbers)
    return Signals(X, *order.labels(), order.classes)


def write_signals(
    path: str | Path,
    profile: str | Profile = "radioml2016",
    *,
    frames_per_cell: int,
    seed: int,
    classes: Sequence[str] | None = None,
    snrs: Sequence[float] | None = None,
    length: int = 128,
    fixed_channels: int = 0,
    processes: int = 1,
) -> Path:
    """`make_signals` to a file, in memory that does not grow with their number; the file is whole or absent.

    Args:
        path: `.npz` (uncompressed), or `.h5` and `.hdf5` (needs `limbeck[radio]`); holds X, y, snr and classes.
        profile: a name of `PROFILES`, or one of your own.
        frames_per_cell: frames of each class at each SNR.
        seed: as in `make_signals`.
        classes: as in `make_signals`; None = the profile's.
        snrs: in dB; None = the profile's.
        length: L, at least 16.
        fixed_channels: as in `make_signals`.
        processes: that make frames; the frames are the same for any number.

    Raises:
        InputError: as `make_signals`, another suffix, or a file that cannot be written.
    """
    order = check_order(profile, frames_per_cell, seed, classes, snrs, length, fixed_channels)
    check_processes(processes)
    path = Path(path)
    y, snr = order.labels()
    with open_signal_file(path, (order.frames, 2, length), y=y, snr=snr, classes=order.classes) as write:
        for frames in made_in_order(order, processes):
            write(frames)
    return path


def made_in_order(order: Order, processes: int) -> Iterator[np.ndarray]:
    """The pieces of an order one after the other, a few of them ahead where several processes make them."""
    if processes == 1:
        for piece in order.pieces():
            yield order.make(*piece)
        return
    ahead: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for piece in order.pieces():
            ahead.append(pool.submit(order.make, *piece))
            if len(ahead) > 3 * processes:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
