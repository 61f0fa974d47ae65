"""A class for every pixel: masks as they were found become masks that pictures are trained and judged on.

What does not live here: which files they lie in (`mask_layouts`, `mask_sets`), weights of classes (`balance`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from limbeck.console import bar
from limbeck.data.inspect import hash_pixels, map_threads
from limbeck.data.raw import RawData, RawSplit
from limbeck.data.remembered import recall, remember, remembered_at
from limbeck.data.slips import too_many
from limbeck.data.targets import OpenedTargets
from limbeck.errors import InputError

__all__ = ["VOID", "MaskTargets", "open_masks", "read_mask"]

VOID = 255
"""What masks hold in memory where a pixel is neither learned nor judged; batches hold -1 there."""

_WRONG = 254  # in a table of values: no class, and not meant to be none
_MAX_CLASSES = 254
_HELD_BYTES = 2_000_000_000  # masks are held in their own size, which may be far above the pictures' fitted one
_CHUNK = 16
_GREY = ("1", "L", "P", "I", "F")  # and I;16 with its byte orders: one value per pixel, as it was written


@dataclass(frozen=True)
class MaskTargets:
    """The masks of some pictures (`limbeck.data.targets.Targets`).

    Attributes:
        counts: [N, K] int64 labelled pixels of each picture by class, in its own size.
    """

    counts: np.ndarray
    _hashes: np.ndarray = field(repr=False)
    _sources: Sequence[Any] = field(repr=False)
    _rows: np.ndarray = field(repr=False)
    _classes: np.ndarray | None = field(repr=False)  # [65536] value -> class; None = the sources are classes already

    def __len__(self) -> int:
        return len(self._rows)

    def mask(self, index: int) -> np.ndarray:
        """[H, W] uint8 classes of one picture in its own size, 255 = void."""
        found = self._sources[int(self._rows[index])]
        return found if self._classes is None else self._classes[read_mask(found)]

    def take(self, indices: np.ndarray) -> MaskTargets:
        """The masks of only these pictures, in this order."""
        kept = {"counts": self.counts[indices], "_hashes": self._hashes[indices], "_rows": self._rows[indices]}
        return replace(self, **kept)

    def changed(self, index: int, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """[H, W] uint8: at each pixel's centre the class of the nearest pixel of the mask, 255 outside of it."""
        mask, (height, width) = self.mask(index), size
        if mask.shape == (height, width) and np.array_equal(affine, np.eye(2, 3)):
            return mask
        linear = np.linalg.inv(affine[:, :2])  # Pillow asks where a pixel of the output comes from
        back = np.concatenate([linear, -linear @ affine[:, 2:]], axis=1)
        image = Image.fromarray(mask).transform(
            (width, height),
            Image.Transform.AFFINE,
            tuple(back.ravel().tolist()),
            Image.Resampling.NEAREST,
            fillcolor=VOID,
        )
        return np.asarray(image)

    def collate(self, samples: Sequence[np.ndarray]) -> Tensor:
        """[N, H, W] int64 classes, -1 = void."""
        masks = torch.from_numpy(np.stack(samples)).long()
        return masks.masked_fill_(masks == VOID, -1)

    def class_counts(self) -> np.ndarray:
        """[K] labelled pixels of each class."""
        return self.counts.sum(0)

    def identity(self) -> bytes:
        """Changes when a mask does."""
        return self._hashes.tobytes()


def open_masks(
    raw: RawData,
    split: RawSplit,
    rows: np.ndarray,
    *,
    sizes: np.ndarray,
    class_names: tuple[str, ...],
    keep: bool,
    description: str,
    cache: Path | None = None,
) -> OpenedTargets:
    """Look at the masks of pictures that can be read (`limbeck.data.targets.OpenTargets`).

    A picture is left out whose mask is missing, cannot be read, has another size than the picture, or holds a value
    that is no class. Masks that are void all over are kept, counted and said.

    Raises:
        InputError: more than a tenth of the masks (and more than one) are wrong, no pixel at all is labelled, or there
            are too many classes.
    """
    if len(class_names) > _MAX_CLASSES:
        raise InputError(f"{len(class_names)} classes: masks may have {_MAX_CLASSES} at most")
    sources: Any = split.annotations
    classes = value_table(len(class_names), raw.mask_values)
    held = None
    if keep and int(sizes.astype(np.int64).prod(1).sum()) <= _HELD_BYTES:
        held = [np.empty((0, 0), np.uint8)] * len(rows)
    asked = [sizes.tolist(), hashlib.sha256(classes.tobytes()).hexdigest(), len(class_names)]
    place = None if held is not None else remembered_at("masks", sources, rows, cache, asked)
    if place is not None and place.exists():
        found, errors = recall(place)
    else:
        found, errors = _look(sources, rows, sizes, classes, len(class_names), held, description)
        if place is not None:
            remember(place, errors, **found)
    usable = np.array([int(row) not in errors for row in rows], bool)
    if too_many(len(errors), len(rows)):
        row = min(errors)
        raise InputError(
            f"{len(errors)} of {len(rows)} masks are not usable; first: {split.name(row, 'picture')}: {errors[row]}"
        )
    counts, hashes, rows = found["counts"][usable], found["hashes"][usable], rows[usable]
    if len(rows) and not counts.any():
        raise InputError(f"{description}: no pixel of any mask is labelled with one of the {len(class_names)} classes")
    if held is None:
        targets = MaskTargets(counts, hashes, sources, rows, classes)
    else:
        kept = [mask for mask, is_usable in zip(held, usable, strict=True) if is_usable]
        targets = MaskTargets(counts, hashes, kept, np.arange(len(rows)), None)
    empty = rows[counts.sum(1) == 0]
    first = split.name(int(empty[0]), "picture") if len(empty) else ""
    notes = [f"{len(empty)} of {len(rows)} masks are void all over; first: {first}"] if len(empty) else []
    return OpenedTargets(targets, usable, errors, notes)


