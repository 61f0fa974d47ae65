"""RadioML's files of 2016 (and of RML22, which has their form): a pickle, read without running anything in it.

Not here: 2018.01a (`radioml_2018`).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.data.radio.record import Signals, check_signals
from limbeck.errors import InputError

__all__ = ["read_radioml_2016"]

# All that an array's pickle names, by Python 2 and 3, by NumPy 1 and 2.
ARRAY_PARTS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.{module}", name)
        for core in ("core", "_core")
        for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
    ),
}


class ArrayUnpickler(pickle.Unpickler):
    """Builds arrays, numbers, text and containers; whatever else a pickle asks for is refused before it runs."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what arrays are made of.

        Raises:
            UnpicklingError: anything else.
        """
        if (module, name) == ("_codecs", "encode"):  # Python 3 writes bytes so for protocol 2
            return encode_latin1
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return super().find_class(module, name)


def encode_latin1(text: str, encoding: str) -> bytes:
    """Bytes that were written as text.

    Raises:
        UnpicklingError: by another encoding than arrays are.
    """
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"asks for the encoding {encoding}")
    return text.encode(encoding)


def load_arrays(path: Path) -> Any:
    """What a pickle of arrays holds.

    Raises:
        InputError: the file is missing or damaged, or wants code to be run.
    """
    try:
        with open(path, "rb") as handle:
            # not through a buffer of our own: the largest of these files has more than a gigabyte
            return ArrayUnpickler(handle, encoding="latin1").load()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        if str(error).startswith("asks for"):
            raise InputError(
                f"{path}: is no file of RadioML: it carries code ({str(error).removeprefix('asks for ')}), which is not run"
            ) from error
        raise InputError(f"{path}: damaged, or no pickle ({' '.join(str(error).split())})") from error
    except (
        EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, ImportError, MemoryError, OverflowError,
        OSError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        # all of these are what damaged bytes were seen to end in
        raise InputError(f"{path}: damaged, or no pickle ({type(error).__name__})") from error


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
            raise InputError(f"{path}: {key} holds {form}, not [n, 2, samples] of floating point")
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
        if isinstance(key[1], int | float | np.integer | np.floating) and np.isfinite(key[1]):
            return name, float(key[1])
    raise InputError(f"{path}: holds the key {key!r}, not (modulation, SNR)")
