"""SigMF recordings: metadata and samples, cut into frames by what is written of them.

Not here: sets of frames (`signal_sets`). The metadata is read as JSON, by the specification; the samples are mapped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import resample_poly

from limbeck.data.radio.record import Signals, check_signals
from limbeck.errors import InputError
from limbeck.files import read_json

__all__ = ["Recording", "Span", "open_recording", "read_sigmf"]

META, DATA = ".sigmf-meta", ".sigmf-data"
FINEST = 1000  # largest numerator and denominator of a resampling ratio


@dataclass(frozen=True)
class Span:
    """Some samples of a recording, and what is written of them.

    Attributes:
        start: number of the first sample.
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
    """

    path: Path
    sample_rate: float | None
    facts: Mapping[str, Any]
    spans: tuple[Span, ...]
    samples: int
    channels: int
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
        parts = found.reshape(count, self.channels, -1)[:, channel]
        return (parts[:, 0] + (1j * parts[:, 1] if self._is_complex else 0)).astype(np.complex64)


def scaled(values: np.ndarray) -> np.ndarray:
    """Samples as float32; whole numbers as shares of full scale, unsigned ones about their middle."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    return ((values - (half if values.dtype.kind == "u" else 0.0)) / half).astype(np.float32)


def read_sigmf(
    paths: str | Path | Sequence[str | Path],
    *,
    frame_length: int,
    label: str = "core:label",
    hop: int | None = None,
    sample_rate: float | None = None,
    snr: str | None = None,
    channel: int = 0,
    classes: Sequence[str] | None = None,
) -> Signals:
    """Cut recordings into frames; each recording is a group, so that splits take or leave it as a whole.

    With a label of annotations, frames lie wholly inside of one; a rest that is shorter than a frame, and samples that no
    annotation with that label covers, make none. With a label of the recording they start at its first sample.

    Args:
        paths: recordings (either of their two files), or a folder of them, subfolders included.
        frame_length: L, in samples after resampling.
        label: key of the class in annotations, or `global:KEY` for one in the recording's global object.
        hop: samples from one frame's start to the next; None = `frame_length`.
        sample_rate: in Hz; recordings of another one are resampled, each span by itself. None = as they are.
        snr: key of the SNR in dB, in the same place as the label; None = unknown.
        channel: of interleaved ones.
        classes: names in the order of `y`; None = all that are found, sorted. Spans of other classes make no frame.

    Raises:
        InputError: metadata that is not SigMF, or that disagrees with its data; a key that nothing has; no frame at all.
    """
    hop = frame_length if hop is None else hop
    for name, value, low in (("frame_length", frame_length, 16), ("hop", hop, 1), ("channel", channel, 0)):
        if type(value) is not int or value < low:
            raise InputError(f"{name}: must be a whole number of at least {low}, got {value!r}")
    key = label.removeprefix("global:")
    if not key:
        raise InputError(f"label: must be a key such as core:label or global:core:description, got {label!r}")
    is_global = label.startswith("global:")
    frames, labels, levels, groups, names = [], [], [], [], []
    for group, path in enumerate(find_recordings(paths)):
        recording = open_recording(path)
        if channel >= recording.channels:
            raise InputError(f"channel = {channel}: {recording.path} has {recording.channels}, counted from 0")
        names.append(str(recording.path))
        whole = Span(0, recording.samples, recording.facts)
        for span in (whole,) if is_global else recording.spans:
            if (named := span.facts.get(key)) is None or (classes is not None and str(named) not in classes):
                continue
            samples = resample(recording, span, sample_rate, channel)
            starts = np.arange(0, len(samples) - frame_length + 1, hop)
            cut = samples[starts[:, None] + np.arange(frame_length)]
            frames.append(np.stack([cut.real, cut.imag], 1))
            labels += [str(named)] * len(starts)
            groups += [group] * len(starts)
            if snr is not None:
                levels += [snr_of(span, snr, recording)] * len(starts)
    if not labels:
        raise InputError(
            f"{', '.join(names[:3])}: no frame of {frame_length} samples; nothing has '{label}', or all that has is shorter"
        )
    found = tuple(classes) if classes is not None else tuple(sorted(set(labels)))
    for name in found:
        if name not in labels:
            raise InputError(f"classes: '{name}' has no frame in {len(names)} recordings")
    y = np.array([found.index(name) for name in labels], np.int64)
    level = None if snr is None else np.array(levels, np.float32)
    X = np.concatenate(frames).astype(np.float32)
    return check_signals(Signals(X, y, level, found, np.array(groups, np.int64), tuple(names)), where=names[0])