def _look(
    sources: Sequence[Any],
    rows: np.ndarray,
    sizes: np.ndarray,
    classes: np.ndarray,
    num_classes: int,
    held: list[np.ndarray] | None,
    description: str,
) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """Labelled pixels by class and a hash of each mask, and why some cannot be used; masks go into `held`."""
    counts = np.zeros((len(rows), num_classes), np.int64)
    hashes = np.zeros(len(rows), np.uint64)
    errors: dict[int, str] = {}

    def look(start: int) -> int:
        for place in range(start, min(start + _CHUNK, len(rows))):
            row = int(rows[place])
            try:
                mask = _checked(read_mask(sources[row]), tuple(sizes[place].tolist()), classes, num_classes)
            except InputError as error:
                errors[row] = str(error)
                continue
            counts[place] = np.bincount(mask.ravel(), minlength=256)[:num_classes]
            hashes[place] = hash_pixels(mask)
            if held is not None:
                held[place] = mask
        return min(_CHUNK, len(rows) - start)

    with bar(description, len(rows), unit="mask") as progress:
        for count in map_threads(look, range(0, len(rows), _CHUNK)):
            progress.advance(count)
    return {"counts": counts, "hashes": hashes}, dict(sorted(errors.items()))


def read_mask(source: Any) -> np.ndarray:
    """[H, W] whole numbers, at most 65535 each: the values of a mask, as they were written.

    Args:
        source: a path, the bytes of an encoded file of one channel (grey, or the indices of a palette), or an array.

    Raises:
        InputError: the file is missing, no picture, of several channels, or holds other values.
    """
    if isinstance(source, np.ndarray):
        values, name = source, "mask"
    else:
        name = f"mask of {len(source)} bytes" if isinstance(source, bytes) else f"mask {source}"
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                image.load()
                upright = ImageOps.exif_transpose(image)
                mode, values = upright.mode, np.asarray(upright)
        except FileNotFoundError:
            raise InputError(f"{name}: no such file") from None
        except Exception as error:  # Pillow's plug-ins raise nearly anything on broken bytes
            unknown = isinstance(error, Image.UnidentifiedImageError)
            reason = "no known picture format" if unknown else " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{name}: not readable ({reason})") from error
        if mode not in _GREY and not mode.startswith("I;16"):
            raise InputError(f"{name}: has the channels {mode}; expected one channel that holds class indices")
    if values.dtype == bool:
        values = values.astype(np.uint8)
    if values.ndim != 2 or values.dtype.kind not in "ui":
        raise InputError(f"{name}: is {list(values.shape)} of {values.dtype}; expected [H, W] whole numbers")
    if values.dtype != np.uint8 and values.size and not 0 <= int(values.min()) <= int(values.max()) <= 65535:
        raise InputError(f"{name}: holds {int(values.min())} to {int(values.max())}; expected values in 0 .. 65535")
    return values


def value_table(num_classes: int, values: Mapping[int, int] | None) -> np.ndarray:
    """[65536] uint8: the class of each value of a mask, 255 = void, 254 = no class.

    Args:
        num_classes: K.
        values: value -> class, -1 = void; None = values are classes. 255 is void where it is not named.

    Raises:
        InputError: a value that no mask can hold, or a class that there is not.
    """
    table = np.full(65536, _WRONG, np.uint8)
    table[VOID] = VOID
    for value, each in (dict.fromkeys(range(num_classes)) if values is None else values).items():
        each = value if each is None else each
        if not 0 <= value < len(table) or not -1 <= each < num_classes:
            raise InputError(f"mask value {value} stands for class {each}: there are 0 .. {num_classes - 1}, -1 = void")
        table[value] = VOID if each < 0 else each
    return table


def _checked(values: np.ndarray, size: tuple[int, ...], classes: np.ndarray, num_classes: int) -> np.ndarray:
    if values.shape != size:
        ours, theirs = (f"{height} x {width}" for height, width in (values.shape, size))
        raise InputError(f"the mask has {ours} pixels (height x width), its picture {theirs}")
    mask = classes[values]
    if (mask == _WRONG).any():
        wrong = np.unique(values[mask == _WRONG])
        listed = ", ".join(str(value) for value in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
        many = "values" if len(wrong) > 1 else "value"
        raise InputError(f"the mask holds the {many} {listed}, beyond the classes 0 .. {num_classes - 1}")
    return mask
