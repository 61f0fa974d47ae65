"""In which order an epoch takes the samples: a function of (seed, epoch), and of nothing that happened before.

What does not live here: pictures, batches.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from limbeck.data.draws import Draws

__all__ = ["class_members", "epoch_order"]

_SHUFFLE, _CYCLE = range(2)


def epoch_order(
    labels: np.ndarray,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    sampling: Literal["natural", "balanced"] = "natural",
) -> tuple[np.ndarray, np.ndarray]:
    """Return ([N] indices, [N] how often each was taken before in this epoch).

    `balanced` takes every class equally often, N samples in all: of a large class only a part, of a small one all
    over and over, each round in a fresh order. Unlabelled samples (label -1) are taken once.
    """
    if sampling == "balanced":
        index, repeat = _balanced(labels, seed=seed, epoch=epoch)
    else:
        index, repeat = np.arange(len(labels)), np.zeros(len(labels), np.int64)
    if not shuffle:
        return index, repeat
    order = Draws(seed, epoch, np.arange(len(index))).order(_SHUFFLE)
    return index[order], repeat[order]


def class_members(labels: np.ndarray) -> list[np.ndarray]:
    """Indices of each class that has samples."""
    return [np.flatnonzero(labels == label) for label in np.unique(labels[labels >= 0])]


def _balanced(labels: np.ndarray, *, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    pools = class_members(labels)
    unlabelled = np.flatnonzero(labels < 0)
    quota, over = divmod(len(labels) - len(unlabelled), max(1, len(pools)))
    taken, repeats = [unlabelled], [np.zeros(len(unlabelled), np.int64)]
    for place, pool in enumerate(pools):
        wanted = quota + ((place - epoch * over) % len(pools) < over)  # the remainder goes round from epoch to epoch
        rounds = -(-wanted // len(pool))
        shuffled = [pool[Draws(seed, epoch, pool, repeat).order(_CYCLE)] for repeat in range(rounds)]
        taken.append(np.concatenate([pool[:0], *shuffled])[:wanted])
        repeats.append(np.repeat(np.arange(rounds), len(pool))[:wanted])
    return np.concatenate(taken), np.concatenate(repeats)
