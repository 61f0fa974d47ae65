"""Normalised knowledge distillation: the target class and the others apart. Weights of terms belong to the method."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logit_pair
from limbeck.losses.divergence import non_target_log_sum, softmax_and_log_sum

__all__ = ["nkd"]


def nkd(student: Tensor, teacher: Tensor, *, target: Tensor, temperature: float = 1.0, gamma: float = 1.5) -> Tensor:
    """Soft cross-entropy of the target class plus that of the re-normalised other classes, mean over the batch.

    With S, T the softmaxes at temperature 1 and S^, T^ those of the K-1 other classes' logits divided by `temperature`:
    `-T_t log S_t - gamma * temperature^2 * sum over others of T^ log S^`. Not zero at a perfect match: it keeps the
    entropy of the teacher.

    Args:
        student: [N, K] logits, K >= 3 (with two classes nothing is left to normalise).
        teacher: [N, K] logits; no gradient reaches them.
        target: [N] class indices; of [N, K] mixed labels the largest entry counts.
        temperature: of the other classes only; the paper's lambda.
        gamma: weight of the other classes.

    Raises:
        InputError: K < 3, shapes that differ, labels out of range, or a temperature that is not positive.

    **Source:** Yang, Zeng, Li, Zhang, Yuan, Li, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified
        Approach with Normalized Loss and Customized Soft Labels", ICCV 2023, arXiv 2303.13005, equation 8.
    **Differs:** from releases of the authors' code between July and October 2023, whose mask never removed the target;
        equal to those before and after.

    Example:
        >>> import torch
        >>> even = torch.zeros(1, 3)     # S_t = T_t = 1/3, others 1/2 each: log(3) / 3 + 1.5 log(2)
        >>> round(nkd(even, even, target=torch.tensor([0])).item(), 4)
        1.4059
    """
    student, teacher = logit_pair(student, teacher, loss="nkd", min_classes=3)
    teacher = teacher.detach()
    if not temperature > 0:
        raise InputError(f"nkd: temperature must be positive, not {temperature}")
    label = class_indices(target, student, loss="nkd").unsqueeze(1)

    soft_student = student if temperature == 1 else student / temperature
    soft_teacher = teacher if temperature == 1 else teacher / temperature
    teacher_others, teacher_log_sum = softmax_and_log_sum(soft_teacher.scatter(1, label, -torch.inf))
    _, student_log_sum = non_target_log_sum(soft_student, label)
    # T^ is exactly 0 at the target, so that its logit, left in place here, neither counts nor gets a gradient
    others = student_log_sum - (teacher_others * soft_student).sum(1)

    # the target's own probability is at temperature 1, always: at hand already if the others' is too
    if temperature == 1:
        teacher_target = torch.sigmoid(teacher.gather(1, label).squeeze(1) - teacher_log_sum)
        target_loss = functional.softplus(student_log_sum - student.gather(1, label).squeeze(1))
    else:
        teacher_target = teacher.softmax(1).gather(1, label).squeeze(1)
        target_loss = functional.cross_entropy(student, label.squeeze(1), reduction="none")
    return (gamma * temperature**2 * others + teacher_target * target_loss).mean()
