"""Losses between predicted and true points: absolute, squared, Huber, and the form that two-teacher training starts from.

What they all take is checked here. Not here: losses with teachers (`landmark_kd`, `asmnet`), Wing losses (`wing`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.checks import in_float32

__all__ = [
    "coordinates",
    "known_mean",
    "landmark_l1",
    "landmark_l2",
    "landmark_main",
    "landmark_smooth_l1",
    "true_coordinates",
]


def coordinates(value: Tensor, *, loss: str, name: str = "student") -> Tensor:
    """[N, 2L] in float32 or better, from [N, 2L] (x and y in turn) or [N, L, 2].

    Raises:
        InputError: another form, no floating point, or an empty batch.
    """
    is_points = isinstance(value, Tensor) and value.is_floating_point() and value.dim() in (2, 3)
    if not is_points or (value.dim() == 3 and value.shape[2] != 2):
        given = f"{list(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{loss}: {name} must be [N, 2L] or [N, L, 2] floating-point coordinates, not {given}")
    if value.numel() == 0:
        raise InputError(f"{loss}: {name} holds an empty batch")
    return in_float32(value).flatten(1)


def true_coordinates(
    student: Tensor, target: Tensor, *teachers: Tensor, loss: str, names: tuple[str, ...] = ("teacher",)
) -> tuple[Tensor, ...]:
    """The coordinates of student, truth and teachers in one precision, and which of the true ones are known.

    Args:
        student: [N, 2L] or [N, L, 2].
        target: the same; NaN = unknown.
        teachers: the same, detached here.
        loss: named in errors.
        names: of the teachers, in errors.

    Returns:
        Student [N, 2L], truth (0 where unknown), each teacher, and [N, 2L] bool.

    Raises:
        InputError: other forms, or shapes that differ.
    """
    found = [coordinates(student, loss=loss), coordinates(target, loss=loss, name="target")]
    found += [coordinates(one.detach(), loss=loss, name=name) for one, name in zip(teachers, names, strict=True)]
    for other, name in zip(found[1:], ("target", *names), strict=False):
        if other.shape != found[0].shape:
            raise InputError(
                f"{loss}: student has {list(found[0].shape)} coordinates but {name} {list(other.shape)}; both must have "
                "as many points"
            )
    dtype = found[0].dtype
    for other in found[2:]:  # the truth's own precision does not matter
        dtype = torch.promote_types(dtype, other.dtype)
    ours, truth, *theirs = (one.to(dtype) for one in found)
    known = ~truth.isnan()
    return ours, truth.where(known, 0.0), *theirs, known


def known_mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of the entries that are known, over batch and coordinates; 0 where none is. Others get no gradient."""
    return values.where(known, 0.0).sum() / known.sum().clamp(min=1)


def landmark_l1(student: Tensor, *, target: Tensor) -> Tensor:
    """Mean absolute error of the coordinates.

    Args:
        student: [N, 2L] or [N, L, 2], in the unit of the target.
        target: the same; NaN = unknown, left out.

    Raises:
        InputError: shapes that differ.

    Example:
        >>> landmark_l1(torch.tensor([[0.5, 0.5]]), target=torch.tensor([[0.3, 0.4]]))
        tensor(0.1500)
    """
    ours, truth, known = true_coordinates(student, target, loss="landmark_l1", names=())
    return known_mean((ours - truth).abs(), known)


def landmark_l2(student: Tensor, *, target: Tensor) -> Tensor:
    """Mean squared error of the coordinates; arguments as of `landmark_l1`.

    Raises:
        InputError: shapes that differ.
    """
    ours, truth, known = true_coordinates(student, target, loss="landmark_l2", names=())
    return known_mean((ours - truth).square(), known)


def landmark_smooth_l1(student: Tensor, *, target: Tensor, knee: float = 0.01) -> Tensor:
    """Mean Huber error of the coordinates over its knee: e^2 / (2 knee) up to it, e - knee / 2 beyond.

    Args:
        student: [N, 2L] or [N, L, 2], in the unit of the target.
        target: the same; NaN = unknown, left out.
        knee: > 0, in that unit.

    Raises:
        InputError: shapes that differ, or a knee that is not positive.
    """
    if not knee > 0:
        raise InputError(f"landmark_smooth_l1: knee must be positive, not {knee}")
    ours, truth, known = true_coordinates(student, target, loss="landmark_smooth_l1", names=())
    return known_mean(torch.nn.functional.smooth_l1_loss(ours, truth, reduction="none", beta=knee), known)


def landmark_main(student: Tensor, *, target: Tensor, knee: float = 0.5) -> Tensor:
    """The main loss beside two teachers: |e| up to the knee, e^2 + knee - knee^2 beyond; mean over batch and coordinates.

    On coordinates that are shares of the picture errors beyond the knee are rare: it is an L1 loss in practice.

    Args:
        student: [N, 2L] or [N, L, 2], shares of the picture.
        target: the same; NaN = unknown, left out.
        knee: > 0; the slope is continuous at 0.5 only.

    Raises:
        InputError: shapes that differ, or a knee that is not positive.

    **Source:** Fard, Mahoor, "Facial Landmark Points Detection Using Knowledge Distillation-Based Neural Networks", CVIU
        2022, arXiv 2111.07047, as drawn in its figure of the losses.

    Example:
        >>> landmark_main(torch.tensor([[0.25, 1.5]]), target=torch.tensor([[0.0, 0.5]]))      # 0.25 and 1.25
        tensor(0.7500)
    """
    if not knee > 0:
        raise InputError(f"landmark_main: knee must be positive, not {knee}")
    ours, truth, known = true_coordinates(student, target, loss="landmark_main", names=())
    error = (ours - truth).abs()
    return known_mean(torch.where(error <= knee, error, error.square() + knee - knee**2), known)
