"""A first look at someone's signals, for `limbeck inspect` and `limbeck new`: frames, classes, SNRs, and what is odd.

What does not live here: pictures (`look`), reading signals for a run (`signal_readers`) and dividing them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.radio.levels import count_cells, missing_cells
from limbeck.data.radio.radioml_2018 import RML2018_CLASSES, check_layout, read_labels
from limbeck.data.radio.record import Signals
from limbeck.data.radio.sigmf import DATA, META, Recording, Span, find_recordings, open_recording
from limbeck.data.radio.signal_files import HDF5_SUFFIXES, read_hdf5_file
from limbeck.data.readers import read_any
from limbeck.data.signal_readers import find_signals
from limbeck.data.signal_splits import hash_frames, left_out_line, measured_line
from limbeck.errors import InputError

__all__ = ["FEWEST_RECORDINGS", "SignalLook", "is_signals", "look_at_signals"]

FILES = (".npz", *HDF5_SUFFIXES, ".pkl", ".pickle", ".dat")  # written large too, which a recording's two are not
LENGTHS = (1024, 512, 256, 128, 64)  # of frames that recordings are cut into: the first that every labelled span holds
FEWEST_RECORDINGS = 3  # one each for train, validation and test
NO_CLASSES = ("core:comment", "core:generator", "core:uuid", "core:description")
"""Texts of annotations that say something else than the class."""


@dataclass(frozen=True)
class SignalLook:
    """What a first look at signals found.

    Attributes:
        name: the reader, as in `data.name`.
        path: for `data.path`.
        counts: frames by class, in the order of the labels.
        length: samples of a frame.
        snrs: levels in dB, from low to high; None = unknown.
        per_cell: fewest and most frames of a class, at an SNR where those were set.
        recordings: that the frames are of; None = every frame stands alone.
        problems: one line each.
        options: of the reader, for `[data.options]`.
        is_measured: whether each frame has an SNR of its own, and `snrs` are the steps that it is told in.
    """

    name: str
    path: str
    counts: dict[str, int]
    length: int
    snrs: tuple[float, ...] | None
    per_cell: tuple[int, int]
    recordings: int | None = None
    problems: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    is_measured: bool = False

    @property
    def frames(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"kind": "signals", "frames": self.frames, **asdict(self)}


def is_signals(path: str | Path) -> bool:
    """Whether what lies at `path` is signals, told by its name: frames, RadioML, SigMF, or a folder of recordings."""
    place = Path(path).expanduser()
    if place.is_dir():
        return (place / "signals.json").is_file() or next(place.rglob(f"*{META}"), None) is not None
    return place.is_file() and (place.suffix in (META, DATA) or place.suffix.lower() in FILES)


def look_at_signals(path: str | Path) -> SignalLook:
    """Read signals as a run would, and tell what there is. Recordings are cut into frames of up to 1024 samples.

    Raises:
        InputError: nothing there, or what cannot be read: frames without power, recordings without classes, ...
    """
    place = Path(path).expanduser()
    name = find_signals(place)
    if name == "radioml2018":
        return _look_at_radioml_2018(place, str(path))
    options: dict[str, Any] = {}
    problems: list[str] = []
    if name == "sigmf":
        options, problems = _cutting([open_recording(one) for one in find_recordings(place)])
    found = read_any(name, {"path": str(path)}, options=options)
    assert isinstance(found, Signals)
    problems += [*found.notes, *left_out_line(found), *_repeated(found)]
    recordings = None
    if found.groups is not None:
        recordings = len(np.unique(found.groups))
        problems += _in_few_recordings(found, recordings)
    return _look(
        found,
        problems,
        name=name,
        path=str(path),
        length=found.X.shape[2],
        recordings=recordings,
        options=options,
    )


def _look(found: Signals, problems: Sequence[str], **facts: Any) -> SignalLook:
    levels, cells = count_cells(found.y, found.levels, len(found.classes))
    if (missing := missing_cells(found.y, found.full_cells, found.classes)) is not None:
        problems = [*problems, f"{missing}: a run needs some; leave the class or the SNR out"]
    counts = cells.sum(1)
    problems = [*measured_line(found), *problems]
    if found.is_measured:  # what happened to be measured fills no cells
        cells = counts
    return SignalLook(
        counts={name: int(count) for name, count in zip(found.classes, counts, strict=True)},
        snrs=None if found.snr is None else tuple(float(one) for one in levels),
        per_cell=(int(cells.min()), int(cells.max())),
        is_measured=found.is_measured,
        problems=tuple(problems),
        **facts,
    )


def _look_at_radioml_2018(place: Path, path: str) -> SignalLook:
    """By the labels alone: the frames are looked at when they are converted."""
    with read_hdf5_file(place) as file:
        check_layout(file, place)
        y, snr = read_labels(file, RML2018_CLASSES, place)
        length = int(file["X"].shape[1])
    labels = Signals(np.empty((0, 2, length), np.float32), y, snr, RML2018_CLASSES)
    return _look(labels, [], name="radioml2018", path=path, length=length)


def _cutting(recordings: list[Recording]) -> tuple[dict[str, Any], list[str]]:
    """Options that cut these recordings into frames, and what is odd about them.

    Raises:
        InputError: nothing in them names a class.
    """
    label, spans = _labelled(recordings)
    options: dict[str, Any] = {"label": label}
    problems: list[str] = []
    rates = {recording.sample_rate for recording, _ in spans}
    known = sorted(rate for rate in rates if rate is not None)
    scale = dict.fromkeys(rates, 1.0)
    if len(rates) > 1 and None in rates:
        problems.append(
            "some recordings do not say their sample rate: their frames last longer or shorter than others'"
        )
    elif len(rates) > 1:
        options["sample_rate"] = known[0]
        scale = {rate: known[0] / (rate or known[0]) for rate in rates}
        problems.append(f"{len(known)} sample rates, {known[0]:g} to {known[-1]:g} Hz: all are resampled to the lowest")
    levels = [key for key, value in spans[0][1].facts.items() if "snr" in key.lower() and _are_numbers(spans, key)]
    if levels:
        options["snr"] = levels[0]
    shortest = min(span.count * scale[recording.sample_rate] for recording, span in spans)
    options["frame_length"] = next((length for length in LENGTHS if length <= shortest), LENGTHS[-1])
    return options, problems


def _are_numbers(spans: list[tuple[Recording, Span]], key: str) -> bool:
    """Whether every span says a number by that key."""
    values = [span.facts.get(key) for _, span in spans]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _labelled(recordings: list[Recording]) -> tuple[str, list[tuple[Recording, Span]]]:
    """What names the classes, as `label` of the reader, and the spans that have it, each with its recording."""
    texts = Counter(
        key for one in recordings for span in one.spans for key, value in span.facts.items() if isinstance(value, str)
    )
    for key in ("core:label", *(key for key, _ in texts.most_common() if key not in NO_CLASSES)):
        if texts[key]:
            return key, [(one, span) for one in recordings for span in one.spans if key in span.facts]
    shared = [key for key, value in recordings[0].facts.items() if isinstance(value, str)]
    for key in shared:
        named = [one.facts.get(key) for one in recordings]
        # what names classes is on every recording, differs, and does not name each of them alone
        if all(isinstance(value, str) for value in named) and 1 < len(set(named)) < len(named):
            return f"global:{key}", [(one, Span(0, one.samples, one.facts)) for one in recordings]
    raise InputError(
        f"{recordings[0].path}: nothing names the classes of these {len(recordings)} recordings: no annotation has "
        "core:label, and no key of the whole recordings groups them; see docs/radio.md on data.options.label"
    )


def _repeated(found: Signals) -> list[str]:
    """A line on frames that are there more than once."""
    copies = len(found) - len(np.unique(hash_frames(found.X, None)))
    return [f"{copies} of {len(found)} frames repeat another one: splits may share them"] if copies else []


def _in_few_recordings(found: Signals, recordings: int) -> list[str]:
    """Lines on what cannot be divided, whole recordings being held out."""
    if recordings < FEWEST_RECORDINGS:
        return [
            f"{_some(recordings, 'recording')}: whole ones are held out, so that at least {FEWEST_RECORDINGS} are needed"
        ]
    assert found.groups is not None
    alone = [name for index, name in enumerate(found.classes) if len(np.unique(found.groups[found.y == index])) == 1]
    return [f"of one recording each, and so in one split only: {_first(alone)}"] if alone else []


def _some(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _first(names: Iterable[str], most: int = 5) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
