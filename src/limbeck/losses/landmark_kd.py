"""Two-teacher distillation of points: the signed assistive loss, the released main loss, and KD-Loss, their sum.

Not here: the main loss of the paper and what all losses on points check (`landmark_errors`), the teachers' own losses.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from limbeck.errors import InputError, unknown_name
from limbeck.losses.landmark_errors import known_mean, landmark_main, true_coordinates

__all__ = ["LandmarkKd", "assistive", "released_main"]

Variant = Literal["paper", "release"]

_CONSTANTS: dict[str, dict[str, float]] = {
    "paper": {
        "weight_main": 2.5, "tough_positive": 0.9, "tough_negative": -0.45, "tolerant_positive": 0.9,
        "tolerant_negative": -0.45, "beta": 0.4,
    },
    "release": {
        "weight_main": 2.0, "tough_positive": 1.9, "tough_negative": -0.45, "tolerant_positive": 1.8,
        "tolerant_negative": -0.4, "beta": 0.15,
    },
}  # fmt: skip


def assistive(
    student: Tensor,
    teacher: Tensor,
    *,
    target: Tensor,
    positive: float = 0.9,
    negative: float = -0.45,
    beta: float = 0.4,
    variant: Variant = "paper",
) -> Tensor:
    """The teacher as a landmark on the way: beyond it the student is pulled in, between it and the truth pushed on.

    Of each coordinate, e is the student's error and d the teacher's, both as distances; the value is the weight times
    |d - e|. Weights: `positive` where e >= d, `negative` where beta d <= e < d; nearer the truth `paper` lets `negative`
    fade to 0 in a line, `release` is 0 at once. Negative values are meant: add a main loss that outweighs the slope at
    the truth, as `LandmarkKd` makes sure of.

    Args:
        student: [N, 2L] or [N, L, 2], shares of the picture.
        teacher: the same, a frozen prediction; no gradient reaches it.
        target: the same, the truth; NaN = unknown, left out.
        positive: weight beyond the teacher, >= 0.
        negative: weight between teacher and truth, <= 0.
        beta: share of d below which the teacher stops to matter, in (0, 1).
        variant: `release` has the form of the authors' code; give its constants too (`positive` 1.9 for the tough and 1.8
            for the tolerant teacher, `negative` -0.45 and -0.4, `beta` 0.15).

    Raises:
        InputError: shapes that differ, constants out of range, or an unknown variant.

    **Source:** Fard, Mahoor, "Facial Landmark Points Detection Using Knowledge Distillation-Based Neural Networks", CVIU
        2022, arXiv 2111.07047: the curves of its figures; the gradient flows through the fading weight, as they show.
    **Differs:** `release` gives 0 where a teacher is exact, as its code does; the paper's form then pulls to the truth.

    Example:
        >>> student = torch.tensor([[0.18, 0.06]])           # beyond the teacher, and short of it
        >>> teacher, target = torch.tensor([[0.12, 0.08]]), torch.tensor([[0.1, 0.05]])
        >>> [round(assistive(student[:, [i]], teacher[:, [i]], target=target[:, [i]]).item(), 4) for i in (0, 1)]
        [0.054, -0.0075]
    """
    _check_constants("assistive", variant, positive, negative, beta)
    ours, truth, theirs, known = true_coordinates(student, target, teacher, loss="assistive")
    error, distance = (ours - truth).abs(), (theirs - truth).abs()
    near = beta * distance
    if variant == "paper":
        faded = negative * error / near.where(near > 0, 1.0)
        weight = torch.where(error >= distance, positive, torch.where(error >= near, negative, faded))
    else:
        none = torch.zeros_like(error)  # of the errors' precision, which two plain numbers would not have
        weight = torch.where(error > distance, positive, torch.where(error >= near, negative, none))
        weight = weight.where(distance > 0, 0.0)
    return known_mean(weight * (distance - error).abs(), known)


def released_main(student: Tensor, tolerant: Tensor, *, target: Tensor, slope: float = 3.0) -> Tensor:
    """The main loss of the authors' code: slope * e up to the tolerant teacher's error d, e^2 + slope * d - d^2 beyond.

    It weakens where the student is worse than the tolerant teacher, and the paper's main loss does not.

    Args:
        student: [N, 2L] or [N, L, 2], shares of the picture.
        tolerant: the same, the frozen prediction of the tolerant teacher; no gradient reaches it.
        target: the same, the truth; NaN = unknown, left out.
        slope: > 0.

    Raises:
        InputError: shapes that differ, or a slope that is not positive.

    **Source:** the code that Fard and Mahoor published for arXiv 2111.07047.

    Example:
        >>> student, tolerant = torch.tensor([[0.1, 0.5]]), torch.tensor([[0.2, 0.2]])         # 0.3, and 0.25 + 0.56
        >>> round(released_main(student, tolerant, target=torch.zeros(1, 2)).item(), 4)
        0.555
    """
    if not slope > 0:
        raise InputError(f"released_main: slope must be positive, not {slope}")
    ours, truth, theirs, known = true_coordinates(
        student, target, tolerant, loss="released_main", names=("the tolerant teacher",)
    )
    error, distance = (ours - truth).abs(), (theirs - truth).abs()
    beyond = error.square() + slope * distance - distance.square()
    return known_mean(torch.where(error <= distance, slope * error, beyond), known)


class LandmarkKd(nn.Module):
    """KD-Loss: the main loss and an assistive loss of each of two teachers, weighted.

    Near the truth each assistive loss of the paper's form has the slope weight * negative / beta; the main loss must be
    steeper than both together, or the truth is a local maximum of the loss. That is checked here.

    Args:
        weight_main: of the main loss; None = 2.5 (`paper`), 2.0 (`release`).
        weight_tough: of the tough teacher's assistive loss, >= 0.
        weight_tolerant: of the tolerant teacher's, >= 0.
        tough_positive: as `assistive` takes it, as are the others; None = 0.9 (`paper`), 1.9 (`release`).
        tough_negative: None = -0.45.
        tolerant_positive: None = 0.9 (`paper`), 1.8 (`release`).
        tolerant_negative: None = -0.45 (`paper`), -0.4 (`release`).
        beta: None = 0.4 (`paper`), 0.15 (`release`).
        variant: the form of the paper, or that of the authors' code, with its main loss.

    Raises:
        InputError: constants out of range, an unknown variant, or a main loss that the assistive losses outweigh.

    **Source:** Fard, Mahoor, arXiv 2111.07047: forms and constants as its figures draw them; `release` as in its code.

    Example:
        >>> predictions = torch.tensor([[0.18]]), torch.tensor([[0.12]]), torch.tensor([[0.15]])
        >>> round(LandmarkKd()(*predictions, target=torch.tensor([[0.1]])).item(), 4)     # 2.5 * 0.08 + 0.054 + 0.027
        0.281
    """

    def __init__(
        self,
        *,
        weight_main: float | None = None,
        weight_tough: float = 1.0,
        weight_tolerant: float = 1.0,
        tough_positive: float | None = None,
        tough_negative: float | None = None,
        tolerant_positive: float | None = None,
        tolerant_negative: float | None = None,
        beta: float | None = None,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        if variant not in _CONSTANTS:
            raise unknown_name("variant", variant, get_args(Variant), where="landmark_kd")
        given = {
            "weight_main": weight_main, "tough_positive": tough_positive, "tough_negative": tough_negative,
            "tolerant_positive": tolerant_positive, "tolerant_negative": tolerant_negative, "beta": beta,
        }  # fmt: skip
        own = _CONSTANTS[variant] | {name: value for name, value in given.items() if value is not None}
        if own["weight_main"] < 0 or weight_tough < 0 or weight_tolerant < 0:
            weights = f"{own['weight_main']}, {weight_tough} and {weight_tolerant}"
            raise InputError(f"landmark_kd: weights must not be negative, got {weights}")
        self.variant, self.weight_main, self.beta = variant, own["weight_main"], own["beta"]
        self.sides = [
            (weight, own[f"{name}_positive"], own[f"{name}_negative"])
            for name, weight in (("tough", weight_tough), ("tolerant", weight_tolerant))
        ]
        for _, positive, negative in self.sides:
            _check_constants("landmark_kd", variant, positive, negative, self.beta)
        needed = sum(-weight * negative for weight, _, negative in self.sides) / self.beta
        if variant == "paper" and needed and not self.weight_main > needed:
            raise InputError(
                f"landmark_kd: weight_main must exceed {needed:g}, the slope of both assistive losses at the truth "
                f"(sum of weight * |negative| / beta), or the truth is a maximum of the loss; got {self.weight_main:g}"
            )

    def forward(self, student: Tensor, tough: Tensor, tolerant: Tensor, *, target: Tensor) -> Tensor:
        """The weighted sum.

        Args:
            student: [N, 2L] or [N, L, 2], shares of the picture.
            tough: the same, the frozen prediction of the teacher that learned the truth.
            tolerant: the same, of the teacher that learned smoothed truth.
            target: the same, the truth; NaN = unknown, left out.

        Raises:
            InputError: shapes that differ.
        """
        if self.variant == "paper":
            total = self.weight_main * landmark_main(student, target=target)
        else:
            total = self.weight_main * released_main(student, tolerant, target=target)
        for teacher, (weight, positive, negative) in zip((tough, tolerant), self.sides, strict=True):
            total = total + weight * assistive(
                student, teacher, target=target, positive=positive, negative=negative, beta=self.beta,
                variant=self.variant,
            )  # fmt: skip
        return total


def _check_constants(loss: str, variant: str, positive: float, negative: float, beta: float) -> None:
    if variant not in _CONSTANTS:
        raise unknown_name("variant", variant, get_args(Variant), where=loss)
    if positive < 0 or negative > 0 or not 0 < beta < 1:
        raise InputError(
            f"{loss}: needs positive >= 0, negative <= 0 and beta in (0, 1), not {positive}, {negative} and {beta}"
        )
