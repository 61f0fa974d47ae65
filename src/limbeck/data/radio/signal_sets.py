"""Frames that are frames already: `.npz`, HDF5 and folders of mapped arrays, ours or anyone's.

Not here: RadioML's own forms (`radioml`, `radioml_2018`), recordings (`sigmf`).
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.radio.record import Signals, check_signals
from limbeck.data.radio.signal_files import HDF5_SUFFIXES, hdf5_array, read_hdf5_file
from limbeck.errors import InputError
from limbeck.files import read_json

__all__ = ["read_signals"]

NAMES = ("X", "y", "snr", "classes", "groups")
KINDS = {"y": ("iu", "whole numbers"), "snr": ("iuf", "numbers in dB"), "classes": ("UOiu", "names")}
"""Array -> kinds of its values (as NumPy calls them), and what those are."""


def read_signals(path: str | Path) -> Signals:
    """Read a set of frames: X [N, 2, L], y [N], and where there are any snr [N], classes, groups [N].

    Frames that lie uncompressed in their file, as `write_signals` leaves them, are mapped and not read into memory.
    Without `classes` the labels' own values name them.

    Args:
        path: `.npz`, `.h5`, `.hdf5`, or a folder that `convert_radioml_2018` wrote.

    Raises:
        InputError: the set is missing, damaged or of another form, or holds frames that are not whole.
    """
    path = Path(path)
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    if path.suffix.lower() in HDF5_SUFFIXES:
        return read_hdf5(path)
    raise InputError(f"{path}: sets of frames are .npz, .h5, .hdf5 or a folder of mapped arrays")


def assemble(found: Mapping[str, Any], path: Path, *, look_at_values: bool = True) -> Signals:
    """Signals from arrays by name; `look_at_values` as in `check_signals`.

    Raises:
        InputError: one is missing, or of another kind or shape; or as `check_signals`.
    """
    for name in ("X", "y"):
        if name not in found:
            raise InputError(f"{path}: no array '{name}'; a set of frames has X [N, 2, samples] and y [N]")
    y, snr, classes = (check_kind(found.get(name), name, path) for name in ("y", "snr", "classes"))
    groups, sources = group_numbers(found.get("groups"), path)
    assert y is not None
    names = tuple(str(value) for value in (np.unique(y) if classes is None else classes))
    if classes is None:
        y = np.unique(y, return_inverse=True)[1].reshape(-1)
    signals = Signals(
        X=found["X"],
        y=y.astype(np.int64),
        snr=None if snr is None else snr.astype(np.float32),
        classes=names,
        groups=groups,
        names=sources,
    )
    return check_signals(signals, where=str(path), look_at_values=look_at_values)


def check_kind(values: Any, name: str, path: Path) -> np.ndarray | None:
    """Values that are one row of what they have to be.

    Raises:
        InputError: they are others.
    """
    if values is None:
        return None
    values = np.asarray(values)
    kinds, told = KINDS[name]
    if values.dtype.kind not in kinds or values.ndim != 1:
        raise InputError(f"{path}: {name} must hold {told}, one row of them, not {list(values.shape)} {values.dtype}")
    return values


def group_numbers(values: Any, path: Path) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """(groups, names by group): numbers as they are; text, and numbers with fractions, by their order.

    Raises:
        InputError: neither a row of text nor of numbers.
    """
    if values is None:
        return None, ()
    values = np.asarray(values)
    if values.ndim != 1 or values.dtype.kind not in "iufUSO":
        raise InputError(
            f"{path}: groups must hold a number or name for each frame, not {list(values.shape)} {values.dtype}"
        )
    if values.dtype.kind in "iu":
        return values.astype(np.int64), ()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{path}: groups holds a value that is not finite")
    named = values if values.dtype.kind == "f" else np.array([as_text(value) for value in values], dtype=str)
    unique, number = np.unique(named, return_inverse=True)
    return number.reshape(-1).astype(np.int64), tuple(str(name) for name in unique)


def as_text(value: Any) -> str:
    """A name that may be stored as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def read_npz(path: Path) -> Signals:
    """As `read_signals`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in NAMES[1:] if name in file}
            if "X" in file:
                found["X"] = mapped_entry(path, "X.npy")
    except (
        ValueError, zipfile.BadZipFile, zlib.error, OSError, EOFError, struct.error, KeyError, TypeError, AttributeError,
        RuntimeError, MemoryError, OverflowError, tokenize.TokenError,
    ) as error:  # fmt: skip
        # all of these are what damaged bytes were seen to end in; RuntimeError also of one that is encrypted
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: damaged, or no .npz of plain arrays ({told})") from error
    return assemble(found, path)


def mapped_entry(path: Path, name: str) -> np.ndarray:
    """An array of an archive, mapped where it is stored as it is, else read.

    Raises:
        ValueError: it holds objects.
    """
    with zipfile.ZipFile(path) as archive, archive.open(name) as entry:
        info = archive.getinfo(name)
        version = np.lib.format.read_magic(entry)
        if info.compress_type != zipfile.ZIP_STORED or version[0] > 2:
            with archive.open(name) as again:
                return np.lib.format.read_array(again, allow_pickle=False)
        read_header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(entry)
        header = entry.tell()
    if dtype.hasobject:
        raise ValueError("X holds objects")
    with open(path, "rb") as handle:  # the archive's index does not say how long the entry's own header is
        handle.seek(info.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", handle.read(4))
    offset = info.header_offset + 30 + name_bytes + extra_bytes + header
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def read_hdf5(path: Path) -> Signals:
    """As `read_signals`."""
    found = {}
    with read_hdf5_file(path) as file:
        for name in NAMES:
            data = hdf5_array(file, name, path)
            if data is None:
                continue
            if name == "X" and data.dtype.kind == "f" and len(data) and (offset := data.id.get_offset()) is not None:
                found[name] = np.memmap(path, data.dtype, "r", offset, data.shape)
            else:
                found[name] = data.asstr()[()] if data.dtype.kind in "SO" else data[()]
    return assemble(found, path)


def read_folder(path: Path) -> Signals:
    """As `read_signals`."""
    facts = read_json(path / "signals.json")
    try:
        names, frames = [str(name) for name in list(facts["classes"])], int(facts["frames"])
        found: dict[str, Any] = {
            name: np.load(path / f"{name}.npy", mmap_mode="r" if name == "X" else None, allow_pickle=False)
            for name in ("X", "y", "snr")
        }
    except (KeyError, TypeError, ValueError, OSError, EOFError, MemoryError, OverflowError) as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a whole folder of signals ({told})") from error
    if found["X"].shape[:1] != (frames,):
        held = "no" if not found["X"].ndim else len(found["X"])
        raise InputError(f"{path}: X holds {held} frames, signals.json says {frames}; convert the set again")
    return assemble({**found, "classes": np.array(names, dtype=str)}, path, look_at_values=False)
