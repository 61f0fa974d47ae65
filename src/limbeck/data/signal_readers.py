"""Readers of signals by a recipe's fields: made by the generator, RadioML's files, sets of frames, SigMF recordings.

What does not live here: the readers and the generator themselves (`radio`), taking classes and SNRs out of what they
found (`radio.choices`), dividing it (`signal_splits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.console import say
from limbeck.cores import usable_cores
from limbeck.data.radio import (
    Signals,
    convert_radioml_2018,
    read_radioml_2016,
    read_sigmf,
    read_signals,
    write_signals,
)
from limbeck.data.radio.choices import choose
from limbeck.data.radio.sigmf import DATA, META
from limbeck.data.radio.signal_files import HDF5_SUFFIXES, read_hdf5_file
from limbeck.data.radio.signals import GENERATOR, check_order, check_processes
from limbeck.errors import InputError
from limbeck.files import fingerprint

__all__ = [
    "find_signals",
    "read_made_radio",
    "read_radioml2016",
    "read_radioml2018",
    "read_sigmf_set",
    "read_signal_set",
]

HOME = "data"  # where made and converted sets are kept, as downloaded ones are
ALONE = 20_000  # frames below which starting further processes costs more than they save


def read_made_radio(
    path: str | None = None,
    *,
    profile: str = "radioml2016_published",
    frames_per_cell: int = 100,
    frames_seed: int = 0,
    classes: Sequence[str] | None = None,
    snrs: Sequence[float] | None = None,
    length: int = 128,
    fixed_channels: int = 0,
    processes: int | None = None,
) -> Signals:
    """Frames of the generator (`limbeck.data.radio.make_signals`), made once and kept below `path` (default: `data`).

    Args:
        path: folder.
        profile: of the generator.
        frames_per_cell: frames of each class at each SNR.
        frames_seed: of the frames; `data.seed` is that of their division.
        classes: None = the profile's.
        snrs: in dB; None = the profile's.
        length: samples of a frame.
        fixed_channels: so many draws of the fading serve all frames; 0 = each its own.
        processes: that make them; the frames are the same for any number. None = as many as there are cores.
    """
    order = check_order(profile, frames_per_cell, frames_seed, classes, snrs, length, fixed_channels)
    asked: dict[str, Any] = {
        "profile": order.profile,
        "frames_per_cell": frames_per_cell,
        "seed": frames_seed,
        "classes": list(order.classes),
        "snrs": list(order.snrs),
        "length": length,
        "fixed_channels": fixed_channels,
    }
    if processes is not None:
        check_processes(processes)
    key = fingerprint({**asked, "profile": repr(order.profile), "generator": GENERATOR})[:12]
    file = Path(path or HOME).expanduser() / "radio" / f"{order.profile.name}-{key}.npz"
    if not file.exists():
        workers = processes or (1 if order.frames < ALONE else usable_cores())
        say(f"data: making {order.frames:,} frames of {profile}, kept in {file}")
        write_signals(file, processes=workers, **asked)
    return read_signals(file)


def read_radioml2016(
    path: str | None = None, *, classes: Sequence[str] | None = None, snrs: Sequence[float] | None = None
) -> Signals:
    """RadioML 2016.10a or 2016.10b, or RML22: the unpacked pickle, of which nothing is run.

    Args:
        path: of the file (`RML2016.10a_dict.pkl`).
        classes: in the order of the labels; None = all, sorted.
        snrs: in dB; None = all.
    """
    return choose(read_radioml_2016(_given(path, "RML2016.10a_dict.pkl")), classes, snrs)


def read_radioml2018(
    path: str | None = None,
    *,
    folder: str | None = None,
    classes: Sequence[str] | None = None,
    snrs: Sequence[float] | None = None,
    frames_per_cell: int | None = None,
) -> Signals:
    """RadioML 2018.01a, converted once to arrays that are mapped; labels in the corrected order.

    Args:
        path: of `GOLD_XYZ_OSC.0001_1024.hdf5`.
        folder: for what it is converted to; None = below `data/radio`.
        classes: in the order of the labels; None = all 24.
        snrs: in dB; None = all.
        frames_per_cell: the first ones of each class and SNR; None = all.
    """
    source = _given(path, "GOLD_XYZ_OSC.0001_1024.hdf5")
    asked = {
        "classes": None if classes is None else list(classes),
        "snrs": None if snrs is None else list(snrs),
        "frames_per_cell": frames_per_cell,
    }
    size = source.stat().st_size if source.is_file() else 0
    key = fingerprint({"name": source.name, "bytes": size, **asked})[:12]
    target = Path(folder or Path(HOME) / "radio").expanduser() / f"radioml2018-{key}"
    if not (target / "signals.json").is_file():
        say(f"data: converting {source} once, to {target}")
        convert_radioml_2018(source, target, classes=classes, snrs=snrs, frames_per_cell=frames_per_cell)
    return read_signals(target)


def read_signal_set(
    path: str | None = None, *, classes: Sequence[str] | None = None, snrs: Sequence[float] | None = None
) -> Signals:
    """A set of frames: `.npz` or HDF5 with X [N, 2, T], y, and where there are any snr, classes, groups.

    Args:
        path: of the file, or of a folder of mapped arrays.
        classes: in the order of the labels; None = all.
        snrs: in dB; None = all.
    """
    return choose(read_signals(_given(path, "a set of frames (.npz, .h5)")), classes, snrs)


def read_sigmf_set(
    path: str | None = None,
    *,
    frame_length: int,
    label: str = "core:label",
    hop: int | None = None,
    sample_rate: float | None = None,
    snr: str | None = None,
    channel: int = 0,
    classes: Sequence[str] | None = None,
) -> Signals:
    """SigMF recordings cut into frames; a recording never lies in two splits.

    Args:
        path: a recording, or a folder of them.
        frame_length: T, in samples after resampling.
        label: key of the class in annotations, or `global:KEY` for one of the recording.
        hop: samples from one frame to the next; None = `frame_length`.
        sample_rate: in Hz, to which others are resampled; None = as they are.
        snr: key of the SNR in dB, in the same place as the label; None = unknown.
        channel: of interleaved ones.
        classes: in the order of the labels; None = all that are found, sorted.
    """
    return read_sigmf(
        _given(path, "a SigMF recording or a folder of them"),
        frame_length=frame_length,
        label=label,
        hop=hop,
        sample_rate=sample_rate,
        snr=snr,
        channel=channel,
        classes=classes,
    )


def find_signals(path: Path) -> str:
    """The reader (as in `data.name`) for what lies at `path`, by its name; of an HDF5 by its arrays' names.

    Raises:
        InputError: nothing there, or an HDF5 that cannot be opened.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix in (META, DATA) or (path.is_dir() and any(path.rglob(f"*{META}"))):
        return "sigmf"
    if path.suffix.lower() in HDF5_SUFFIXES and path.is_file():
        with read_hdf5_file(path) as file:
            return "radioml2018" if "Y" in file and "y" not in file else "signals"
    return "radioml2016" if path.suffix.lower() in (".pkl", ".pickle", ".dat") else "signals"


def _given(path: str | None, what: str) -> Path:
    """Where the data lies.

    Raises:
        InputError: nobody said.
    """
    if path is None:
        raise InputError(f"data.path: missing; give the path of {what}")
    return Path(path).expanduser()
