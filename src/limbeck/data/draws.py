"""Random numbers without a state: each is a hash of (seed, view, index, repeat, stream), computed for a whole batch
at once.

What does not live here: what the numbers are used for (`augment`, `batches`, `split`).
"""

from __future__ import annotations

import numpy as np

__all__ = ["Draws"]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def _mix(words: np.ndarray) -> np.ndarray:
    """Scramble uint64 words: the output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _absorb(state: np.ndarray, word: int | np.ndarray) -> np.ndarray:
    words = np.asarray([word & _MASK], np.uint64) if isinstance(word, int) else word.astype(np.int64).view(np.uint64)
    return _mix(state + np.uint64(_GOLDEN) + _mix(words + np.uint64(_GOLDEN)))


class Draws:
    """The random numbers of some samples: one value per sample and stream, the same whatever else is in the batch.

    Args:
        seed: of the run.
        view: which augmentation of the data set.
        index: [N] positions in the data set.
        repeat: [N] or one number: tells the copies of one sample within one epoch apart (balanced sampling).

    Example:
        >>> whole = Draws(0, 3, np.arange(10)).uniform(1)
        >>> bool(np.all(whole[4:6] == Draws(0, 3, np.array([4, 5])).uniform(1)))
        True
    """

    def __init__(self, seed: int, view: int, index: np.ndarray, repeat: np.ndarray | int = 0) -> None:
        state = np.zeros(1, np.uint64)
        for word in (seed, view, np.asarray(index), repeat if isinstance(repeat, int) else np.asarray(repeat)):
            state = _absorb(state, word)
        self._state = state

    def words(self, stream: int) -> np.ndarray:
        """[N] uniform uint64."""
        return _absorb(self._state, int(stream))

    def uniform(self, stream: int) -> np.ndarray:
        """[N] float64 in [0, 1)."""
        return (self.words(stream) >> np.uint64(11)) * 2.0**-53

    def integers(self, stream: int, low: int, high: int | np.ndarray) -> np.ndarray:
        """[N] int64 in low .. high - 1."""
        return low + np.floor(self.uniform(stream) * (high - low)).astype(np.int64)

    def order(self, stream: int) -> np.ndarray:
        """A permutation of the N samples."""
        return np.argsort(self.words(stream), kind="stable")
