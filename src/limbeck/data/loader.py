"""Batches: the same for any number of workers, from any step on, each a pure function of (seed, epoch, step).

What does not live here: making one batch (`batches`, `signal_batches`), in which order samples come (`order`, `stream`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from limbeck.data.augment import Augment
from limbeck.data.batches import BatchMaker, check_moves
from limbeck.data.boxes import BoxTargets
from limbeck.data.further import SAME_CLASS
from limbeck.data.picture_set import PictureSet
from limbeck.data.signal_batches import SNR, SignalBatches, check_signal_augment
from limbeck.data.signal_set import SignalSet
from limbeck.data.stream import PictureStream
from limbeck.data.targets import check_annotated
from limbeck.errors import InputError
from limbeck.types import Batch

__all__ = ["Loader"]


class Loader:
    """Batches of pictures in [0, 1], or of signals, for training or evaluation (a `limbeck.protocols.Batches`).

    Every picture's augmentation, mixing partner and share are a pure function of (seed, view, index); the order is a
    function of (seed, epoch). So an epoch can be taken up at any step, and a teacher's outputs can be cached by
    (view, index). Mixing partners are drawn from the whole set, labelled pictures among labelled ones (of each class
    alike when balanced), unlabelled among unlabelled; of a stream, which cannot be indexed, the partner is the
    neighbour in the batch. Where pictures are not held in memory, mixing reads two of them for one.

    Args:
        pictures: the set; or a stream, which is shuffled in a buffer; or signals, whose batches carry `snr` too where it
            is known.
        batch_size: pictures per batch and process.
        augment: None = pictures as they are.
        seed: of order and augmentation.
        shuffle: a fresh order each epoch; False = as they lie.
        workers: processes that read and augment. Not used for streams and signals.
        sampling: `balanced` takes every class equally often; copies within an epoch are augmented differently unless
            `views` is set.
        drop_last: leave out the last, smaller batch, where there is a whole one.
        rank: this process, of
        world: processes that share each step: the step's pictures are dealt out among them.
        views: number of different augmentations, view = epoch modulo views; None = every epoch is a new one.
        extra: unlabelled pictures that join; their indices follow those of `pictures`, their targets are -1, or rows
            of zeros.
        needs: names of what each batch carries in `Batch.further`; an objective says its own by `needs()`. Drawn as
            the pictures themselves are: from (seed, view, index).

    Raises:
        InputError: the set is empty; balanced sampling, `extra` or classmates are asked of a stream; classmates where
            pictures are mixed; a need that is not known; or, of pictures with annotations, what needs one class each.
    """

    def __init__(
        self,
        pictures: PictureSet | PictureStream | SignalSet,
        *,
        batch_size: int,
        augment: Augment | None,
        seed: int = 0,
        shuffle: bool = True,
        workers: int = 0,
        sampling: Literal["natural", "balanced"] = "natural",
        drop_last: bool = True,
        rank: int = 0,
        world: int = 1,
        views: int | None = None,
        extra: PictureSet | None = None,
        needs: Collection[str] = (),
    ) -> None:
        if not len(pictures):
            raise InputError(f"data '{pictures.name}': the {pictures.split} split is empty")
        if batch_size < 1:
            raise InputError(f"batch_size = {batch_size}: expected 1 or more")
        if isinstance(pictures, PictureStream) and (sampling == "balanced" or extra is not None):
            what = "data.sampling = balanced" if sampling == "balanced" else "data.unlabelled"
            raise InputError(f"data '{pictures.name}': {what} needs a set that is not streamed")
        if SAME_CLASS in needs and isinstance(pictures, PictureStream):
            raise InputError(f"data '{pictures.name}': another picture of each class needs a set that is not streamed")
        if SAME_CLASS in needs and augment is not None and augment.mixes:
            raise InputError(
                "another picture of each class needs pictures of one class: set augment.mixup and augment.cutmix to 0"
            )
        if isinstance(pictures, SignalSet):
            check_signal_augment(pictures.name, augment, joins=extra is not None)
        elif augment is not None and augment.rotate != "none":
            raise InputError("augment.rotate: turns the phase of signals; leave it out for pictures")
        if isinstance(pictures, PictureSet) and pictures.targets is not None:
            check_annotated(pictures.name, augment, sampling=sampling, joins=extra is not None, needs=needs)
            check_moves(pictures.targets, augment)
        if (
            augment is not None
            and augment.crop == "ssd"
            and not isinstance(getattr(pictures, "targets", None), BoxTargets)
        ):
            raise InputError(
                "augment.crop = ssd: needs boxes; the crop of other pictures is none, shift, resized, scaled or turned"
            )
        self.batch_size = batch_size
        self.views = views
        self.offers = frozenset(needs)
        maker = BatchMaker
        if isinstance(pictures, SignalSet):
            maker, needs = SignalBatches, set(needs) - ({SNR} if pictures.snr is not None else set())
            self.offers |= frozenset({SNR} if pictures.snr is not None else ())
        self._seed, self._shuffle = seed, shuffle
        self._rank, self._world = rank, world
        self.pictures = pictures
        self.samples = len(pictures) + (len(extra) if extra is not None else 0)
        self._drop_last = drop_last and self.samples >= batch_size * world
        self._workers = workers if isinstance(pictures, PictureSet) else 0
        self._maker = maker(
            pictures, extra, augment, seed, shuffle, sampling, batch_size, rank, world, views, needs=frozenset(needs)
        )
        self._steps = _Steps()
        self._reader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return self.steps_per_epoch()

    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch; the same in every process."""
        step = self.batch_size * self._world
        return self.samples // step if self._drop_last else -(-self.samples // step)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from step `start` on; a pure function of (seed, epoch). One epoch at a time with
        workers.
        """
        if isinstance(self.pictures, PictureStream):
            return self._stream_epoch(epoch, start)
        if self._workers == 0:
            return (self._maker.make(epoch, step) for step in range(start, self.steps_per_epoch()))
        return self._worker_epoch(epoch, start)

    def whole(self, batch_size: int) -> Loader:
        """The same views with every picture once, in the order of the set: what a teacher's cache is filled from.

        Neither `sampling` nor `drop_last` nor other processes leave a picture out; partners are still drawn as
        `sampling` says.

        Raises:
            InputError: of a stream, whose mixing partners are neighbours in the batch.
        """
        if isinstance(self.pictures, PictureStream):
            raise InputError(f"data '{self.pictures.name}': a streamed set has no views that could be read again")
        other = copy.copy(self)
        other.batch_size, other._drop_last, other._rank, other._world = batch_size, False, 0, 1
        other.offers, other._steps, other._reader = frozenset(), _Steps(), None
        whole: dict[str, Any] = {"batch_size": batch_size, "shuffle": False, "rank": 0, "world": 1, "in_turn": True}
        other._maker = replace(self._maker, needs=frozenset(), **whole)
        return other

    def targets(self, view: int) -> Tensor:
        """What the batches of a view have as `target`, of every annotated picture in the order of the set; reads none."""
        return self._maker.targets(view)

    def identity(self) -> dict[str, Any]:
        """What the pictures of a view depend on beside the data and the libraries: where this is equal, they are."""
        maker = self._maker
        changes = None if maker.augment is None else asdict(maker.augment)
        # A random crop is cut from the original only where that is not replaced by fitted pixels in memory.
        kept = [pictures.is_in_memory for pictures in (maker.pictures, maker.extra) if pictures is not None]
        size = {"samples": self.samples, "image_size": list(maker.size), "fit": maker.pictures.fit, "in_memory": kept}
        return {"seed": self._seed, "augment": changes, "sampling": maker.sampling, **size}

    def _worker_epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        if self._reader is None:  # kept from epoch to epoch: starting processes may cost more than a small epoch
            self._reader = DataLoader(
                self._maker,
                batch_size=None,
                sampler=self._steps,
                num_workers=self._workers,
                persistent_workers=True,
                prefetch_factor=4,
            )
        self._steps.steps = [(epoch, step) for step in range(start, self.steps_per_epoch())]
        turn = self._steps.turn = self._steps.turn + 1
        batches = iter(self._reader)
        for _ in self._steps.steps:
            if turn != self._steps.turn:
                raise RuntimeError(
                    "another epoch of this loader was begun; with workers, epochs cannot be read side by side"
                )
            batch = next(batches)
            if isinstance(batch, InputError):
                raise batch
            yield batch

    def _stream_epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        stream: Any = self.pictures
        step = self.batch_size * self._world
        steps = self.steps_per_epoch()
        for number, samples in enumerate(
            stream.chunks(epoch, step, seed=self._seed, shuffle=self._shuffle, skip=start), start
        ):
            if number >= steps:
                return
            mine = samples[self._rank :: self._world] or samples[:1]
            read = stream.read_all(mine)
            index, labels = (
                np.array([sample[0] for sample in read], np.int64),
                np.array([sample[2] for sample in read], np.int64),
            )
            yield self._maker.assemble(epoch, index, labels, [sample[1] for sample in read])


class _Steps:
    """The (epoch, step) pairs that the workers are to make: a sampler that can be set anew before each epoch."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.turn = 0

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.steps)
