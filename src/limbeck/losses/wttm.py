"""Transformed teacher matching: the temperature on the teacher's side only, weighed per sample. Its weight is the method's."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.checks import logit_pair
from limbeck.losses.divergence import forward_kl

__all__ = ["wttm"]


def wttm(student: Tensor, teacher: Tensor, *, gamma: float = 0.1, weighted: bool = True) -> Tensor:
    """KL(q || student), q the teacher's probabilities to the power `gamma` and normalised, mean over the batch.

    Each sample counts by the sum of those powers before they are normalised: more where the teacher is less sure.

    Args:
        student: [N, K] logits, taken at temperature 1.
        teacher: [N, K] logits; no gradient reaches them.
        gamma: exponent > 0, the same as a temperature of 1 / gamma on the teacher.
        weighted: whether samples are weighed; without it the loss is the plain TTM.

    Raises:
        InputError: shapes that differ, or a gamma that is not positive.

    **Source:** Zheng, Yang, "Knowledge Distillation Based on Transformed Teacher Matching", ICLR 2024, arXiv
        2402.11148.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 3.0]]).log1p()   # teacher: 1/5 and 4/5
        >>> round(wttm(student, teacher, gamma=0.5).item(), 4)      # q: 1/3 and 2/3, weight 3 / sqrt(5)
        0.076
    """
    student, teacher = logit_pair(student, teacher, loss="wttm")
    if not gamma > 0:
        raise InputError(f"wttm: gamma must be positive, not {gamma}")
    teacher = teacher.detach()
    softened = gamma * teacher
    divergence = forward_kl(student, softened)
    if weighted:
        divergence = divergence * (softened.logsumexp(1) - gamma * teacher.logsumexp(1)).exp()
    return divergence.mean()
