"""Batches: the same for any number of workers, from any step on, each a pure function of (seed, epoch, step).

What does not live here: how pictures change (`augment`, `mixing`), in which order they come (`order`, `stream`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from limbeck.data.augment import Augment, Drawn, apply_augmentation, augmentation_affine, draw_augmentation
from limbeck.data.boxes import BoxTargets, visible_boxes
from limbeck.data.draws import Draws
from limbeck.data.further import CLASSMATE_COPY, SAME_CLASS, Classmates, view_copies
from limbeck.data.mixing import class_rows, draw_mix, draw_partners, mix_pictures
from limbeck.data.order import class_members, epoch_order
from limbeck.data.picture_set import PictureSet
from limbeck.data.placement import Window, combine
from limbeck.data.ssd_crop import ssd_window
from limbeck.data.stream import PictureStream
from limbeck.data.targets import check_annotated
from limbeck.errors import InputError
from limbeck.pictures import fit_picture
from limbeck.types import Batch

__all__ = ["Loader"]


class Loader:
    """Batches of pictures in [0, 1] for training or evaluation (a `limbeck.protocols.Batches`).

    Every picture's augmentation, mixing partner and share are a pure function of (seed, view, index); the order is a
    function of (seed, epoch). So an epoch can be taken up at any step, and a teacher's outputs can be cached by
    (view, index). Mixing partners are drawn from the whole set, labelled pictures among labelled ones (of each class
    alike when balanced), unlabelled among unlabelled; of a stream, which cannot be indexed, the partner is the
    neighbour in the batch. Where pictures are not held in memory, mixing reads two of them for one.

    Args:
        pictures: the set; or a stream, which is shuffled in a buffer.
        batch_size: pictures per batch and process.
        augment: None = pictures as they are.
        seed: of order and augmentation.
        shuffle: a fresh order each epoch; False = as they lie.
        workers: processes that read and augment. Not used for streams.
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
        pictures: PictureSet | PictureStream,
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
        if isinstance(pictures, PictureSet) and pictures.targets is not None:
            check_annotated(pictures.name, augment, sampling=sampling, joins=extra is not None, needs=needs)
        if (
            augment is not None
            and augment.crop == "ssd"
            and not isinstance(getattr(pictures, "targets", None), BoxTargets)
        ):
            raise InputError(
                "augment.crop = ssd: needs boxes; the crop of other pictures is none, shift, resized or scaled"
            )
        self.batch_size = batch_size
        self.views = views
        self.offers = frozenset(needs)
        self._seed, self._shuffle = seed, shuffle
        self._rank, self._world = rank, world
        self._pictures = pictures
        self.samples = len(pictures) + (len(extra) if extra is not None else 0)
        self._drop_last = drop_last and self.samples >= batch_size * world
        self._workers = 0 if isinstance(pictures, PictureStream) else workers
        self._maker = _BatchMaker(
            pictures, extra, augment, seed, shuffle, sampling, batch_size, rank, world, views, needs=self.offers
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
        if isinstance(self._pictures, PictureStream):
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
        if isinstance(self._pictures, PictureStream):
            raise InputError(f"data '{self._pictures.name}': a streamed set has no views that could be read again")
        other = copy.copy(self)
        other.batch_size, other._drop_last, other._rank, other._world = batch_size, False, 0, 1
        other.offers, other._steps, other._reader = frozenset(), _Steps(), None
        whole: dict[str, Any] = {"batch_size": batch_size, "shuffle": False, "rank": 0, "world": 1, "in_turn": True}
        other._maker = replace(self._maker, needs=frozenset(), **whole)
        return other

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
            yield next(batches)

    def _stream_epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        stream: Any = self._pictures
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


@dataclass
class _BatchMaker(Dataset[Any]):
    """Makes any batch by its number; what a worker process holds."""

    pictures: PictureSet | PictureStream
    extra: PictureSet | None
    augment: Augment | None
    seed: int
    shuffle: bool
    sampling: Literal["natural", "balanced"]
    batch_size: int
    rank: int
    world: int
    views: int | None
    in_turn: bool = False  # every sample once and in order, whatever `sampling` says
    needs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.num_classes = len(self.pictures.class_names)
        self.size = self.pictures.image_size
        self.copies = view_copies(self.needs)
        self.classmates: Classmates | None = None
        if isinstance(self.pictures, PictureStream):
            self.labelled = True
            return
        own = self.pictures.labels
        self.labels = own if self.extra is None else np.concatenate([own, np.full(len(self.extra), -1, np.int64)])
        self.labelled = bool((self.labels >= 0).all())
        known, unknown = np.flatnonzero(self.labels >= 0), np.flatnonzero(self.labels < 0)
        self.partners = class_members(self.labels) if self.sampling == "balanced" else [known]
        self.unlabelled_partners = [unknown]
        if SAME_CLASS in self.needs:
            self.classmates = Classmates.of(self.labels, self.num_classes)
        self.order = lru_cache(maxsize=1)(self._order)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.order = lru_cache(maxsize=1)(self._order)

    def __getitem__(self, epoch_and_step: tuple[int, int]) -> Batch:
        return self.make(*epoch_and_step)

    def make(self, epoch: int, step: int) -> Batch:
        """Batch `step` of `epoch`."""
        order, repeats = self.order(epoch)
        size = self.batch_size * self.world
        chosen = np.arange(step * size, min((step + 1) * size, len(order)))
        mine = (
            chosen[self.rank :: self.world] if len(chosen) >= self.world else chosen[:1]
        )  # every process gets a sample
        index = order[mine]
        repeat = repeats[mine] if self.views is None else np.zeros(len(index), np.int64)
        return self.assemble(epoch, index, self.labels[index], None, repeat)

    def assemble(
        self,
        epoch: int,
        index: np.ndarray,
        labels: np.ndarray,
        pictures: list[np.ndarray] | None,
        repeat: np.ndarray | int = 0,
    ) -> Batch:
        """Augment and mix; `pictures` are given where they come from a stream, else read by index."""
        view = epoch if self.views is None else epoch % self.views
        draws = Draws(self.seed, view, index, repeat)
        if isinstance(self.pictures, PictureSet) and self.pictures.targets is not None:
            return self._annotated(self.pictures, index, draws, view)
        seen = self._views(self._find(index, pictures), view, index, repeat)
        if self.classmates is not None:
            mate = self.classmates.draw(draws, index, labels)
            seen[SAME_CLASS] = self._change(self._find(mate), Draws(self.seed, view, mate, repeat + CLASSMATE_COPY))
        target = torch.from_numpy(labels)
        if self.augment is not None and self.augment.mixes:
            rows = class_rows(labels, self.num_classes)
            if pictures is not None:
                partner_seen, partner_rows = {name: seen[name].roll(1, 0) for name in seen}, rows.roll(1, 0)
            else:
                partner = np.empty(len(index), np.int64)
                for members, here in ((self.partners, labels >= 0), (self.unlabelled_partners, labels < 0)):
                    if here.any():
                        partner[here] = draw_partners(draws, members)[here]
                partner_seen = self._views(self._find(partner), view, partner, 0)
                partner_rows = class_rows(self.labels[partner], self.num_classes)
            mix = draw_mix(self.augment, self.size, draws)  # one for all views: they have the target in common
            for name, inputs in seen.items():
                seen[name], target = mix_pictures(mix, inputs, rows, partner_seen[name], partner_rows)
        return Batch(torch.from_numpy(index), seen.pop("inputs"), target, view, self.labelled, seen)

    def _annotated(self, source: PictureSet, index: np.ndarray, draws: Draws, view: int) -> Batch:
        """A batch of pictures whose annotations move with them."""
        assert source.targets is not None
        drawn = None if self.augment is None else draw_augmentation(self.augment, self.size, draws)
        found = self._find(index)
        if drawn is not None and drawn.crop_seed is not None:
            drawn = replace(drawn, windows=self._ssd_windows(source, index, found, drawn.crop_seed))
        samples = []
        for place, picture in enumerate(index.tolist()):
            to_found = self._affine(source, picture)
            if drawn is not None:
                size = found[place].shape[:2]
                to_found = combine(to_found, augmentation_affine(drawn, place, size, self.size))
            samples.append(source.targets.changed(picture, to_found, self.size))
        inputs = self._pixels(found, drawn)
        return Batch(torch.from_numpy(index), inputs, source.targets.collate(samples), view, True)

    def _affine(self, source: PictureSet, picture: int) -> np.ndarray:
        """From coordinates of a picture as it lies on the disk to those of what `_find` gives."""
        return source.picture_affine(picture) if self._is_whole else source.original_affine(picture)

    def _ssd_windows(
        self, source: PictureSet, index: np.ndarray, found: list[np.ndarray], seeds: np.ndarray
    ) -> list[Window | None]:
        """SSD's crop of each picture, which depends on its boxes."""
        assert isinstance(source.targets, BoxTargets)
        windows = []
        for picture, pixels, seed in zip(index.tolist(), found, seeds.tolist(), strict=True):
            size = pixels.shape[0], pixels.shape[1]
            boxes, seen = visible_boxes(source.targets.original(picture).boxes, self._affine(source, picture), size)
            windows.append(ssd_window(seed, boxes[seen], size))
        return windows

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        sampling = "natural" if self.in_turn else self.sampling
        return epoch_order(self.labels, seed=self.seed, epoch=epoch, shuffle=self.shuffle, sampling=sampling)

    @property
    def _is_whole(self) -> bool:
        """Whether pictures are fitted before they are changed: all but where a crop is cut from the original."""
        return self.augment is None or self.augment.crop not in ("resized", "ssd")

    def _find(self, index: np.ndarray, pictures: list[np.ndarray] | None = None) -> list[np.ndarray]:
        """The pictures as they are before any change."""
        if pictures is None:
            return [self._read(int(place), self._is_whole) for place in index]
        if not self._is_whole:
            return pictures
        return [fit_picture(picture, self.size, self.pictures.fit) for picture in pictures]

    def _views(
        self, found: list[np.ndarray], view: int, index: np.ndarray, repeat: np.ndarray | int
    ) -> dict[str, Tensor]:
        """`inputs` and each further view of pictures that were read once."""
        return {
            name: self._change(found, Draws(self.seed, view, index, repeat + copy))
            for name, copy in self.copies.items()
        }

    def _change(self, found: list[np.ndarray], draws: Draws) -> Tensor:
        """[N, 3, H, W] float32 in [0, 1], augmented but not mixed."""
        drawn = None if self.augment is None else draw_augmentation(self.augment, self.size, draws)
        return self._pixels(found, drawn)

    def _pixels(self, found: list[np.ndarray], drawn: Drawn | None) -> Tensor:
        """[N, 3, H, W] float32 in [0, 1] of pictures and the changes drawn for them."""
        if self.augment is None or drawn is None:
            pixels = np.stack(found)
        else:
            pixels = apply_augmentation(found, drawn, self.augment, self.size)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)

    def _read(self, index: int, whole: bool) -> np.ndarray:
        source: Any = self.pictures
        if index >= len(self.pictures):
            source, index = self.extra, index - len(self.pictures)
        return source.picture(index) if whole else source.original(index)
