"""SigMF recordings: their metadata, held against the samples, which stay where they lie until they are asked for.

The metadata is read as JSON, by the specification. Not here: cutting them into frames (`sigmf_frames`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from limbeck.data.radio.choices import HIGHEST_RATE
from limbeck.errors import InputError
from limbeck.files import read_json

__all__ = ["Recording", "Span", "find_recordings", "open_recording", "resample"]

META, DATA = ".sigmf-meta", ".sigmf-data"
FINEST = 1000  # largest numerator and denominator of a resampling ratio
HALF_TAPS = 10  # of `resample_poly`'s filter on each side, in periods of the lower of both rates


@dataclass(frozen=True)
class Span:
    """Some samples of a recording, and what is written of them.

    Attributes:
        start: number of the first sample, the first of the data being 0 (whatever `core:offset` calls it).
        count: of samples.
        facts: the annotation, key by key; empty for a recording as a whole.
    """

    start: int
    count: int
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Recording:
    """One SigMF recording, checked, its samples where they lie.

    Attributes:
        path: of the metadata.
        sample_rate: in Hz; None where it is not written.
        facts: the metadata's `global` object.
        spans: its annotations, in order.
        samples: how many, of each channel.
        channels: that are interleaved.
        offset: number that the metadata gives the first sample (`core:offset`): what is written back counts from it.
    """

    path: Path
    sample_rate: float | None
    facts: Mapping[str, Any]
    spans: tuple[Span, ...]
    samples: int
    channels: int
    offset: int
    _pieces: tuple[tuple[int, int, int], ...]  # first sample, samples, place in the file in bytes
    _data: Path
    _dtype: np.dtype[Any]
    _is_complex: bool

    def read(self, start: int, count: int, channel: int = 0) -> np.ndarray:
        """[count] complex64, whole numbers as shares of full scale; of a real recording the imaginary part is 0."""
        width = (2 if self._is_complex else 1) * self.channels
        found = np.empty((count, width), np.float32)
        for first, length, place in self._pieces:
            low, high = max(start, first), min(start + count, first + length)
            if low < high:
                offset = place + (low - first) * width * self._dtype.itemsize
                stored = np.fromfile(self._data, self._dtype, (high - low) * width, offset=offset)
                found[low - start : high - start] = scaled(stored).reshape(-1, width)
        parts = found.reshape(count, self.channels, width // self.channels)[:, channel]
        return (parts[:, 0] + (1j * parts[:, 1] if self._is_complex else 0)).astype(np.complex64)


def scaled(values: np.ndarray) -> np.ndarray:
    """Samples as float32; whole numbers as shares of full scale, unsigned ones about their middle."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    size = values.dtype.itemsize
    half = 1 << (8 * size - 1)
    if values.dtype.kind == "u":  # the highest bit flipped, they are signed ones about the middle
        values = (values ^ values.dtype.type(half)).view(f"i{size}")
    found = values.astype(np.float32)
    found /= half
    return found


