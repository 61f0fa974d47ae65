"""On-the-fly native ensemble: what a branch takes from the gated mean of all branches. Branches and gate are sources."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.checks import logit_pair
from limbeck.losses.divergence import forward_kl

__all__ = ["one"]


def one(
    student: Tensor, teacher: Tensor, *, progress: Tensor, temperature: float = 3.0, ramp: float = 80 / 300
) -> Tensor:
    """T^2 KL(ensemble || branch), mean over the batch, times exp(-5 (1 - x)^2) with x = min(progress / ramp, 1).

    Args:
        student: [N, K] logits of one branch.
        teacher: [N, K] logits of the ensemble; no gradient reaches them.
        progress: share of training done, 0-d.
        temperature: T > 0 of both softmaxes.
        ramp: share of training over which the factor rises from exp(-5) to 1; 0 = it is 1 throughout. The authors'
            is 80 of 300 epochs.

    Raises:
        InputError: shapes that differ, a temperature that is not positive, or a ramp outside [0, 1].

    **Source:** Lan, Zhu, Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018, arXiv 1806.04606,
        equations 5 to 7; the ramp is the authors' code's.
    **Differs:** the ramp rises with each step, there with each epoch; that code adds 1e-7 to the ensemble's
        probabilities, against a logarithm of 0 which does not arise here.

    Example:
        >>> import torch
        >>> even, sure = torch.zeros(1, 2), torch.tensor([[0.0, 3.0]]).log1p()      # sure: 1/5 and 4/5
        >>> round(one(even, sure, progress=torch.tensor(1.0), temperature=1.0).item(), 4)
        0.1927
    """
    student, teacher = logit_pair(student, teacher, loss="one")
    if not temperature > 0 or not 0 <= ramp <= 1:
        raise InputError(f"one: needs temperature > 0 and ramp in [0, 1], not {temperature} and {ramp}")
    factor = torch.exp(-5 * (1 - (progress.to(student.dtype) / ramp).clamp(max=1)) ** 2) if ramp else 1.0
    return forward_kl(student, teacher, temperature).mean() * temperature**2 * factor
