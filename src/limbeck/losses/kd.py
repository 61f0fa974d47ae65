"""Knowledge distillation as Hinton defined it. Weights of terms belong to the method, not here."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.checks import logit_pair
from limbeck.losses.divergence import forward_kl

__all__ = ["kd"]


def kd(student: Tensor, teacher: Tensor, *, temperature: float | Tensor = 4.0) -> Tensor:
    """T^2 times KL(teacher || student) of the softened softmaxes, mean over the batch.

    Args:
        student: [N, K] logits.
        teacher: [N, K] logits; no gradient reaches them.
        temperature: T > 0; a 0-d tensor may be trained.

    Raises:
        InputError: shapes that differ, or a temperature that is not positive.

    **Source:** Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531, section
        2.
    **Differs:** the divergence is taken instead of the cross-entropy: same gradient, and zero at a perfect match.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 3.0]]).log1p()   # teacher: 1/5 and 4/5
        >>> round(kd(student, teacher, temperature=1.0).item(), 4)     # log 2 + 0.2 log 0.2 + 0.8 log 0.8
        0.1927
    """
    student, teacher = logit_pair(student, teacher, loss="kd")
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise InputError(f"kd: temperature must be positive, not {temperature}")
    return forward_kl(student, teacher, temperature).mean() * temperature**2
