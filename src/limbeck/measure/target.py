"""Target strings: which devices there are and how one is opened. How a device measures is its own file's."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin

from limbeck.errors import InputError, unknown_name
from limbeck.measure.local import OnnxRuntimeDevice
from limbeck.parts import find_part
from limbeck.protocols import Device

__all__ = ["TARGETS", "open_device", "read_target"]

TARGETS: dict[str, Callable[..., Device]] = {
    "onnxruntime": OnnxRuntimeDevice,
}
"""Runtime name -> what opens it; its keyword arguments are the target's options."""


def open_device(target: str) -> Device:
    """Open a device from its target string: `runtime[,option=value...]` or `package.module:name[,option=value...]`.

    The options are the keyword arguments of the device, read by their annotations; several numbers are joined by `+`.

    Raises:
        InputError: no such runtime or option, a value of the wrong kind, a runtime that is not installed, or an outside
            part that is no device.

    Example:
        >>> open_device("onnxruntime,threads=1").target
        'onnxruntime,threads=1'
    """
    name, options = read_target(target)
    where = f"target '{target}'"
    factory = find_part("runtime", name, TARGETS, where=where)
    if not callable(factory):
        raise InputError(f"{where}: '{name}' is not a class or function that makes a device")
    try:
        device = factory(**_typed(options, factory, where=where))
    except TypeError as error:  # an outside part that takes other arguments
        raise InputError(f"{where}: '{name}' makes no device of these options ({error})") from error
    if not isinstance(device, Device):
        missing = [method for method in ("describe", "time", "run", "peak_memory") if not hasattr(device, method)]
        raise InputError(f"{where}: '{name}' gave a {type(device).__name__} without {', '.join(missing)}")
    return device


def read_target(target: str) -> tuple[str, dict[str, str]]:
    """Split a target string into its runtime and its options, still text.

    Raises:
        InputError: it is empty, an option has no `=`, or one is given twice.

    Example:
        >>> read_target("onnxruntime,threads=2,affinity=0+1")
        ('onnxruntime', {'threads': '2', 'affinity': '0+1'})
    """
    name, *pieces = (piece.strip() for piece in target.split(","))
    if not name:
        raise InputError(f"target '{target}': a runtime is expected, such as onnxruntime,threads=1")
    options: dict[str, str] = {}
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise InputError(f"target '{target}': '{piece}' is not of the form option=value")
        if key.strip() in options:
            raise InputError(f"target '{target}': '{key.strip()}' is given twice")
        options[key.strip()] = value.strip()
    return name, options


def _typed(options: Mapping[str, str], factory: Callable[..., Any], *, where: str) -> dict[str, Any]:
    if not options:
        return {}
    try:
        signature = inspect.signature(factory, eval_str=True)
    except NameError:  # an annotation that exists for type checkers only
        signature = inspect.signature(factory)
    known = {p.name: p for p in signature.parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    typed = {}
    for key, text in options.items():
        if key not in known:
            raise unknown_name("option", key, known, where=where)
        typed[key] = _value(key, text, known[key].annotation, where=where)
    return typed


def _value(key: str, text: str, annotation: Any, *, where: str) -> Any:
    kinds = [kind for kind in _alternatives(annotation) if kind is not type(None)]
    for kind in kinds or [str]:
        try:
            return _read(text, kind)
        except ValueError:
            continue
    expected = " or ".join(_in_words(kind) for kind in kinds)
    raise InputError(f"{where}: {key}={text}: {expected} is expected")


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return list(get_args(annotation))
    return [] if annotation is inspect.Parameter.empty else [annotation]


def _read(text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(_read(piece, get_args(kind)[0]) for piece in text.split("+"))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if kind is float and not math.isfinite(float(text)):
        raise ValueError
    return kind(text) if kind in (int, float) else text


def _in_words(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"{_in_words(get_args(kind)[0])} (several joined by +)"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
