"""Weighted soft-label distillation: soft labels count less where the teacher errs more. The weight beside the labels is
the method's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logit_pair

__all__ = ["wsld"]

EPSILON = 1e-7  # the authors' guard, added to the teacher's cross-entropy


def wsld(student: Tensor, teacher: Tensor, *, target: Tensor, temperature: float = 2.0) -> Tensor:
    """T^2 times the cross-entropy to the teacher's softened softmax, each sample weighed, mean over the batch.

    The weight is `1 - exp(-CE(student) / CE(teacher))`, both to the labels at temperature 1: near 1 where the teacher
    knows better than the student, near 0 where the student is ahead. It is a constant: no gradient passes through it.
    Not zero at a perfect match: it keeps the entropy of the teacher.

    Args:
        student: [N, K] logits.
        teacher: [N, K] logits; no gradient reaches them.
        target: [N] class indices, or [N, K] label rows.
        temperature: T > 0 of both softmaxes.

    Raises:
        InputError: shapes that differ, labels out of range, or a temperature that is not positive.

    **Source:** Zhou, Song, Chen, Zhou, Wang, Yuan, Zhang, "Rethinking Soft Labels for Knowledge Distillation: A
        Bias-Variance Tradeoff Perspective", ICLR 2021, arXiv 2102.00650, as released.

    Example:
        >>> import torch
        >>> even, teacher = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()     # weight 1 - exp(-log 2 / log 4/3)
        >>> round(wsld(even, teacher, target=torch.tensor([0]), temperature=1.0).item(), 4)
        0.6309
    """
    student, teacher = logit_pair(student, teacher, loss="wsld")
    if not temperature > 0:
        raise InputError(f"wsld: temperature must be positive, not {temperature}")
    teacher = teacher.detach()
    labels = class_indices(target, student, loss="wsld")
    own = target.to(student.dtype) if target.is_floating_point() else labels
    with torch.no_grad():
        ours, theirs = (functional.cross_entropy(out, own, reduction="none") for out in (student, teacher))
        weight = -torch.expm1(-ours / (theirs + EPSILON))
    soft = functional.cross_entropy(student / temperature, (teacher / temperature).softmax(1), reduction="none")
    return (weight * soft).mean() * temperature**2
