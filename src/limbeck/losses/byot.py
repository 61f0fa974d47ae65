"""The feature term of "Be your own teacher": a branch's features drawn to the deepest ones. Its logit terms are `kd`."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.checks import feature_pair

__all__ = ["byot"]


def byot(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of the features, summed over each sample, mean over the batch.

    Args:
        student: [N, ...] features of a branch.
        teacher: the deepest features, of the same shape; no gradient reaches them.

    Raises:
        InputError: no features, or shapes that differ.

    **Source:** Zhang, Song, Gao, Chen, Bao, Ma, "Be Your Own Teacher", ICCV 2019, arXiv 1905.08094, equation 5.
    **Differs:** common re-implementations sum over the batch too: their weight is to be multiplied by its size.

    Example:
        >>> import torch
        >>> byot(torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])).item()     # (5 + 1) / 2
        3.0
    """
    student, teacher = feature_pair(student, teacher, loss="byot")
    if student.shape != teacher.shape:
        raise InputError(f"byot: student is {list(student.shape)} but teacher is {list(teacher.shape)}")
    return (student - teacher.detach()).square().flatten(1).sum(1).mean()
