"""Pickles of plain arrays read with words of our own: neither their code nor NumPy's own constructors are ever called.

NumPy's constructors would do: from a file's bytes they also make arrays of objects, whose pointers the file then chooses.
Not here: what the arrays mean (`radioml`).
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import InputError

__all__ = ["load_arrays"]

NUMBER = re.compile(r"[<>=|]?(f[248]|[iu][1248])")


class Refused(pickle.UnpicklingError):
    """What no pickle of plain arrays asks for."""


class Word:
    """Stands for a name that a pickle calls; it can be called only, not changed."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *given: Any) -> Any:
        return self._build(*given)

    def __setstate__(self, state: Any) -> None:
        raise Refused("it carries code (a change of what it calls), which is not run")


class NumberType:
    """Stands for a `numpy.dtype`: a kind and width of numbers, then their byte order."""

    __slots__ = ("value",)

    def __init__(self, code: Any, *flags: Any) -> None:
        if not isinstance(code, str) or not NUMBER.fullmatch(code):
            raise Refused(f"it holds an array of {str(code)[:40]!r}, which may be objects; only plain numbers are read")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise Refused("it holds an array whose type has parts or fields; only plain numbers are read")
        if state[1] not in ("<", ">", "=", "|"):
            raise Refused(f"it holds an array of the byte order {str(state[1])[:40]!r}")
        self.value = self.value.newbyteorder(state[1])


class Plain:
    """Stands for an array until its shape and bytes are told."""

    __slots__ = ("value",)

    def __init__(self, value: np.ndarray | None = None) -> None:
        self.value = value

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("it holds an array of no known form")
        _, shape, kind, is_fortran, raw = state
        self.value = from_bytes(raw, kind, shape, "F" if is_fortran else "C")


def from_bytes(raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """[shape] of the numbers that lie in `raw`.

    Raises:
        Refused: bytes, kind, shape or order are none, or disagree.
    """
    if isinstance(raw, str):  # as Python 2 wrote bytes
        raw = raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray) or not isinstance(kind, NumberType):
        raise Refused("it holds an array that is not plain bytes of plain numbers")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape) or len(shape) > 8:
        raise Refused(f"it holds an array of the shape {str(shape)[:40]}")
    if order not in ("C", "F"):
        raise Refused(f"it holds an array in the order {str(order)[:40]!r}")
    if math.prod(shape) * kind.value.itemsize != len(raw):
        raise Refused(f"it holds an array of {len(raw)} bytes for the shape {list(shape)} of {kind.value}")
    return np.frombuffer(raw, kind.value).reshape(shape, order=order)


def start_array(made: Any, *rest: Any) -> Plain:
    """Stands for `_reconstruct`."""
    if made is not PARTS["numpy", "ndarray"]:
        raise Refused("it carries code (an array of another kind), which is not run")
    return Plain()


def from_buffer(raw: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> Plain:
    """Stands for `_frombuffer`, as protocol 5 writes arrays."""
    if order == "K" and isinstance(axes, tuple):
        found = from_bytes(raw, kind, shape, "C")
        if sorted(map(str, axes)) != sorted(map(str, range(found.ndim))):
            raise Refused(f"it holds an array in the order {str(axes)[:40]}")
        return Plain(found.transpose(axes))
    return Plain(from_bytes(raw, kind, shape, order))


def number(kind: Any, raw: Any) -> int | float:
    """Stands for `scalar`."""
    found: int | float = from_bytes(raw, kind, (), "C").item()
    return found


def no_array(*given: Any) -> Any:
    """Stands for `numpy.ndarray`, which pickles name and never call."""
    raise Refused("it carries code (an array over bytes of its own), which is not run")


def as_latin1(text: Any, encoding: Any) -> bytes:
    """Stands for `_codecs.encode`, by which Python 3 writes bytes for protocols up to 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused(f"it carries code (text in {str(encoding)[:40]!r}), which is not run")
    return text.encode("latin1")


PARTS: dict[tuple[str, str], Word] = {
    ("numpy", "ndarray"): Word(no_array),
    ("numpy", "dtype"): Word(NumberType),
    ("_codecs", "encode"): Word(as_latin1),
    **{
        (f"numpy.{core}.{module}", name): Word(build)
        for core in ("core", "_core")
        for module, name, build in (
            ("multiarray", "_reconstruct", start_array),
            ("multiarray", "scalar", number),
            ("numeric", "_frombuffer", from_buffer),
        )
    },
}
"""All that an array's pickle names, by Python 2 and 3, by NumPy 1 and 2, and what is called instead."""


class ArrayUnpickler(pickle.Unpickler):
    """Builds arrays, numbers, text and containers; whatever else a pickle asks for is refused before it runs."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what stands for the parts of arrays.

        Raises:
            Refused: anything else.
        """
        if (module, name) not in PARTS:
            raise Refused(f"it carries code ({module}.{name}), which is not run")
        return PARTS[module, name]


def load_arrays(path: Path) -> Any:
    """What a pickle holds; of a dictionary, arrays as its values.

    Raises:
        InputError: the file is missing or damaged, wants code to be run, or holds arrays of other things than numbers.
    """
    try:
        with open(path, "rb") as handle:
            # not through a buffer of our own: the largest of these files has more than a gigabyte
            found = ArrayUnpickler(handle, encoding="latin1").load()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Refused as error:
        raise InputError(f"{path}: is no file of RadioML: {' '.join(str(error).split())}") from error
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: damaged, or no pickle ({' '.join(str(error).split())})") from error
    except (
        EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, ImportError, MemoryError, OverflowError,
        OSError, UnicodeError, RecursionError,
    ) as error:  # fmt: skip
        # all of these are what damaged bytes were seen to end in
        raise InputError(f"{path}: damaged, or no pickle ({type(error).__name__})") from error
    if isinstance(found, dict):
        return {key: value.value if isinstance(value, Plain) else value for key, value in found.items()}
    return found
