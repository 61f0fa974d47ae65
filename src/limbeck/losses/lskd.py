"""Logit standardisation: a transform that composes with any loss on logits, and plain distillation through it."""

from __future__ import annotations

from torch import Tensor

from limbeck.losses.checks import logit_pair
from limbeck.losses.checks import logits as checked_logits
from limbeck.losses.kd import kd

__all__ = ["lskd", "standardise"]

EPSILON = 1e-7  # the authors' guard, added to the standard deviation


def standardise(logits: Tensor) -> Tensor:
    """Each sample's logits less their mean, over their standard deviation (that of K - 1 degrees of freedom).

    Apply it to student and teacher, then take `kd` (that is `lskd`) or `dkd` at a temperature of about 2.

    Args:
        logits: [N, K], K >= 2; half precision is brought to float32. Rows without any spread become 0.

    Raises:
        InputError: other shapes or types.

    **Source:** Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv
        2403.01427, section 4.

    Example:
        >>> import torch
        >>> from limbeck.losses import kd
        >>> standardise(torch.tensor([[1.0, 2.0, 3.0]])).round(decimals=4)
        tensor([[-1.,  0.,  1.]])
        >>> student, teacher = torch.tensor([[0.0, 1.0, 5.0]]), torch.tensor([[3.0, 5.0, 13.0]])     # 2 z + 3
        >>> round(kd(standardise(student), standardise(teacher), temperature=2.0).item(), 4)
        0.0
    """
    values = checked_logits(logits, loss="standardise", name="logits")
    centred = values - values.mean(1, keepdim=True)
    # sqrt has no slope at 0: a row without spread is given a spread of 1, and keeps its gradient finite
    variance = centred.square().sum(1, keepdim=True) / (values.shape[1] - 1)
    return centred / (variance.where(variance > 0, 1.0).sqrt() + EPSILON)


def lskd(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Plain distillation, `kd`, of standardised logits: only their relations count, not their range.

    Args:
        student: [N, K] logits, K >= 3: of two, standardised ones are the same whatever they were.
        teacher: [N, K] logits; no gradient reaches them.
        temperature: T > 0 of both softmaxes, in units of a row's standard deviation; the value is multiplied by T^2.

    Raises:
        InputError: shapes that differ, fewer than three classes, or a temperature that is not positive.

    **Source:** Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", CVPR 2024, arXiv
        2403.01427, algorithm 1.

    Example:
        >>> import torch
        >>> student = torch.tensor([[0.0, 1.0, 5.0]])
        >>> round(lskd(student, 2 * student + 3).item(), 4)
        0.0
    """
    student, teacher = logit_pair(student, teacher, loss="lskd", min_classes=3)
    return kd(standardise(student), standardise(teacher.detach()), temperature=temperature)
