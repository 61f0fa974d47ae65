"""Frames that are frames already: `.npz`, HDF5 and folders of mapped arrays, ours or anyone's.

Not here: RadioML's own forms (`radioml`, `radioml_2018`), recordings (`sigmf`).
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.radio.record import Signals, check_signals
from limbeck.data.radio.signal_files import HDF5_SUFFIXES, require_h5py
from limbeck.errors import InputError
from limbeck.files import read_json

__all__ = ["read_signals"]


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
    if path.suffix == ".npz":
        return read_npz(path)
    if path.suffix in HDF5_SUFFIXES:
        return read_hdf5(path)
    raise InputError(f"{path}: sets of frames are .npz, .h5, .hdf5 or a folder of mapped arrays")


def assemble(get: Callable[[str], Any], path: Path, *, look_at_values: bool = True) -> Signals:
    """Signals from arrays by name; `get` gives None for what is not there; `look_at_values` as in `check_signals`."""
    X, y, snr, classes, groups = (get(name) for name in ("X", "y", "snr", "classes", "groups"))
    for name, values in (("X", X), ("y", y)):
        if values is None:
            raise InputError(f"{path}: no array '{name}'; a set of frames has X [N, 2, samples] and y [N]")
    if y.dtype.kind not in "iu":
        raise InputError(f"{path}: y must hold whole numbers, not {y.dtype}")
    names = tuple(str(value) for value in (np.unique(y) if classes is None else classes))
    if classes is None:
        y = np.unique(y, return_inverse=True)[1].reshape(-1)
    found = Signals(
        X,
        y.astype(np.int64),
        None if snr is None else np.asarray(snr, np.float32),
        names,
        None if groups is None else np.asarray(groups, np.int64),
    )
    return check_signals(found, where=str(path), look_at_values=look_at_values)


def read_npz(path: Path) -> Signals:
    """As `read_signals`."""
    try:
        with np.load(path, allow_pickle=False) as file:

            def get(name: str) -> Any:
                if name not in file:
                    return None
                return mapped_entry(path, f"{name}.npy") if name == "X" else file[name]

            return assemble(get, path)
    except (ValueError, zipfile.BadZipFile, OSError, EOFError, struct.error) as error:
        raise InputError(f"{path}: damaged, or no .npz of plain arrays ({str(error).splitlines()[0]})") from error


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
    h5py = require_h5py(path)
    try:
        with h5py.File(path) as file:

            def get(name: str) -> Any:
                if name not in file:
                    return None
                data = file[name]
                if name == "X" and (offset := data.id.get_offset()) is not None and len(data):
                    return np.memmap(path, data.dtype, "r", offset, data.shape)
                return data.asstr()[()] if name == "classes" else data[()]

            return assemble(get, path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, or is truncated ({str(error).splitlines()[0]})") from error


def read_folder(path: Path) -> Signals:
    """As `read_signals`."""
    facts = read_json(path / "signals.json")
    try:
        names, frames = [str(name) for name in facts["classes"]], int(facts["frames"])
        X = np.load(path / "X.npy", mmap_mode="r", allow_pickle=False)
        arrays = {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in ("y", "snr")}
    except (KeyError, TypeError, ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a whole folder of signals ({str(error).splitlines()[0]})") from error
    if len(X) != frames:
        raise InputError(f"{path}: X holds {len(X)} frames, signals.json says {frames}; convert the set again")
    return assemble({"X": X, "classes": names, **arrays}.get, path, look_at_values=False)
