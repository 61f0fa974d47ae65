"""Deep mutual learning: what one of two networks that train together takes from the other. One call per network."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.checks import logit_pair
from limbeck.losses.divergence import forward_kl

__all__ = ["dml"]


def dml(student: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL(peer || network), mean over the batch, the peer held constant.

    Args:
        student: [N, K] logits of the network that learns by this call.
        teacher: [N, K] logits of its peer; no gradient reaches them, so each network's term is a call of its own.
        temperature: T > 0 of both softmaxes; the value is multiplied by T^2, which keeps the gradient's scale.

    Raises:
        InputError: shapes that differ, or a temperature that is not positive.

    **Source:** Zhang, Xiang, Hospedales, Lu, "Deep Mutual Learning", CVPR 2018, arXiv 1706.00384, equation 6 (T = 1).
    **Differs:** with more than two networks the authors' code sums the terms over the peers, as a graph of terms does;
        the paper divides by their number.

    Example:
        >>> import torch
        >>> even, peer = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 3.0]]).log1p()     # peer: 1/5 and 4/5
        >>> round(dml(even, peer).item(), 4)
        0.1927
    """
    student, teacher = logit_pair(student, teacher, loss="dml")
    if not temperature > 0:
        raise InputError(f"dml: temperature must be positive, not {temperature}")
    return forward_kl(student, teacher, temperature).mean() * temperature**2