def resample(
    recording: Recording,
    span: Span,
    sample_rate: float | None,
    channel: int,
    *,
    start: int = 0,
    count: int | None = None,
) -> np.ndarray:
    """A span's samples, at another rate where that is asked for.

    Args:
        recording: that the span is of.
        span: which samples.
        sample_rate: in Hz; None = as they are.
        channel: of interleaved ones.
        start: first sample that is wanted, counted at that rate from the span's first.
        count: of wanted samples; they are what the whole would have there, and only what they need is read. None = all.

    Raises:
        InputError: the recording does not say its own rate, or the ratio is none of small whole numbers.
    """
    ratio = rate_ratio(recording, sample_rate)
    count = resampled_count(recording, span, sample_rate) - start if count is None else count
    if ratio == 1:
        return recording.read(span.start + start, count, channel)
    if not count:
        return np.zeros(0, np.complex64)
    up, down = ratio.numerator, ratio.denominator
    reach = HALF_TAPS * max(up, down)
    first = max(0, start * down - reach) // up // down * down  # so that a sample of the new rate lies on it
    last = min(span.count, ((start + count - 1) * down + reach) // up + 1)
    found = resample_poly(recording.read(span.start + first, last - first, channel), up, down)
    place = start - first // down * up
    return found[place : place + count].astype(np.complex64)


def resampled_count(recording: Recording, span: Span, sample_rate: float | None) -> int:
    """How many samples `resample` gives of a span as a whole."""
    ratio = rate_ratio(recording, sample_rate)
    return -(-span.count * ratio.numerator // ratio.denominator)


def rate_ratio(recording: Recording, sample_rate: float | None) -> Fraction:
    """Samples at a rate for each one of the recording.

    Raises:
        InputError: as `resample`.
    """
    if sample_rate is None:
        return Fraction(1)
    if recording.sample_rate is None:
        raise InputError(f"{recording.path}: says no core:sample_rate, so it cannot be resampled to {sample_rate:g} Hz")
    wanted = Fraction(sample_rate) / Fraction(recording.sample_rate)
    ratio = wanted.limit_denominator(FINEST)
    if ratio.numerator > FINEST * FINEST or not ratio or abs(float(ratio / wanted) - 1) > 1e-6:
        raise InputError(
            f"{recording.path}: from {recording.sample_rate:g} to {sample_rate:g} Hz is no ratio of whole numbers up to "
            f"{FINEST}; choose another sample_rate"
        )
    return ratio


def find_recordings(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The metadata files behind `paths`, each once, sorted within a folder.

    Raises:
        InputError: there are none, or a path is none of SigMF's.
    """
    found: list[Path] = []  # a recording may be named by both of its files, or beside its folder
    for path in [Path(paths)] if isinstance(paths, str | Path) else [Path(one) for one in paths]:
        if path.is_dir():
            found += sorted(path.rglob(f"*{META}"))
        elif path.suffix in (META, DATA):
            found.append(path.with_suffix(META))
        elif path.suffix == ".sigmf":
            raise InputError(f"{path}: is an archive; unpack it (tar xf) and give the folder")
        else:
            raise InputError(f"{path}: SigMF recordings end in {META} and {DATA}")
    if not found:
        raise InputError(f"{paths}: no recording (*{META})")
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def open_recording(path: str | Path) -> Recording:
    """Read a recording's metadata and hold it against its data.

    Raises:
        InputError: it is not SigMF, or disagrees with the data.
    """
    path = Path(path).with_suffix(META)
    meta = read_json(path)
    if not isinstance(meta, Mapping) or not isinstance(meta.get("global"), Mapping):
        raise InputError(f"{path}: is no SigMF metadata (an object with 'global', 'captures', 'annotations')")
    facts = meta["global"]
    dtype, is_complex = data_type(facts.get("core:datatype"), path)
    channels = whole(facts.get("core:num_channels", 1), "core:num_channels", path, lowest=1)
    rate = facts.get("core:sample_rate")
    if rate is not None and (type(rate) not in (int, float) or not 0 < rate <= HIGHEST_RATE):
        raise InputError(f"{path}: core:sample_rate must be a number of Hz above 0, got {str(rate)[:40]}")
    if facts.get("core:metadata_only"):
        raise InputError(f"{path}: says that it has no data (core:metadata_only)")
    data = path.with_suffix(DATA)
    if (outside := facts.get("core:dataset")) is not None:
        if not isinstance(outside, str) or Path(outside).name != outside:
            raise InputError(f"{path}: core:dataset must be the name of a file beside it, got {outside!r}")
        data = path.parent / outside
    if not data.is_file():
        raise InputError(f"{path}: its data, {data.name}, is not beside it")
    step = dtype.itemsize * (2 if is_complex else 1) * channels
    offset = whole(facts.get("core:offset", 0), "core:offset", path)
    pieces = find_pieces(meta.get("captures"), facts, data, step, path, offset=offset)
    samples = sum(length for _, length, _ in pieces)
    spans = tuple(read_spans(meta.get("annotations", []), samples, path, offset=offset))
    check_hash(facts.get("core:sha512"), data, path)
    return Recording(
        path=path,
        sample_rate=None if rate is None else float(rate),
        facts=facts,
        spans=spans,
        samples=samples,
        channels=channels,
        offset=offset,
        _pieces=pieces,
        _data=data,
        _dtype=dtype,
        _is_complex=is_complex,
    )


def check_hash(written: Any, data: Path, path: Path) -> None:
    """Hold the data against `core:sha512`, where it is written.

    Raises:
        InputError: the data is other than what was hashed.
    """
    if written is None:
        return
    state = data.stat()
    if str(written).strip().lower() != sha512_of(data, state.st_size, state.st_mtime_ns):
        raise InputError(
            f"{path}: {data.name} is damaged, or another file: its SHA-512 is not the metadata's core:sha512; copy it "
            "again, or correct the metadata"
        )


@lru_cache(maxsize=4096)
def sha512_of(data: Path, size: int, changed: int) -> str:
    """Hexadecimal; a file is read once, as long as size and time of its last change stay."""
    with open(data, "rb") as handle:
        return hashlib.file_digest(handle, "sha512").hexdigest()


def counted_from(value: Any, key: str, path: Path, offset: int) -> int:
    """A number of a sample, the data's first being 0.

    Raises:
        InputError: it is none, or lies before the data.
    """
    number = whole(value, key, path)
    if number < offset:
        raise InputError(
            f"{path}: {key}, {number}, lies before core:offset = {offset}, the number of the data's first sample"
        )
    return number - offset


def data_type(value: Any, path: Path) -> tuple[np.dtype[Any], bool]:
    """(type of one number, whether two of them are a sample) of a `core:datatype` such as `cf32_le`, `ri8`.

    Raises:
        InputError: none of the specification's.
    """
    match = re.fullmatch(r"([rc])(?:(f32|f64|i64|i32|i16|u64|u32|u16)_(le|be)|(i8|u8))", str(value))
    if not match:
        raise InputError(f"{path}: core:datatype {value!r} is none of SigMF's, such as cf32_le, ci16_be, cu8, rf64_le")
    kind, wide, order, byte = match.groups()
    code = wide or byte
    name = f"{code[0]}{int(code[1:]) // 8}"
    return np.dtype(f"{'>' if order == 'be' else '<'}{name}"), kind == "c"


def whole(value: Any, key: str, path: Path, *, lowest: int = 0) -> int:
    """A whole number of the metadata.

    Raises:
        InputError: it is none, or too small.
    """
    if type(value) is not int or value < lowest:
        raise InputError(f"{path}: {key} must be a whole number of at least {lowest}, got {value!r}")
    if value >= 2**63:
        raise InputError(f"{path}: {key} must be a whole number below 2^63")
    return value


def find_pieces(
    captures: Any, facts: Mapping[str, Any], data: Path, step: int, path: Path, *, offset: int
) -> tuple[tuple[int, int, int], ...]:
    """(first sample, samples, place in bytes) of each stretch of samples between the headers of the data.

    Raises:
        InputError: the captures are not in order, or leave a part of a sample over.
    """
    if not isinstance(captures, list) or not all(isinstance(one, Mapping) for one in captures):
        raise InputError(f"{path}: 'captures' must be a list of objects")
    key = "core:sample_start of a capture"
    starts = [counted_from(one.get("core:sample_start"), key, path, offset) for one in captures]
    headers = [whole(one.get("core:header_bytes", 0), "core:header_bytes", path) for one in captures]
    if starts != sorted(starts):
        raise InputError(f"{path}: captures must be sorted by core:sample_start, got {starts}")
    if not starts or starts[0] > 0:
        starts, headers = [0, *starts], [0, *headers]
    trailing = whole(facts.get("core:trailing_bytes", 0), "core:trailing_bytes", path)
    size = data.stat().st_size
    left = size - sum(headers) - trailing
    if left < 0 or left % step:
        raise InputError(
            f"{path}: {data.name} has {size} bytes, which is no whole number of samples of {step} bytes"
            + (f" beside {sum(headers) + trailing} bytes of headers" if sum(headers) + trailing else "")
        )
    samples = left // step
    if starts[-1] > samples or not samples:
        raise InputError(f"{path}: a capture starts at sample {starts[-1]}, but {data.name} has {samples} of them")
    pieces, before = [], 0
    for start, end, header in zip(starts, [*starts[1:], samples], headers, strict=True):
        before += header
        pieces.append((start, end - start, before + start * step))
    return tuple(pieces)


def read_spans(annotations: Any, samples: int, path: Path, *, offset: int) -> list[Span]:
    """The annotations; one without a count reaches to the end.

    Raises:
        InputError: one reaches past the data.
    """
    if not isinstance(annotations, list) or not all(isinstance(one, Mapping) for one in annotations):
        raise InputError(f"{path}: 'annotations' must be a list of objects")
    spans = []
    for one in annotations:
        start = counted_from(one.get("core:sample_start"), "core:sample_start of an annotation", path, offset)
        count = whole(one.get("core:sample_count", max(samples - start, 0)), "core:sample_count", path)
        if start + count > samples:
            raise InputError(f"{path}: an annotation reaches to sample {start + count}, but the data has {samples}")
        spans.append(Span(start, count, one))
    return spans
