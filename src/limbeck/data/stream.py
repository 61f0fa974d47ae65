"""Training pictures that can only be read in order, because the whole set does not fit the disk.

What does not live here: where they come from (`hub`), batches (`batches`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn

import numpy as np

from limbeck.console import warn
from limbeck.data.labels import class_index
from limbeck.data.raw import read_picture
from limbeck.errors import InputError
from limbeck.pictures import Fit

__all__ = ["PictureStream", "Sample"]

Sample = tuple[int, Any, int]
"""(index, picture in any of its raw forms, label)"""


@dataclass(frozen=True)
class PictureStream:
    """A training set read in order, shard after shard, and shuffled in a buffer.

    A sample's index is `shard * 2**32 + position in the shard`: it never changes, so augmentation is a pure function of
    (seed, view, index) here too. The order is a function of (seed, epoch); to resume inside an epoch, what came
    before is read again but not decoded.

    Attributes:
        name: of the data set.
        class_names: by index.
        count: number of samples in one epoch.
        shards: number of shards; their order changes from epoch to epoch.
        open_shard: shard number -> its (picture, label) pairs in a fixed order.
        excluded: indices that belong to other splits.
        identity: what the fingerprint of the set is made of.
        buffer: samples that are held, still encoded, to be shuffled.
        image_size: (height, width).
        fit: how a picture of another shape becomes `image_size`.
        split: always `train`.
    """

    name: str
    class_names: tuple[str, ...]
    count: int
    shards: int
    open_shard: Callable[[int], Iterator[tuple[Any, Any]]] = field(repr=False)
    excluded: frozenset[int] = field(default=frozenset(), repr=False)
    identity: str = ""
    buffer: int = 10_000
    image_size: tuple[int, int] = (224, 224)
    fit: Fit = "crop"
    split: str = "train"

    is_in_memory = False

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> NoReturn:
        """Not known of a stream.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"data '{self.name}': labels of a streamed set are not known before training; "
            "class weights and balancing need a set on disk"
        )

    def samples(self, epoch: int, *, seed: int, shuffle: bool = True) -> Iterator[Sample]:
        """All samples of one epoch."""
        generator = random.Random(f"limbeck {seed} {epoch}")
        shards = list(range(self.shards))
        if not shuffle:
            yield from self._flow(shards)
            return
        generator.shuffle(shards)
        held: list[Sample] = []
        for sample in self._flow(shards):
            if len(held) < self.buffer:
                held.append(sample)
                continue
            place = generator.randrange(self.buffer)
            held[place], sample = sample, held[place]
            yield sample
        generator.shuffle(held)
        yield from held

    def chunks(
        self, epoch: int, size: int, *, seed: int, shuffle: bool = True, skip: int = 0
    ) -> Iterator[list[Sample]]:
        """Lists of `size` samples, without the first `skip` lists; a stream that ends before its promised count
        begins again.
        """

        def endless() -> Iterator[Sample]:
            while True:
                before = None
                for before in self.samples(epoch, seed=seed, shuffle=shuffle):
                    yield before
                if before is None:
                    raise InputError(f"data '{self.name}': the stream holds no labelled pictures")

        left = self.count - skip * size
        flow = islice(endless(), skip * size, None)
        while left > 0:
            yield list(islice(flow, min(size, left)))
            left -= size

    def read_all(self, samples: list[Sample]) -> list[tuple[int, np.ndarray, int]]:
        """The samples with their pictures as [H, W, 3] uint8 RGB of their own size; unreadable ones are left out
        with a warning.

        Raises:
            InputError: none of them can be read.
        """
        read = []
        for index, picture, label in samples:
            try:
                read.append((index, read_picture(picture), label))
            except (InputError, ValueError) as error:
                warn(f"data '{self.name}': sample {index} left out: {error}")
        if not read:
            raise InputError(f"data '{self.name}': none of {len(samples)} streamed pictures in a row can be read")
        return read

    def _flow(self, shards: list[int]) -> Iterator[Sample]:
        """What is labelled; labels that are no class are left out, and the first of them is said."""
        is_said = False
        for shard in shards:
            for position, (picture, label) in enumerate(self.open_shard(shard)):
                index, number = shard * 2**32 + position, class_index(label)
                if index in self.excluded:
                    continue
                if 0 <= number < len(self.class_names):
                    yield index, picture, number
                elif not is_said and label is not None and label != -1:
                    is_said = True
                    warn(
                        f"data '{self.name}': samples whose label is no class are left out; first: sample {index}: {label!r}"
                    )
