"""RadioML's files of 2016 (and of RML22, which has their form): what the pickle's arrays mean.

Not here: taking a pickle apart without running anything in it (`array_pickle`); 2018.01a (`radioml_2018`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.radio.array_pickle import load_arrays
from limbeck.data.radio.record import HIGHEST_SNR, Signals, check_signals
from limbeck.errors import InputError

__all__ = ["read_radioml_2016"]


def read_radioml_2016(path: str | Path) -> Signals:
    """RadioML 2016.10a or 2016.10b (`RML2016.10a_dict.pkl`), or RML22: rows sorted by class, SNR and place in the file.

    Args:
        path: of the unpacked file: a dictionary from (modulation, SNR) to [n, 2, L] arrays.

    Raises:
        InputError: the file is missing, damaged, of another form, carries code, or holds frames that are not whole.
    """
    path = Path(path)
    found = load_arrays(path)
    if not isinstance(found, dict) or not found:
        raise InputError(f"{path}: holds {type(found).__name__}, not a dictionary from (modulation, SNR) to frames")
    shapes, cells = set(), []
    for key, frames in found.items():
        cells.append(check_key(key, path))
        if not isinstance(frames, np.ndarray) or frames.ndim != 3 or frames.shape[1] != 2 or frames.dtype.kind != "f":
            form = f"{list(frames.shape)} {frames.dtype}" if isinstance(frames, np.ndarray) else type(frames).__name__
            raise InputError(
                f"{path}: {cells[-1][0][:40]!r} at {cells[-1][1]:g} dB holds {form}, not [n, 2, samples] of floating point"
            )
        shapes.add(frames.shape[2])
    if len(shapes) > 1:
        raise InputError(f"{path}: frames are of {len(shapes)} lengths ({', '.join(map(str, sorted(shapes)))})")
    if len(set(cells)) < len(cells):
        raise InputError(f"{path}: a modulation is there twice at one SNR")
    classes = tuple(sorted({name for name, _ in cells}))
    order = sorted(zip(cells, found, strict=True))
    counts = [len(found[key]) for _, key in order]
    X = np.empty((sum(counts), 2, shapes.pop()), np.float32)
    start = 0
    for (_, key), count in zip(order, counts, strict=True):
        X[start : start + count] = found.pop(key)  # so that no more than one set's memory is ever held
        start += count
    y = np.repeat([classes.index(name) for (name, _), _ in order], counts)
    snr = np.repeat(np.array([level for (_, level), _ in order], np.float32), counts)
    return check_signals(Signals(X, y.astype(np.int64), snr, classes), where=str(path))


def check_key(key: Any, path: Path) -> tuple[str, float]:
    """(modulation, SNR).

    Raises:
        InputError: something else.
    """
    if isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str | bytes):
        name = key[0].decode("latin1") if isinstance(key[0], bytes) else key[0]
        if isinstance(key[1], int | float) and abs(key[1]) < HIGHEST_SNR:
            return name, float(key[1])
    try:
        told = repr(key)[:80]
    except (ValueError, RecursionError):  # a number of more digits, or more depth, than Python writes
        told = f"of {type(key).__name__}"
    raise InputError(f"{path}: holds the key {told}, not (modulation, SNR)")
