"""Pictures with labels, checked and ready: one split (`PictureSet`), and the splits of one data set (`DataSplits`).

What does not live here: how they were found (readers), checked (`inspect`) and divided (`split`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.data.placement import Window, context_margin, context_size, context_window, cut_context
from limbeck.data.raw import Kind, RawSplit, read_picture
from limbeck.data.split import choose_rows
from limbeck.data.targets import Targets
from limbeck.pictures import Fit, fit_affine, fit_picture, window_affine
from limbeck.point_schemes import PointScheme

if TYPE_CHECKING:
    from limbeck.data.signal_set import SignalSet
    from limbeck.data.stream import PictureStream

__all__ = ["DataSplits", "PictureSet"]


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one size with their labels; read-only, and cheap to cut into subsets.

    Attributes:
        name: of the data set.
        split: `train`, `validation`, `test` or `unlabelled`.
        class_names: by index.
        labels: [N] int64, -1 where unlabelled.
        image_size: (height, width) of every picture.
        fit: how a picture of another shape became `image_size`.
        targets: what is known of each picture where that is more than one class; `labels` are then all 0. None = labels.
        sizes: [N, 2] height and width of the pictures as they were found; None where nobody asked.
        windows: [N, 4] left, top, right, bottom: what of each picture as it was found is its picture here; None = all, as
            `fit` says.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    image_size: tuple[int, int]
    fit: Fit
    _raw: RawSplit = field(repr=False)
    _rows: np.ndarray = field(repr=False)
    _pixels: np.ndarray | None = field(default=None, repr=False)
    targets: Targets | None = field(default=None, repr=False)
    sizes: np.ndarray | None = field(default=None, repr=False)
    windows: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_in_memory(self) -> bool:
        """Whether all fitted pictures are held as pixels, so that reading one costs nothing."""
        return self._pixels is not None

    def picture(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB of `image_size`."""
        if self.windows is not None:
            return self._inside(self.context(index))
        if self._pixels is not None:
            return self._pixels[self._rows[index]]
        return fit_picture(self.original(index), self.image_size, self.fit)

    def context(self, index: int) -> np.ndarray:
        """[H', W', 3] uint8 RGB: `picture` with what is kept around its window, on all sides alike."""
        if self._pixels is not None:
            return self._pixels[self._rows[index]]
        if self.windows is None:
            return self.picture(index)
        found = read_picture(self._raw.pictures[int(self._rows[index])])
        return cut_context(found, self._window(index), self.image_size)

    def original(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB in the picture's own size where it is read from disk whole, else as `picture`."""
        if self.windows is not None:
            return self.picture(index)
        if self._pixels is not None:
            return self._pixels[self._rows[index]]
        return read_picture(self._raw.pictures[int(self._rows[index])])

    def samples(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """[N, H, W, 3] uint8 RGB of several pictures: a copy. All kinds of sets have it by this name."""
        if self._pixels is not None:
            return self._inside(self._pixels[self._rows[np.asarray(indices, np.int64)]])
        return np.stack([self.picture(int(index)) for index in indices])

    def original_affine(self, index: int) -> np.ndarray:
        """[2, 3] from coordinates of the picture as it was found to those of what `original` gives."""
        whole = self._pixels is None and self.windows is None
        return np.eye(2, 3) if whole else self.picture_affine(index)

    def context_affine(self, index: int) -> np.ndarray:
        """[2, 3] from coordinates of the picture as it was found to those of what `context` gives."""
        if self.windows is None:
            return self.picture_affine(index)
        window = context_window(self._window(index), self.image_size)
        return window_affine(window, context_size(self.image_size))

    def picture_affine(self, index: int) -> np.ndarray:
        """[2, 3] from coordinates of the picture as it was found to those of what `picture` gives."""
        if self.windows is not None:
            return window_affine(self._window(index), self.image_size)
        if self.sizes is None:
            raise ValueError("the sizes of these pictures were not noted")
        height, width = self.sizes[index].tolist()
        return fit_affine((height, width), self.image_size, self.fit)

    def shown_sizes(self) -> np.ndarray:
        """[N, 2] height and width of what each fitted picture shows, in pixels of the picture as it was found."""
        scales = np.array([np.diagonal(self.picture_affine(index)[:, :2]) for index in range(len(self))]).reshape(-1, 2)
        return np.array(self.image_size) / scales[:, ::-1]

    def source(self, index: int) -> str:
        """How reports call the picture: its path, or its place in the table."""
        return self._raw.name(int(self._rows[index]), self.name)

    def take(self, indices: Sequence[int] | np.ndarray) -> PictureSet:
        """The set of only these pictures, in this order; pixels are shared."""
        indices = np.asarray(indices, np.int64)
        return replace(
            self,
            labels=self.labels[indices],
            _rows=self._rows[indices],
            targets=None if self.targets is None else self.targets.take(indices),
            sizes=None if self.sizes is None else self.sizes[indices],
            windows=None if self.windows is None else self.windows[indices],
        )

    def limited(self, limit: int, *, seed: int = 0) -> PictureSet:
        """A stratified subset of at most `limit` pictures, in the old order."""
        if limit >= len(self):
            return self
        return self.take(choose_rows(self.labels, limit, seed=seed))

    def _window(self, index: int) -> Window:
        assert self.windows is not None
        left, top, right, bottom = self.windows[index].tolist()
        return left, top, right, bottom

    def _inside(self, pixels: np.ndarray) -> np.ndarray:
        """What lies within the windows, of [..., H', W', 3] with what is kept around them."""
        if self.windows is None:
            return pixels
        down, across = context_margin(self.image_size)
        return pixels[..., down : down + self.image_size[0], across : across + self.image_size[1], :]

    def class_counts(self) -> np.ndarray:
        """[K] number of pictures of each class; where they have more than one, of labelled pixels or boxes."""
        if self.targets is not None:
            return self.targets.class_counts()
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.class_names))


@dataclass(frozen=True)
class DataSplits:
    """A data set ready for a run.

    Attributes:
        train: what networks learn from; a `PictureStream` where the set is streamed.
        validation: what choices are made on; None when nothing was held out.
        test: what is reported and never chosen on.
        class_names: by index.
        image_size: (height, width); of signals (1, samples of a frame).
        fit: how a picture of another shape becomes `image_size`; `none` of signals, which are never fitted.
        fingerprint: changes when a picture, a label, a class name or the division changes; not when files are moved.
        report: `counts` per split, `class_counts` per split, `left_out` (split, source, reason; at most 200),
            `left_out_count`, `leakage` (pairs of splits with identical pictures), `warnings`.
        unlabelled: further pictures that join distillation.
        kind: what is known of each picture.
        scheme: of points, which change places in a mirror and what errors are divided by; None = nobody said.
    """

    train: PictureSet | PictureStream | SignalSet
    validation: PictureSet | SignalSet | None
    test: PictureSet | SignalSet
    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    fit: str
    fingerprint: str
    report: dict[str, Any]
    unlabelled: PictureSet | None = None
    kind: Kind = "class"
    scheme: PointScheme | None = None
