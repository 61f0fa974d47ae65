"""Whether the options of a reader, method or loss are of the types that its annotations say.

What does not live here: which options there are, whether their values make sense (both are known where they are taken).
"""

from __future__ import annotations

import inspect as introspection
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from limbeck.errors import InputError

__all__ = ["check_option_types"]

_PLAIN: dict[Any, type | tuple[type, ...]] = {
    NoneType: NoneType,
    bool: (bool, np.bool_),
    int: Integral,
    float: Real,
    str: (str, os.PathLike),
}
"""Annotation -> what is of it."""
_WORDS = {
    NoneType: ("nothing", "nothing"),
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "text"),
}
"""Annotation -> its name for one and for several."""


def check_option_types(taker: Callable[..., Any], options: Mapping[str, Any], *, where: str) -> None:
    """Compare options with the annotations of what takes them: text, numbers, true or false, sequences and mappings of
    them, unions. Whole numbers are numbers, true and false are not; annotations of other kinds allow anything.

    Args:
        taker: the function or class.
        options: by name; those that it does not have are passed over.
        where: what stands before an option's name in errors.

    Raises:
        InputError: an option is of another type.

    Example:
        >>> def reader(pad: float = 0.0, names: Sequence[str] = ()): ...
        >>> check_option_types(reader, {"pad": 1, "names": ["ann"]}, where="data.options.")
        >>> check_option_types(reader, {"names": "ann"}, where="data.options.")
        Traceback (most recent call last):
            ...
        limbeck.errors.InputError: data.options.names = 'ann': expected a list of text
    """
    try:
        parameters = introspection.signature(taker, eval_str=True).parameters
    except (NameError, AttributeError, TypeError, SyntaxError):  # outside annotations may lead nowhere
        return
    for name, value in options.items():
        if name in parameters and not _is_of(value, parameters[name].annotation):
            expected = _in_words(parameters[name].annotation)
            raise InputError(f"{where}{name} = {value!r}: expected {expected}")


def _is_of(value: Any, kind: Any) -> bool:
    base, inside = get_origin(kind) or kind, get_args(kind)
    if base in (Union, UnionType):
        return any(_is_of(value, one) for one in inside)
    if base is Literal:
        return any(isinstance(value, type(one)) for one in inside)  # which of them: the reader says what is near
    if base in _PLAIN:
        return isinstance(value, _PLAIN[base]) and (base is bool or not isinstance(value, bool))
    if base is Mapping:
        key, held = inside or (Any, Any)
        return isinstance(value, Mapping) and all(_is_of(k, key) and _is_of(v, held) for k, v in value.items())
    if base is Sequence:
        is_list = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))
        return is_list and all(_is_of(one, inside[0]) for one in value if inside)
    return True


def _in_words(kind: Any, *, several: bool = False) -> str:
    base, inside = get_origin(kind) or kind, get_args(kind)
    if base in (Union, UnionType):
        either = " or of " if several else " or "
        return either.join(_in_words(one, several=several) for one in inside if one is not NoneType)
    if base is Literal:
        return " or ".join(str(one) for one in inside)
    if base in _WORDS:
        return _WORDS[base][several]
    named = "table" if base is Mapping else "list"
    of = f" of {_in_words(inside[-1], several=True)}" if inside else ""
    return f"{named}s{of}" if several else f"a {named}{of}"
