"""SigMF recordings cut into frames by what is written of them. Not here: reading their files (`sigmf`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from limbeck.data.radio.choices import check_choices
from limbeck.data.radio.record import HIGHEST_SNR, SHORTEST_FRAME, Signals, check_frames, check_signals
from limbeck.data.radio.sigmf import Recording, Span, find_recordings, open_recording, resample
from limbeck.errors import InputError

__all__ = ["read_sigmf"]


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
    annotation with that label covers, make none. With a label of the recording they start at its first sample. What
    gave no frame is told in `left_out` and `notes`.

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
    for name, value, low in (("frame_length", frame_length, SHORTEST_FRAME), ("hop", hop, 1), ("channel", channel, 0)):
        if type(value) is not int or value < low:
            raise InputError(f"{name}: must be a whole number of at least {low}, got {value!r}")
    check_choices(classes, sample_rate=sample_rate)
    if not label.removeprefix("global:"):
        raise InputError(f"label: must be a key such as core:label or global:core:description, got {label!r}")
    frames, labels, levels, groups, names = [], [], [], [], []
    rates: set[float | None] = set()
    left_out: list[tuple[str, str]] = []
    rests = [0, 0]  # samples, spans
    others: Counter[str] = Counter()  # spans by class, of those that are not asked for
    for group, path in enumerate(find_recordings(paths)):
        recording = open_recording(path)
        if channel >= recording.channels:
            raise InputError(f"channel = {channel}: {recording.path} has {recording.channels}, counted from 0")
        names.append(str(recording.path))
        is_labelled = False
        for named, span in labelled_spans(recording, label):
            is_labelled = True
            if classes is not None and named not in classes:
                others[named] += 1
                continue
            samples = resample(recording, span, sample_rate, channel)
            starts = np.arange(0, len(samples) - frame_length + 1, hop)
            if not len(starts):
                at = recording.offset + span.start
                reason = f"the span at sample {at} has {len(samples)}, less than a frame of {frame_length}"
                left_out.append((str(recording.path), reason))
                continue
            rest = len(samples) - int(starts[-1]) - max(hop, frame_length)
            if rest > 0:
                rests = [rests[0] + rest, rests[1] + 1]
            cut = samples[starts[:, None] + np.arange(frame_length)]
            frames.append(np.stack([cut.real, cut.imag], 1))
            check_frames(frames[-1], where=f"{recording.path}, span at sample {recording.offset + span.start}")
            labels += [named] * len(starts)
            groups += [group] * len(starts)
            rates.add(recording.sample_rate)
            if snr is not None:
                levels += [snr_of(span, snr, recording)] * len(starts)
        if not is_labelled:
            left_out.append((str(recording.path), f"nothing in it has '{label}'"))
    if not labels:
        raise InputError(
            f"{', '.join(names[:3])}: no frame of {frame_length} samples; nothing has '{label}', or all that has is shorter"
        )
    found = tuple(classes) if classes is not None else tuple(sorted(set(labels)))
    signals = Signals(
        X=np.concatenate(frames).astype(np.float32, copy=False),
        y=np.array([found.index(name) for name in labels], np.int64),
        snr=None if snr is None else np.array(levels, np.float32),
        classes=found,
        groups=np.array(groups, np.int64),
        names=tuple(names),
        left_out=tuple(left_out),
        notes=tuple(cutting_notes(rests, others, rates, frame_length, sample_rate)),
    )
    return check_signals(signals, where=", ".join(names[:3]), look_at_values=False)  # done where they were cut


def labelled_spans(recording: Recording, label: str) -> Iterator[tuple[str, Span]]:
    """(class, span) of whatever has the label; one that is empty says nothing.

    Raises:
        InputError: a label is neither text nor a number.
    """
    key = label.removeprefix("global:")
    whole = Span(0, recording.samples, recording.facts)
    for span in recording.spans if key == label else (whole,):
        named = span.facts.get(key)
        if named is None or named == "":
            continue
        if isinstance(named, bool) or not isinstance(named, str | int | float):
            at = recording.offset + span.start
            raise InputError(
                f"{recording.path}: '{key}' of the span at sample {at} must be a name, got {str(named)[:40]}"
            )
        yield str(named), span


def cutting_notes(
    rests: Sequence[int],
    others: Counter[str],
    rates: set[float | None],
    frame_length: int,
    sample_rate: float | None,
) -> Iterator[str]:
    """Lines on what cutting lost or mixed.

    Args:
        rests: samples left over, and the spans that they are of.
        others: spans by class, of the classes that were not asked for.
        rates: of the recordings, in Hz; None = not said.
        frame_length: in samples.
        sample_rate: that all were brought to, if to any.
    """
    samples, spans = rests
    if samples:
        ends = "the end of a span" if spans == 1 else f"the ends of {spans:,} spans"
        yield f"{samples:,} samples at {ends} are less than a frame of {frame_length}, and left out"
    if others:
        told = [f"{name} ({count:,})" for name, count in others.most_common(5)] + ["..."] * (len(others) > 5)
        yield f"spans of classes that data.options.classes does not name are left out: {', '.join(told)}"
    if sample_rate is None and len(rates) > 1:
        told = [f"{rate:g} Hz" for rate in sorted(rate for rate in rates if rate is not None)]
        told += ["some do not say"] * (None in rates)
        yield (
            f"recordings of several sample rates ({', '.join(told[:5])}) are cut as they are: frames of one class last "
            "longer in some than in others; data.options.sample_rate resamples all to one"
        )


def snr_of(span: Span, key: str, recording: Recording) -> float:
    """The SNR that is written.

    Raises:
        InputError: none is, or no finite number.
    """
    value = span.facts.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < HIGHEST_SNR:
        at = recording.offset + span.start
        raise InputError(f"{recording.path}: '{key}' of the span at sample {at} must be a number in dB, got {value!r}")
    return float(value)
