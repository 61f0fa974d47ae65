"""What a detector learns from another one's answers, row by row: its classes, and its errors as a bound.

Not here: which anchors are rows, and what each counts (`distill.anchors`); the weights of the parts are the method's.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import in_float32, logit_pair

__all__ = ["bounded_regression", "weighted_classes"]


def weighted_classes(
    student: Tensor,
    teacher: Tensor,
    *,
    scores: Literal["softmax", "sigmoid"] = "softmax",
    background_weight: float = 1.5,
) -> Tensor:
    """Cross-entropy of each row with the teacher's scores, the background's part counted more, less what it is at a match.

    Args:
        student: [P, K + 1] logits, the first column the background's.
        teacher: the same; no gradient reaches them.
        scores: `softmax`, or `sigmoid`: each column is then a distribution of its own, and their parts are summed.
        background_weight: of the background's column; the others have 1.

    Returns:
        [P]; 0 at a match, and under a softmax below 0 where the student gives the background a little more than the teacher,
        which the weight asks for.

    Raises:
        InputError: shapes that differ, or a weight that is not positive.

    **Source:** Chen, Choi, Yu, Han, Chandraker, "Learning Efficient Object Detection Models with Knowledge Distillation",
        NeurIPS 2017, equation 3, where the background has 1.5.
    **Differs:** the teacher's own part is taken off: same gradient. Sigmoid scores are not the paper's; the background has no
        say in them, where its column is trained to be 0 (`tasks.box_losses.focal_loss`).

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 3.0]]).log1p()   # teacher: 1/5 and 4/5
        >>> round(weighted_classes(student, teacher).item(), 4)     # 1.5 * 0.2 log 0.4 + 0.8 log 1.6
        0.1011
    """
    student, teacher = logit_pair(student, teacher, loss="odkd")
    if not background_weight > 0:
        raise InputError(f"odkd: background_weight must be positive, not {background_weight}")
    teacher = teacher.detach()
    weights = student.new_ones(student.shape[1])
    weights[0] = background_weight
    if scores == "sigmoid":
        there, absent = (
            functional.logsigmoid(sign * teacher) - functional.logsigmoid(sign * student) for sign in (1, -1)
        )
        parts = teacher.sigmoid() * there + (-teacher).sigmoid() * absent
    else:
        ours, theirs = functional.log_softmax(student, 1), functional.log_softmax(teacher, 1)
        parts = theirs.exp() * (theirs - ours)
    return (parts * weights).sum(1)


def bounded_regression(student: Tensor, teacher: Tensor, *, target: Tensor, margin: float = 0.0) -> Tensor:
    """Squared error of each row where it is not below the teacher's by more than the margin; 0 where it is.

    Args:
        student: [P, 4] offsets.
        teacher: [P, 4] offsets; no gradient reaches them, nor their error.
        target: [P, 4] offsets of the true boxes.
        margin: m, by which the student must be better to be left alone.

    Returns:
        [P].

    Raises:
        InputError: shapes that differ.

    **Source:** Chen, Choi, Yu, Han, Chandraker, "Learning Efficient Object Detection Models with Knowledge Distillation",
        NeurIPS 2017, equation 4. The paper gives no value of m.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 0, 0, 0], [2.0, 0, 0, 0]]), torch.tensor([[1.5, 0, 0, 0]] * 2)
        >>> bounded_regression(student, teacher, target=torch.zeros(2, 4)).tolist()
        [0.0, 4.0]
    """
    if student.dim() != 2 or not student.shape == teacher.shape == target.shape:
        shapes = ", ".join(str(list(part.shape)) for part in (student, teacher, target))
        raise InputError(f"odkd: offsets of student, teacher and target must have one shape [P, 4], got {shapes}")
    ours, theirs = ((in_float32(part) - in_float32(target)).square().sum(1) for part in (student, teacher.detach()))
    return ours * (ours.detach() + margin > theirs)
