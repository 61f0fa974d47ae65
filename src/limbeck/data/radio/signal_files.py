"""Files of frames written piece by piece: `.npz` and HDF5. Not here: making or reading frames."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import InputError
from limbeck.files import atomic_path

__all__ = ["HDF5_SUFFIXES", "hdf5_array", "open_signal_file", "read_hdf5_file", "reading_hdf5", "require_h5py"]

HDF5_SUFFIXES = (".h5", ".hdf5")

Write = Callable[[np.ndarray], None]


def require_h5py(path: str | Path) -> Any:
    """The HDF5 library.

    Raises:
        InputError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(f'{path}: HDF5 needs a further package: pip install "limbeck[radio]"') from error
    return h5py


@contextmanager
def reading_hdf5(path: Path) -> Iterator[None]:
    """Only reading belongs into the block.

    Raises:
        InputError: what is read is missing, truncated or damaged.
    """
    try:
        yield
    except (
        OSError,
        RuntimeError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        MemoryError,
        OverflowError,
    ) as error:
        # all of these are what damaged bytes were seen to end in
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: cannot be read, or is truncated ({told})") from error


@contextmanager
def read_hdf5_file(path: Path) -> Iterator[Any]:
    """An HDF5 file, open for reading, as `reading_hdf5`.

    Raises:
        InputError: the library is not installed, or the file is missing, truncated or damaged.
    """
    h5py = require_h5py(path)
    with reading_hdf5(path), h5py.File(path) as file:
        yield file


def hdf5_array(file: Any, name: str, path: Path) -> Any:
    """A data set of an open file; None where it is not there.

    Raises:
        InputError: something else has its name.
    """
    if name not in file:
        return None
    found = file[name]
    if not hasattr(found, "shape") or not hasattr(found, "dtype") or found.shape is None:
        raise InputError(f"{path}: '{name}' is a {type(found).__name__.lower()}, not an array")
    return found


@contextmanager
def open_signal_file(
    path: Path, shape: tuple[int, int, int], *, y: np.ndarray, snr: np.ndarray, classes: Sequence[str]
) -> Iterator[Write]:
    """A file that takes its frames piece by piece, in order: yields the function that appends some.

    Args:
        path: its suffix says the form.
        shape: of all frames together.
        y: of all frames.
        snr: likewise.
        classes: names.

    Raises:
        InputError: another suffix, or a file that cannot be written.
    """
    small = {"y": y, "snr": snr, "classes": np.array(classes)}
    if path.suffix in HDF5_SUFFIXES:
        writer = write_hdf5(path, shape, small)
    elif path.suffix == ".npz":
        writer = write_npz(path, shape, small)
    else:
        raise InputError(f"{path}: signals are written to .npz, .h5 or .hdf5")
    with writer as write:
        yield write


@contextmanager
def write_npz(path: Path, shape: tuple[int, int, int], small: Mapping[str, np.ndarray]) -> Iterator[Write]:
    """As `open_signal_file`; the archive is stored, so that readers may map `X` where it lies."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, value in small.items():
            with archive.open(f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, value, allow_pickle=False)
        with archive.open("X.npy", "w", force_zip64=True) as entry:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(entry, header)
            yield lambda frames: _write_bytes(entry, frames)


def _write_bytes(entry: Any, frames: np.ndarray) -> None:
    entry.write(np.ascontiguousarray(frames, "<f4").data)


@contextmanager
def write_hdf5(path: Path, shape: tuple[int, int, int], small: Mapping[str, np.ndarray]) -> Iterator[Write]:
    """As `open_signal_file`; one contiguous `X`, class names as text."""
    h5py = require_h5py(path)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name, value in small.items():
            file.create_dataset(name, data=value.astype(h5py.string_dtype()) if value.dtype.kind == "U" else value)
        frames = file.create_dataset("X", shape, "f4")
        row = 0

        def write(piece: np.ndarray) -> None:
            nonlocal row
            frames[row : row + len(piece)] = piece
            row += len(piece)

        yield write
