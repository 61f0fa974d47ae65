"""Decoupled knowledge distillation: target class and the others apart, both as divergences. Warm-up is the method's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logit_pair
from limbeck.losses.divergence import non_target_log_sum, softmax_and_log_sum
from limbeck.losses.lskd import standardise as standardised

__all__ = ["dkd"]


def dkd(
    student: Tensor,
    teacher: Tensor,
    *,
    target: Tensor,
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    standardise: bool = False,
) -> Tensor:
    """Divergence of target against rest plus that among the other classes, each times T^2, mean over the batch.

    `T^2 * (alpha * KL(b_t || b_s) + beta * KL(T^ || S^))` with b = (probability of the target, of all others) and S^,
    T^ the softmaxes of the K-1 other classes' logits, all at temperature T. Plain `kd` is the case alpha = 1, beta = 1
    less the teacher's probability of the target.

    Args:
        student: [N, K] logits, K >= 3 (with two classes nothing is left among the others).
        teacher: [N, K] logits; no gradient reaches them.
        target: [N] class indices; of [N, K] mixed labels the largest entry counts.
        temperature: T > 0 of every softmax.
        alpha: weight of target against rest (TCKD).
        beta: weight of the other classes among themselves (NCKD).
        standardise: whether to take both logits through `limbeck.losses.standardise` first, as `lskd` does for `kd`.

    Raises:
        InputError: K < 3, shapes that differ, labels out of range, or a temperature that is not positive.

    **Source:** Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022, arXiv 2203.08679,
        equation 7.
    **Differs:** the authors' code takes logarithms of summed probabilities, which can be minus infinity; here they come
        from the logits. It has no rule for mixed labels.

    Example:
        >>> import torch
        >>> student = torch.zeros(1, 3)                             # target 1/3, others 1/2 each
        >>> teacher = torch.tensor([[2.0, 1.0, 1.0]]).log()         # target 1/2, others 1/2 each
        >>> target = torch.tensor([0])
        >>> round(dkd(student, teacher, target=target, temperature=1.0).item(), 4)      # log(3/2)/2 + log(3/4)/2
        0.0589
    """
    student, teacher = logit_pair(student, teacher, loss="dkd", min_classes=3)
    teacher = teacher.detach()
    if not temperature > 0:
        raise InputError(f"dkd: temperature must be positive, not {temperature}")
    if standardise:
        student, teacher = standardised(student), standardised(teacher)
    label = class_indices(target, student, loss="dkd").unsqueeze(1)
    soft_student, soft_teacher = student / temperature, teacher / temperature

    teacher_others, teacher_log_sum = softmax_and_log_sum(soft_teacher.scatter(1, label, -torch.inf))
    _, student_log_sum = non_target_log_sum(soft_student, label)
    # T^ is exactly 0 at the target, so that the logits left in place there neither count nor get a gradient
    others = (teacher_others * (soft_teacher - soft_student)).sum(1) - teacher_log_sum + student_log_sum

    # log-odds of the target: the sigmoid gives both sides of the binary distribution without cancellation
    student_odds = soft_student.gather(1, label).squeeze(1) - student_log_sum
    teacher_odds = soft_teacher.gather(1, label).squeeze(1) - teacher_log_sum
    binary = torch.sigmoid(teacher_odds) * (logsigmoid(teacher_odds) - logsigmoid(student_odds))
    binary = binary + torch.sigmoid(-teacher_odds) * (logsigmoid(-teacher_odds) - logsigmoid(-student_odds))
    return (alpha * binary + beta * others).mean() * temperature**2