def snr_of(span: Span, key: str, recording: Recording) -> float:
    """The SNR that is written.

    Raises:
        InputError: none is, or no number.
    """
    value = span.facts.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(
            f"{recording.path}: '{key}' of the span at sample {span.start} must be a number, got {value!r}"
        )
    return float(value)


def resample(recording: Recording, span: Span, sample_rate: float | None, channel: int) -> np.ndarray:
    """A span's samples, at another rate where that is asked for.

    Raises:
        InputError: the recording does not say its own rate, or the ratio is none of small whole numbers.
    """
    samples = recording.read(span.start, span.count, channel)
    if sample_rate is None:
        return samples
    if recording.sample_rate is None:
        raise InputError(f"{recording.path}: says no core:sample_rate, so it cannot be resampled to {sample_rate:g} Hz")
    wanted = Fraction(sample_rate) / Fraction(recording.sample_rate)
    ratio = wanted.limit_denominator(FINEST)
    if ratio.numerator > FINEST * FINEST or not ratio or abs(float(ratio / wanted) - 1) > 1e-6:
        raise InputError(
            f"{recording.path}: from {recording.sample_rate:g} to {sample_rate:g} Hz is no ratio of whole numbers up to "
            f"{FINEST}; choose another sample_rate"
        )
    if ratio == 1:
        return samples
    return resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.complex64)


def find_recordings(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The metadata files behind `paths`, sorted within a folder.

    Raises:
        InputError: there are none, or a path is none of SigMF's.
    """
    found: list[Path] = []
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
    return found


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
    if rate is not None and (type(rate) not in (int, float) or not 0 < rate < float("inf")):
        raise InputError(f"{path}: core:sample_rate must be a number above 0, got {rate!r}")
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
    pieces = find_pieces(meta.get("captures"), facts, data, step, path)
    samples = sum(length for _, length, _ in pieces)
    spans = tuple(read_spans(meta.get("annotations", []), samples, path))
    return Recording(
        path, None if rate is None else float(rate), facts, spans, samples, channels, pieces, data, dtype, is_complex
    )


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
    return value


def find_pieces(
    captures: Any, facts: Mapping[str, Any], data: Path, step: int, path: Path
) -> tuple[tuple[int, int, int], ...]:
    """(first sample, samples, place in bytes) of each stretch of samples between the headers of the data.

    Raises:
        InputError: the captures are not in order, or leave a part of a sample over.
    """
    if not isinstance(captures, list) or not all(isinstance(one, Mapping) for one in captures):
        raise InputError(f"{path}: 'captures' must be a list of objects")
    starts = [whole(one.get("core:sample_start"), "core:sample_start of a capture", path) for one in captures]
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


def read_spans(annotations: Any, samples: int, path: Path) -> list[Span]:
    """The annotations; one without a count reaches to the end.

    Raises:
        InputError: one reaches past the data.
    """
    if not isinstance(annotations, list) or not all(isinstance(one, Mapping) for one in annotations):
        raise InputError(f"{path}: 'annotations' must be a list of objects")
    spans = []
    for one in annotations:
        start = whole(one.get("core:sample_start"), "core:sample_start of an annotation", path)
        count = whole(one.get("core:sample_count", max(samples - start, 0)), "core:sample_count", path)
        if start + count > samples:
            raise InputError(f"{path}: an annotation reaches to sample {start + count}, but the data has {samples}")
        spans.append(Span(start, count, one))
    return spans
