"""What every loss checks and converts on entry: precision, shapes, labels, option names. No formula lives here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from limbeck.errors import InputError, unknown_name

__all__ = [
    "check_options",
    "class_indices",
    "feature_pair",
    "in_float32",
    "logit_pair",
    "logits",
    "loss_options",
    "positional_names",
]

HANDED_OVER = ("target", "index", "progress", "snr")
"""Keywords that the batch or the loop provides; they are never options of a recipe."""


def in_float32(value: Tensor) -> Tensor:
    """Upcast half precision; float32 and float64 stay."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def logits(value: Tensor, *, loss: str, name: str = "student", min_classes: int = 2) -> Tensor:
    """Check one [N, K] tensor of logits and bring it to float32 or better.

    Raises:
        InputError: not two-dimensional, not floating point, an empty batch, or fewer than `min_classes` classes.
    """
    if not isinstance(value, Tensor) or value.dim() != 2 or not value.is_floating_point():
        raise InputError(f"{loss}: {name} must be [N, K] floating-point logits, not {_describe(value)}")
    if value.shape[0] == 0:
        raise InputError(f"{loss}: {name} holds an empty batch")
    if value.shape[1] < min_classes:
        raise InputError(f"{loss}: needs at least {min_classes} classes, {name} has {value.shape[1]}")
    return in_float32(value)


def logit_pair(
    student: Tensor,
    teacher: Tensor,
    *,
    loss: str,
    names: tuple[str, str] = ("student", "teacher"),
    min_classes: int = 2,
) -> tuple[Tensor, Tensor]:
    """Check two tensors of logits of one shape; both come back in the same precision, float32 or better.

    Raises:
        InputError: as `logits`, or the shapes differ.
    """
    first = logits(student, loss=loss, name=names[0], min_classes=min_classes)
    second = logits(teacher, loss=loss, name=names[1], min_classes=min_classes)
    if first.shape != second.shape:
        shared = "batch" if first.shape[0] != second.shape[0] else "number of classes"
        shapes = f"{names[0]} is {list(first.shape)} but {names[1]} is {list(second.shape)}"
        raise InputError(f"{loss}: {shapes}; both must have the same {shared}")
    dtype = torch.promote_types(first.dtype, second.dtype)
    return first.to(dtype), second.to(dtype)


def feature_pair(student: Tensor, teacher: Tensor, *, loss: str, maps: bool = False) -> tuple[Tensor, Tensor]:
    """Check the features of two networks for the same samples; both come back in the same precision, float32 or better.

    Args:
        student: [N, ...]; [N, C, H, W] with `maps`.
        teacher: the same, of any other width and size.
        loss: named in errors.
        maps: only [N, C, H, W] will do.

    Raises:
        InputError: other forms or types, an empty batch, or batches that differ.
    """
    for name, value in (("student", student), ("teacher", teacher)):
        if not value.is_floating_point() or value.dim() < 2 or (maps and value.dim() != 4):
            form = "[N, C, H, W] feature maps" if maps else "[N, ...] features"
            raise InputError(f"{loss}: {name} must be floating-point {form}, not {_describe(value)}")
    if len(student) != len(teacher) or len(student) == 0:
        raise InputError(f"{loss}: {len(student)} samples of the student and {len(teacher)} of the teacher")
    dtype = torch.promote_types(in_float32(student).dtype, in_float32(teacher).dtype)
    return student.to(dtype), teacher.to(dtype)


def class_indices(target: Tensor, like: Tensor, *, loss: str) -> Tensor:
    """The class of each sample, [N] int64: the labels themselves, or the largest entry of [N, K] mixed label rows.

    Raises:
        InputError: neither of these forms, or an index outside 0 .. K-1 (looked at on the CPU only: elsewhere it would
            wait for the device, which reports it by itself).
    """
    n, k = like.shape
    if target.is_floating_point():
        if target.shape != like.shape:
            raise InputError(f"{loss}: soft target must be [N, K] = {[n, k]}, not {list(target.shape)}")
        return target.argmax(1)
    if target.dtype == torch.bool or target.is_complex() or target.shape != (n,):
        forms = f"[N] = [{n}] class indices or [N, K] soft labels"
        raise InputError(f"{loss}: target must be {forms}, not {_describe(target)}")
    if target.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= k:
            raise InputError(f"{loss}: target holds class {low if low < 0 else high}, outside 0 .. {k - 1}")
    return target.long()


def loss_options(loss: Callable[..., Any]) -> dict[str, Any]:
    """The hyper-parameters of a loss and their defaults: its keyword-only parameters less what the batch provides.

    Example:
        >>> from limbeck.losses import nkd
        >>> loss_options(nkd)
        {'temperature': 1.0, 'gamma': 1.5}
    """
    return {
        name: parameter.default
        for name, parameter in inspect.signature(loss).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in HANDED_OVER
    }


def positional_names(loss: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the tensors that a loss takes by position: the student's first, then one per teacher address."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in inspect.signature(loss).parameters.values() if p.kind in kinds)


def check_options(known: Mapping[str, Any], options: Mapping[str, Any], *, where: str) -> None:
    """Check option names against a schema.

    Raises:
        InputError: a name that is not in `known`, with the nearest that is.
    """
    for name in options:
        if name not in known:
            if not known:
                raise InputError(f"{where}: takes no options, but got '{name}'")
            raise unknown_name("option", name, known, where=where)


def _describe(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"of type {type(value).__name__}"
    return f"{list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
