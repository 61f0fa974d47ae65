"""`limbeck predict` on signals: recordings and sets of frames through an exported model.

Not here: pictures (`predict`); reading recordings (`data.radio`); writing what is said as SigMF (`annotations`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.console import bar, say, warn
from limbeck.data.radio.sigmf import Recording, Span, open_recording, resample, resampled_count
from limbeck.deployed import DeployedModel
from limbeck.errors import InputError
from limbeck.pipeline.recordings import ARRAYS, find_reading, recordings_of

__all__ = ["predict_signals"]

BATCH = 1024  # frames that are read at once
AT_ONCE = 64  # of them in the model: more take its memory and no less time
BLOCK = 1 << 20  # samples of a recording at once, all channels: of a longer one only the answers take more memory


def predict_signals(deployed: DeployedModel, paths: list[Path], *, model: str) -> list[dict[str, Any]]:
    """Say what is in signals, frame by frame, one frame after the other; a rest that is shorter than a frame is left out.

    Args:
        deployed: a model of signals.
        paths: SigMF recordings, folders of them, `.npy` ([N, 2, T], complex [N, T], or complex samples in one row, which
            are cut) or `.npz` (the same as `X`).
        model: as the user named it; recordings are read as its own were (`find_reading`).

    Returns:
        per frame, those of sets of frames first, `file`, `sample_start` and `sample_count` (in samples of the recording,
        of its rate, numbered as in its annotations), `label`, `confidence`, and `probabilities` by class name; of a set of
        frames `frame` in the place of the former two.

    Raises:
        InputError: a path that is neither, frames of another length, a set with samples that are not finite or all zeros,
            a recording without the channel, or no frame at all.
    """
    length = deployed.input_size[1]
    arrays = {path: _read_frames(path, length) for path in paths if path.suffix in ARRAYS}
    recordings = [open_recording(meta) for meta in recordings_of(paths)]
    reading = find_reading(model, deployed) if recordings else {}
    rate, channel = reading.get("sample_rate"), reading.get("channel", 0)
    samples = {}
    for recording in recordings:
        if channel >= recording.channels:
            raise InputError(
                f"{recording.path}: has {recording.channels} channel{'s' * (recording.channels > 1)}, and the model was "
                f"trained on channel {channel}, counted from 0"
            )
        samples[recording.path] = resampled_count(recording, _whole(recording), rate)
    short = [one for one in recordings if samples[one.path] < length]
    told = [f"{one.path}: {samples[one.path]} samples are less than one frame of {length}" for one in short]
    if short and len(short) == len(recordings) and not arrays:
        raise InputError(told[0] + (f"; all {len(short)} recordings are too short" if len(short) > 1 else ""))
    for text in told:
        warn(f"left out: {text}")
    rows: list[dict[str, Any]] = []
    for path, frames in arrays.items():
        rows += _of_frames(deployed, frames, path)
    for recording in recordings:
        if recording not in short:
            rows += _of_recording(deployed, recording, rate, channel)
    if not rows:
        raise InputError(f"{', '.join(map(str, paths[:3]))}: no frame with finite samples and any power")
    return rows


def _whole(recording: Recording) -> Span:
    return Span(0, recording.samples, {})


def _of_frames(deployed: DeployedModel, frames: np.ndarray, path: Path) -> Iterator[dict[str, Any]]:
    with bar("predict", len(frames), unit="frame") as progress:
        for first in range(0, len(frames), BATCH):
            said = _answers(deployed, frames[first : first + BATCH], f"{path}, from frame {first}")
            yield from ({"file": str(path), "frame": number, **one} for number, one in enumerate(said, first))
            progress.advance(len(said))


def _of_recording(
    deployed: DeployedModel, recording: Recording, rate: float | None, channel: int
) -> Iterator[dict[str, Any]]:
    """Rows of one recording, which is read block by block."""
    length, whole = deployed.input_size[1], _whole(recording)
    samples = resampled_count(recording, whole, rate)
    count, left = divmod(samples, length)
    if left:
        say(f"{recording.path}: the last {left} samples are less than a frame of {length}, and left out")
    ratio = recording.samples / samples  # samples of the recording per sample that the model sees
    step = max(1, min(BATCH, int(BLOCK / (length * max(1.0, ratio) * recording.channels))))
    silent = 0
    with bar("predict", count, unit="frame") as progress:
        for first in range(0, count, step):
            here = min(step, count - first)
            block = resample(recording, whole, rate, channel, start=first * length, count=here * length)
            frames = block.reshape(here, length)
            edges = np.minimum(np.round(np.arange(first, first + here + 1) * length * ratio), recording.samples)
            starts = (edges.astype(np.int64) + recording.offset).tolist()
            heard = np.flatnonzero(frames.any(1) & np.isfinite(frames).all(1))
            silent += here - len(heard)
            said = _answers(deployed, frames[heard], f"{recording.path}, from frame {first}")
            for place, one in zip(heard.tolist(), said, strict=True):
                extent = {"sample_start": starts[place], "sample_count": starts[place + 1] - starts[place]}
                yield {"file": str(recording.path), **extent, **one}
            progress.advance(here)
    if silent:
        warn(f"{recording.path}: left out: {silent} of {count} frames are all zeros, or not finite")


def _answers(deployed: DeployedModel, frames: np.ndarray, where: str) -> list[dict[str, Any]]:
    try:
        said = deployed.predict(frames, batch_size=AT_ONCE)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    rows = []
    for label, confidence, probabilities in zip(said.labels, said.confidence, said.probabilities, strict=True):
        by_name = zip(deployed.class_names, probabilities.tolist(), strict=True)
        shares = {name: round(share, 6) for name, share in by_name}
        rows.append({"label": label, "confidence": round(float(confidence), 6), "probabilities": shares})
    return rows


def _read_frames(path: Path, length: int) -> np.ndarray:
    """Frames of a file of arrays.

    Raises:
        InputError: it is missing or damaged, or holds no frames.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        found = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
        if not isinstance(found, np.ndarray):
            with found as arrays:
                if "X" not in arrays:
                    raise InputError(f"{path}: no array 'X' (found: {', '.join(arrays) or 'none'})")
                found = arrays["X"]
    except InputError:
        raise
    except Exception as error:  # what damaged bytes end in, of NumPy, zipfile, zlib and tokenize, shares no base class
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: damaged, or no file of plain arrays ({told})") from error
    if np.iscomplexobj(found) and found.ndim == 1:
        if len(found) < length:
            raise InputError(f"{path}: {len(found)} samples are less than one frame of {length}")
        return found[: len(found) // length * length].reshape(-1, length)
    return found
