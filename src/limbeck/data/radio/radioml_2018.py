"""RadioML 2018.01a: its HDF5 of some 20 GB turned once into arrays that lie on disk and are mapped, not read.

Not here: any other file (`radioml`, `signal_sets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.radio.choices import check_choices
from limbeck.data.radio.levels import cell_numbers
from limbeck.data.radio.record import SLICE, check_frames, slices
from limbeck.data.radio.signal_files import hdf5_array, read_hdf5_file, reading_hdf5
from limbeck.errors import InputError, unknown_name
from limbeck.files import atomic_path, write_json

__all__ = ["RML2018_CLASSES", "convert_radioml_2018"]

RML2018_CLASSES = (
    "OOK", "4ASK", "8ASK", "BPSK", "QPSK", "8PSK", "16PSK", "32PSK", "16APSK", "32APSK", "64APSK", "128APSK", "16QAM",
    "32QAM", "64QAM", "128QAM", "256QAM", "AM-SSB-WC", "AM-SSB-SC", "AM-DSB-WC", "AM-DSB-SC", "FM", "GMSK", "OQPSK",
)  # fmt: skip
"""In the order of the file's labels, which is not that of the `classes.txt` beside it (radioML/dataset, issue 25)."""


def convert_radioml_2018(
    path: str | Path,
    folder: str | Path,
    *,
    classes: Sequence[str] | None = None,
    snrs: Sequence[float] | None = None,
    frames_per_cell: int | None = None,
) -> Path:
    """Write what is wanted of 2018.01a into a folder that `read_signals` maps; returns the folder.

    The file is read from front to back in whole blocks, once; blocks without a wanted frame are passed over.

    Args:
        path: `GOLD_XYZ_OSC.0001_1024.hdf5`.
        folder: to write to; complete when `signals.json` is there.
        classes: of `RML2018_CLASSES`, in the order of the new labels; None = all.
        snrs: in dB; None = all of the file's.
        frames_per_cell: the first ones of each class and SNR; None = all.

    Raises:
        InputError: the file is missing, truncated or of another form, a filter names what is not there, or a frame is
            not whole.
    """
    path, folder = Path(path), Path(folder)
    check_choices(classes, snrs)
    names = tuple(classes or RML2018_CLASSES)
    for name in names:
        if name not in RML2018_CLASSES:
            raise unknown_name("class", str(name), RML2018_CLASSES, where="classes")
    if frames_per_cell is not None and (type(frames_per_cell) is not int or frames_per_cell < 1):
        raise InputError(f"frames_per_cell: must be a whole number of at least 1, got {frames_per_cell!r}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with read_hdf5_file(path) as file:
        check_layout(file, path)
        y, snr = read_labels(file, names, path)
    for name in classes or ():
        if names.index(name) not in y:
            raise InputError(f"classes: {path} has no frame of '{name}'")
    rows = choose_rows(y, snr, names, snrs, frames_per_cell, path)
    y, snr = y[rows], snr[rows]
    with read_hdf5_file(path) as file, atomic_path(folder / "X.npy") as temporary:
        (folder / "signals.json").unlink(missing_ok=True)  # while X is being written, the folder is not whole
        write_frames(file["X"], rows, temporary, path)
    for name, values in (("y", y), ("snr", snr)):
        with atomic_path(folder / f"{name}.npy") as temporary, open(temporary, "wb") as handle:
            np.save(handle, values)
    write_json(folder / "signals.json", {"schema": 1, "source": path.name, "classes": list(names), "frames": len(y)})
    return folder


def check_layout(file: Any, path: Path) -> None:
    """Check the names, kinds and shapes of the three arrays.

    Raises:
        InputError: others.
    """
    for name in ("X", "Y", "Z"):
        if hdf5_array(file, name, path) is None:
            raise InputError(f"{path}: no array '{name}' (found: {', '.join(file) or 'none'}); is this 2018.01a?")
    X, Y, Z = file["X"], file["Y"], file["Z"]
    for name, values, kinds, told in (
        ("X", X, "f", "floating-point numbers"),
        ("Y", Y, "iufb", "0 and 1"),
        ("Z", Z, "iuf", "numbers in dB"),
    ):
        if values.dtype.kind not in kinds:
            raise InputError(f"{path}: {name} holds {values.dtype}, not {told}")
    count = len(X) if X.ndim else 0
    if (
        X.ndim != 3
        or X.shape[2] != 2
        or Y.shape != (count, len(RML2018_CLASSES))
        or Z.shape not in ((count, 1), (count,))
    ):
        shapes = f"X {list(X.shape)}, Y {list(Y.shape)}, Z {list(Z.shape)}"
        raise InputError(f"{path}: {shapes}; expected X [N, samples, 2], Y [N, {len(RML2018_CLASSES)}], Z [N, 1]")


def read_labels(file: Any, names: Sequence[str], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """New class of each row, -1 where it is not wanted, and its SNR.

    Raises:
        InputError: a row of Y is not one 1 among zeros.
    """
    count = len(file["Y"])
    y, snr = np.empty(count, np.int64), np.empty(count, np.float32)
    number = np.array([names.index(name) if name in names else -1 for name in RML2018_CLASSES])
    for piece in slices(count):
        hot = file["Y"][piece]
        wrong = np.flatnonzero(((hot != 0).sum(1) != 1) | (hot.sum(1) != 1))
        if len(wrong):
            raise InputError(f"{path}: row {piece.start + wrong[0]} of Y is not one 1 among zeros")
        y[piece] = number[hot.argmax(1)]
        snr[piece] = file["Z"][piece].reshape(-1)
    return y, snr


def choose_rows(
    y: np.ndarray,
    snr: np.ndarray,
    names: Sequence[str],
    snrs: Sequence[float] | None,
    frames_per_cell: int | None,
    path: Path,
) -> np.ndarray:
    """The wanted rows, in the file's order.

    Raises:
        InputError: a class or SNR that is wanted is not there, or not as often as wanted.
    """
    there = np.unique(snr)
    for asked in snrs or ():
        if asked not in there:
            raise InputError(f"snrs: {path} has no frame at {asked:g} dB ({', '.join(f'{s:g}' for s in there)})")
    wanted = (y >= 0) & (True if snrs is None else np.isin(snr, np.array(snrs, np.float32)))
    rows = np.flatnonzero(wanted)
    if not len(rows):
        raise InputError(f"{path}: has no frame of {', '.join(names)}")
    if frames_per_cell is None:
        return rows
    cell = cell_numbers(y[rows], snr[rows])
    by_cell = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(cell[by_cell]) > 0])
    sizes = np.diff(np.r_[starts, len(rows)])
    if sizes.min() < frames_per_cell:
        few = by_cell[starts[sizes.argmin()]]
        raise InputError(
            f"frames_per_cell = {frames_per_cell}: {path} has {sizes.min()} of '{names[y[rows[few]]]}' at "
            f"{snr[rows[few]]:g} dB"
        )
    place = np.arange(len(rows)) - np.repeat(starts, sizes)
    return rows[np.sort(by_cell[place < frames_per_cell])]


def write_frames(X: Any, rows: np.ndarray, target: Path, path: Path) -> None:
    """Write those rows as an array file, [n, 2, samples], reading whole slices of X only.

    Raises:
        InputError: a frame is not whole.
    """
    found = np.lib.format.open_memmap(target, "w+", np.float32, (len(rows), 2, X.shape[1]))
    done = 0
    for start in range(0, len(X), SLICE):
        inside = rows[done : np.searchsorted(rows, start + SLICE)]
        if not len(inside):
            continue
        first, last = int(inside[0]), int(inside[-1]) + 1
        with reading_hdf5(path):  # so that what fails here is not taken for a full disk
            block = X[first:last]
        frames = block[inside - first].transpose(0, 2, 1)
        check_frames(frames, where=str(path), numbers=inside)
        found[done : done + len(inside)] = frames
        done += len(inside)
    found.flush()
