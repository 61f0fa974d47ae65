"""Distillation from a stronger teacher: correlations instead of divergences. Its weight beside the labels is the method's."""

from __future__ import annotations

from torch import Tensor
from torch.linalg import vector_norm

from limbeck.errors import InputError
from limbeck.losses.checks import logit_pair

__all__ = ["dist"]

EPSILON = 1e-8  # the authors' guard, added to the product of the norms


def dist(
    student: Tensor, teacher: Tensor, *, temperature: float = 1.0, beta: float = 1.0, gamma: float = 1.0
) -> Tensor:
    """T^2 times (1 - Pearson correlation) of the softmaxes: within each sample, and within each class over the batch.

    `T^2 * (beta * (1 - mean over rows) + gamma * (1 - mean over columns))`. The columns see this process's batch only,
    and need three samples or more to say anything (two always correlate fully, one not at all); the rows need three classes.

    Args:
        student: [N, K] logits.
        teacher: [N, K] logits; no gradient reaches them.
        temperature: T > 0 of both softmaxes.
        beta: weight of the relation between classes, within a sample (inter-class).
        gamma: weight of the relation between samples, within a class (intra-class).

    Raises:
        InputError: shapes that differ, or a temperature that is not positive.

    **Source:** Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022, arXiv
        2205.10536, equations 8 to 10, T^2 as in the authors' code.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 2.0, 3.0]]).log(), torch.tensor([[3.0, 2.0, 1.0]]).log()
        >>> round(dist(student, teacher, gamma=0.0).item(), 4)      # the classes correlate by -1
        2.0
    """
    student, teacher = logit_pair(student, teacher, loss="dist")
    if not temperature > 0:
        raise InputError(f"dist: temperature must be positive, not {temperature}")
    teacher = teacher.detach()
    if temperature != 1:
        student, teacher = student / temperature, teacher / temperature
    ours, theirs = student.softmax(1), teacher.softmax(1)
    inter = 1 - _correlation(ours, theirs, 1).mean()
    intra = 1 - _correlation(ours, theirs, 0).mean()
    return (beta * inter + gamma * intra) * temperature**2


def _correlation(ours: Tensor, theirs: Tensor, axis: int) -> Tensor:
    """Pearson correlation along `axis`; about 0 where either side is constant."""
    # both are centred, though the product needs one alone: what rounding leaves of a constant side is then small in both
    ours, theirs = (side - side.mean(axis, keepdim=True) for side in (ours, theirs))
    norms = vector_norm(ours, dim=axis) * vector_norm(theirs, dim=axis)
    return (ours * theirs).sum(axis) / (norms + EPSILON)
