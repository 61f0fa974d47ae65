"""One batch of pictures by its number: which samples, read, changed, mixed.

What does not live here: epochs, workers, what a loader refuses (`loader`); how pictures change (`augment`, `mixing`), in
which order they come (`order`, `stream`); batches of signals (`signal_batches`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from limbeck.data.augment import Augment, Drawn, apply_augmentation, augmentation_affine, draw_augmentation
from limbeck.data.boxes import BoxTargets, visible_boxes
from limbeck.data.draws import Draws
from limbeck.data.further import CLASSMATE_COPY, SAME_CLASS, Classmates, view_copies
from limbeck.data.mixing import class_rows, draw_mix, draw_partners, mix_pictures
from limbeck.data.order import class_members, epoch_order
from limbeck.data.picture_set import PictureSet
from limbeck.data.placement import Window, combine, context_size
from limbeck.data.points import PointTargets
from limbeck.data.signal_set import SignalSet
from limbeck.data.ssd_crop import ssd_window
from limbeck.data.stream import PictureStream
from limbeck.data.targets import Targets
from limbeck.errors import InputError
from limbeck.pictures import fit_picture
from limbeck.types import Batch

__all__ = ["BatchMaker", "check_moves"]


def check_moves(targets: Targets, augment: Augment | None) -> None:
    """Refuse changes of place that annotations of this kind cannot follow.

    Raises:
        InputError: boxes of turned pictures, or mirrored points of which nobody said which change places.
    """
    if augment is None:
        return
    if isinstance(targets, BoxTargets) and augment.turn:
        raise InputError(f"augment.turn = {augment.turn}: boxes of turned pictures are not known; leave it out")
    if isinstance(targets, PointTargets) and augment.flip and targets.mirror is None:
        raise InputError(
            "augment.flip: nobody said which points change places in a mirror; give data.options.mirrored, pairs of "
            "points, or set augment.flip = false"
        )


@dataclass
class BatchMaker(Dataset[Any]):
    """Makes any batch by its number; what a worker process holds. Attributes are those of `Loader`."""

    pictures: PictureSet | PictureStream | SignalSet
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

    def __getitem__(self, epoch_and_step: tuple[int, int]) -> Batch | InputError:
        """What a worker sends; an error as a value, since one that is raised there arrives as a whole traceback."""
        try:
            return self.make(*epoch_and_step)
        except InputError as error:
            return error

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
        target = self._moved(source, index, drawn, [(one.shape[0], one.shape[1]) for one in found])
        return Batch(torch.from_numpy(index), self._pixels(found, drawn), target, view, True)

    def targets(self, view: int) -> Tensor:
        """`Batch.target` of every annotated picture in a view, in the order of the set; no picture is read."""
        source: Any = self.pictures
        index = np.arange(len(source))
        drawn = (
            None
            if self.augment is None
            else draw_augmentation(self.augment, self.size, Draws(self.seed, view, index, np.zeros_like(index)))
        )
        return self._moved(source, index, drawn, [self._size_found(source, picture) for picture in index.tolist()])

    def _moved(
        self, source: PictureSet, index: np.ndarray, drawn: Drawn | None, sizes: list[tuple[int, int]]
    ) -> Tensor:
        """The annotations of pictures that `_find` gives in these sizes, moved as they are."""
        assert source.targets is not None
        samples = []
        for place, picture in enumerate(index.tolist()):
            to_found = self._affine(source, picture)
            if drawn is not None:
                to_found = combine(to_found, augmentation_affine(drawn, place, sizes[place], self.size))
            samples.append(source.targets.changed(picture, to_found, self.size))
        return source.targets.collate(samples)

    def _size_found(self, source: PictureSet, picture: int) -> tuple[int, int]:
        """(height, width) of what `_find` gives of a picture."""
        if self._has_context and source.windows is not None:
            return context_size(self.size)
        if self._is_whole or source.is_in_memory or source.windows is not None:
            return self.size
        assert source.sizes is not None
        height, width = source.sizes[picture].tolist()
        return height, width

    def _affine(self, source: PictureSet, picture: int) -> np.ndarray:
        """From coordinates of a picture as it lies on the disk to those of what `_find` gives."""
        if self._has_context:
            return source.context_affine(picture)
        return source.picture_affine(picture) if self._is_whole else source.original_affine(picture)

    def _ssd_windows(
        self, source: PictureSet, index: np.ndarray, found: list[np.ndarray], seeds: np.ndarray
    ) -> list[Window]:
        """SSD's crop of each picture, which depends on its boxes; a whole one of its own size is cut too, to be fitted."""
        assert isinstance(source.targets, BoxTargets)
        windows = []
        for picture, pixels, seed in zip(index.tolist(), found, seeds.tolist(), strict=True):
            size = pixels.shape[0], pixels.shape[1]
            boxes, seen = visible_boxes(source.targets.original(picture).boxes, self._affine(source, picture), size)
            windows.append(ssd_window(seed, boxes[seen], size) or (0.0, 0.0, float(size[1]), float(size[0])))
        return windows

    def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        sampling = "natural" if self.in_turn else self.sampling
        return epoch_order(self.labels, seed=self.seed, epoch=epoch, shuffle=self.shuffle, sampling=sampling)

    @property
    def _is_whole(self) -> bool:
        """Whether pictures are fitted before they are changed: all but where a crop is cut from the original."""
        return self.augment is None or self.augment.crop not in ("resized", "ssd")

    @property
    def _has_context(self) -> bool:
        """Whether pictures come with what is kept around their windows."""
        return self.augment is not None and self.augment.crop == "turned"

    def _find(self, index: np.ndarray, pictures: list[np.ndarray] | None = None) -> list[np.ndarray]:
        """The pictures as they are before any change."""
        if pictures is None:
            return [self._read(int(place), self._is_whole) for place in index]
        if not self._is_whole:
            return pictures
        stream: Any = self.pictures
        return [fit_picture(picture, self.size, stream.fit) for picture in pictures]

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
        if self._has_context:
            return source.context(index)
        return source.picture(index) if whole else source.original(index)
