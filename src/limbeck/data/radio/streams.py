"""Random numbers by name of the frame: any frame can be drawn alone, in any order, in any process.

Not here: what the numbers mean (`modulate`, `channel`); the few numbers that a picture takes (`limbeck.data.draws`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

__all__ = ["Streams"]


class Streams:
    """The random streams of some frames of one class at one SNR, each read in the order of the calls.

    A counter-based generator is set to a place of its own for every (class, SNR, number); 2^64 blocks of numbers lie
    between two places, so that streams never meet.

    **Source:** Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).

    Args:
        seed: of the data set, below 2^64.
        name: of the class.
        snr: in dB.
        numbers: of the frames in their cell.
        purpose: another whole number gives streams that have nothing in common with these.
    """

    def __init__(self, seed: int, name: str, snr: float, numbers: Sequence[int] | range, *, purpose: int = 0) -> None:
        place = zlib.crc32(name.encode())
        (level,) = struct.unpack("<Q", struct.pack("<d", float(snr) + 0.0))  # + 0.0: -0.0 is 0.0
        key = np.array([seed, purpose], np.uint64)
        self._streams = []
        for number in numbers:
            counter = np.array([0, number, level, place], np.uint64)
            self._streams.append(np.random.Generator(np.random.Philox(counter=counter, key=key)))

    def __len__(self) -> int:
        return len(self._streams)

    def uniform(self, *shape: int) -> np.ndarray:
        """[frames, *shape] in [0, 1)."""
        found = np.empty((len(self._streams), *shape))
        for stream, row in zip(self._streams, found, strict=True):
            stream.random(out=row)
        return found

    def normal(self, *shape: int) -> np.ndarray:
        """[frames, *shape] of mean 0 and variance 1."""
        found = np.empty((len(self._streams), *shape))
        for stream, row in zip(self._streams, found, strict=True):
            stream.standard_normal(out=row)
        return found

    def below(self, high: int, *shape: int) -> np.ndarray:
        """[frames, *shape] whole numbers from 0 to `high` - 1."""
        return (self.uniform(*shape) * high).astype(np.intp)
