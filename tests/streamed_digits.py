"""The digits as a set that can only be read in order: `data.name = "streamed_digits:read"`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from limbeck.data import PictureStream, RawData, RawSplit
from limbeck.data.digits import read_digits

SHARDS, PER_SHARD, HELD_OUT = 4, 50, 100


def read(*, has_validation: bool = True) -> RawData:
    """Four shards of 50 to learn from, 100 to report on, and as many to choose on."""
    found = read_digits()
    pictures, labels = found.splits["train"].pictures, np.asarray(found.splits["train"].labels)
    names = tuple(str(digit) for digit in range(10))

    def open_shard(shard: int) -> Iterator[tuple[np.ndarray, int]]:
        for row in range(shard * PER_SHARD, (shard + 1) * PER_SHARD):
            yield pictures[row], int(labels[row])

    def held(start: int) -> RawSplit:
        rows = slice(start, start + HELD_OUT)
        return RawSplit(pictures[rows], labels[rows])

    first = SHARDS * PER_SHARD
    splits = {"test": held(first), **({"validation": held(first + HELD_OUT)} if has_validation else {})}
    train = PictureStream("digits", names, first, SHARDS, open_shard, identity="digits", buffer=32)
    return RawData(splits, class_names=names, image_size=(16, 16), stream=train)
