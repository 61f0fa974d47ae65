"""Look at every picture once, before any training: can it be read, what is in it, was it seen in another split.

What does not live here: labels (`labels`), the decision what to do with a set (`open`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limbeck.console import bar
from limbeck.cores import usable_cores
from limbeck.data.draws import Draws
from limbeck.data.placement import context_size, cut_context
from limbeck.data.raw import RawSplit, read_picture, size_of_picture
from limbeck.data.remembered import recall, remember, remembered_at
from limbeck.errors import InputError
from limbeck.pictures import Fit, fit_picture, shows_something

__all__ = ["Inspected", "choose_image_size", "find_shared", "hash_pixels", "inspect_pictures", "map_threads"]

CACHE_FORM = 2  # of what is remembered; another number looks anew
_CHUNK = 64  # pictures per task of the thread pool: large enough to hide its cost, small enough for a smooth bar


@dataclass
class Inspected:
    """What looking at the pictures of some rows gave.

    Attributes:
        rows: [N] row numbers in the raw split, readable ones only.
        hashes: [N] uint64 of the decoded pixels, so that a re-encoded or renamed copy of a picture is still the same.
        errors: reason by row of each unreadable picture.
        pixels: [N, H, W, 3] uint8 where they were to be kept; of windows with what is kept around them.
        sizes: [N, 2] int32 height and width of each picture as it was found.
    """

    rows: np.ndarray
    hashes: np.ndarray
    errors: dict[int, str]
    pixels: np.ndarray | None
    sizes: np.ndarray

    def take(self, wanted: np.ndarray) -> Inspected:
        """Only the pictures of a [N] mask; pixels are moved together in place."""
        pixels = None if self.pixels is None else _close_gaps(self.pixels, wanted)
        return Inspected(self.rows[wanted], self.hashes[wanted], self.errors, pixels, self.sizes[wanted])


def inspect_pictures(
    raw: RawSplit,
    rows: np.ndarray,
    *,
    image_size: tuple[int, int],
    fit: Fit,
    keep: bool,
    description: str,
    cache: Path | None = None,
) -> Inspected:
    """Decode the pictures of `rows` in threads, hash them, and keep them fitted where `keep`.

    With a `cache` folder, pictures on disk that are not to be kept are looked at again only when a file changed.
    """
    place = None if keep else remembered_at("inspection", raw.pictures, rows, cache, CACHE_FORM)
    if place is not None and place.exists():
        known, reasons = recall(place)
        return Inspected(known["rows"], known["hashes"], reasons, None, known["sizes"])
    hashes = np.zeros(len(rows), np.uint64)
    sizes = np.zeros((len(rows), 2), np.int32)
    stored = image_size if raw.windows is None else context_size(image_size)
    pixels = np.empty((len(rows), *stored, 3), np.uint8) if keep else None
    errors: dict[int, str] = {}

    def look(start: int) -> int:
        for position in range(start, min(start + _CHUNK, len(rows))):
            row = int(rows[position])
            try:
                picture = read_picture(raw.pictures[row])
            except (InputError, ValueError) as error:
                errors[row] = str(error)
                continue
            hashes[position], sizes[position] = hash_pixels(picture), picture.shape[:2]
            if pixels is None:
                continue
            if raw.windows is None:
                pixels[position] = fit_picture(picture, image_size, fit)
            elif shows_something(window := tuple(raw.windows[row].tolist()), picture.shape[:2]):
                pixels[position] = cut_context(picture, window, image_size)
            else:  # whoever looks at the annotations leaves it out
                pixels[position] = 0
        return min(_CHUNK, len(rows) - start)

    with bar(description, len(rows), unit="picture") as progress:
        for count in map_threads(
            look, range(0, len(rows), _CHUNK), threads=1 if isinstance(raw.pictures, np.ndarray) else None
        ):
            progress.advance(count)
    found = Inspected(rows, hashes, dict(sorted(errors.items())), pixels, sizes)
    if errors:
        found = found.take(np.array([int(row) not in errors for row in rows], bool))
    if place is not None:
        remember(place, found.errors, rows=found.rows, hashes=found.hashes, sizes=found.sizes)
    return found


def choose_image_size(
    raw: RawSplit, rows: np.ndarray, *, seed: int, sample: int = 256, square: bool = True
) -> tuple[int, int] | None:
    """Size for a set, from a seeded sample; None if none can be read.

    Square: the median shorter side, as a multiple of 32 from 32 to 224. Otherwise the median height and width, both as
    multiples of 32, reduced where the longer side would be above 512.
    """
    order = Draws(seed, 0, np.arange(len(rows))).order(0)[:sample]
    sizes = []
    if raw.windows is not None:
        sides = (raw.windows[:, [3, 2]] - raw.windows[:, [1, 0]])[rows[order]]
        sizes = sides[(sides >= 1).all(1)].tolist()
    for row in rows[order] if raw.windows is None else ():
        try:
            sizes.append(size_of_picture(raw.pictures[int(row)]))
        except InputError:
            continue  # counted and named when every picture is looked at
    if not sizes:
        return None
    found = np.array(sizes, np.float64)
    sides = np.median(found.min(axis=1, keepdims=True) if square else found, axis=0)
    sides = sides * min(1.0, (224 if square else 512) / sides.max())
    height, width = np.maximum(32, 32 * np.rint(sides / 32)).astype(int)[[0, -1]].tolist()
    return height, width


def find_shared(one: np.ndarray, other: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of positions (in one, in other) of equal hashes: one pair for each picture of `other` that is also in
    `one`.
    """
    values, first = np.unique(one, return_index=True)
    if not len(values):
        return []
    place = np.minimum(np.searchsorted(values, other), len(values) - 1)
    return [(int(first[place[at]]), int(at)) for at in np.flatnonzero(values[place] == other)]


def hash_pixels(picture: np.ndarray) -> int:
    """64 bits of the pixels and the size of a picture or mask."""
    digest = hashlib.blake2b(
        np.ascontiguousarray(picture).data, digest_size=8, person=str(picture.shape[:2]).encode()[:16]
    )
    return int.from_bytes(digest.digest(), "little")


def map_threads(look: Callable[[int], int], starts: Iterable[int], *, threads: int | None = None) -> Iterator[int]:
    """`look` of each start, in order, in threads: None = as many as there are cores, up to 16."""
    threads = threads or min(16, usable_cores())
    if threads == 1:
        yield from map(look, starts)
        return
    with ThreadPoolExecutor(threads) as pool:  # Pillow lets go of the interpreter lock while it decodes and resizes
        yield from pool.map(look, starts)


def _close_gaps(pixels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Move the wanted pictures together in place: a second copy might not fit the memory."""
    for place, source in enumerate(np.flatnonzero(wanted)):
        if place != source:
            pixels[place] = pixels[source]
    return pixels[: int(wanted.sum())]
