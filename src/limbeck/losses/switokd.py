"""Switchable online distillation: when a larger network waits for the compact one that learns from it. Pausing a
network's training is a graph's business.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logit_pair
from limbeck.losses.divergence import forward_kl

__all__ = ["distances", "switokd", "threshold", "waits"]


def switokd(student: Tensor, teacher: Tensor, *, target: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(compact || larger) times T^2, mean over the batch, or 0 where the larger network is to wait (`waits`).

    What a larger network learns from each of several compact ones; with a single one it rests altogether instead.

    Args:
        student: [N, K] logits of the larger network, which learns by this call.
        teacher: [N, K] logits of the compact one; no gradient reaches them.
        target: [N] class indices, or [N, K] label rows.
        temperature: T > 0 of both softmaxes; the distances are those at 1.

    Raises:
        InputError: shapes that differ, labels out of range, or a temperature that is not positive.

    **Source:** Qian, Wang, Yin, Hong, Wang, "Switchable Online Knowledge Distillation", ECCV 2022, arXiv 2209.04996,
        section 3; the switched terms as in the authors' code for one teacher of two students.
    **Differs:** that code takes both thresholds' discounts from one of the two pairs; here each pair has its own.

    Example:
        >>> import torch
        >>> one, other = torch.tensor([[6.0, 4.0, 1.0]]).log(), torch.tensor([[5.0, 1.0, 5.0]]).log()
        >>> switokd(one, other, target=torch.tensor([0])).item()         # nearer to the label, far from the other
        0.0
        >>> round(switokd(other, one, target=torch.tensor([0])).item(), 4)
        0.4572
    """
    student, teacher = logit_pair(student, teacher, loss="switokd")
    if not temperature > 0:
        raise InputError(f"switokd: temperature must be positive, not {temperature}")
    learns = ~waits(distances(teacher, student, target=target))
    return forward_kl(student, teacher, temperature).mean() * temperature**2 * learns


@torch.no_grad()
def distances(compact: Tensor, larger: Tensor, *, target: Tensor) -> Tensor:
    """[3] mean over the batch of the L1 distances: compact network to label, larger one to label, one to the other.

    Args:
        compact: [N, K] logits.
        larger: [N, K] logits.
        target: [N] class indices, or [N, K] label rows.

    Raises:
        InputError: shapes that differ, or labels out of range.
    """
    compact, larger = logit_pair(compact, larger, loss="switokd", names=("compact", "larger"))
    labels = class_indices(target, compact, loss="switokd")
    ours, theirs = compact.softmax(1), larger.softmax(1)

    def to_label(probabilities: Tensor) -> Tensor:
        if target.is_floating_point():
            return (probabilities - target).abs().sum(1).mean()
        return 2 * (1 - probabilities.gather(1, labels.unsqueeze(1))).mean()

    return torch.stack([to_label(ours), to_label(theirs), (ours - theirs).abs().sum(1).mean()])


def threshold(figures: Tensor) -> Tensor:
    """The gap above which the larger network is too far ahead: s - t exp(-t / (s + t)), 0-d.

    Args:
        figures: [3] what `distances` gives: s of the compact, t of the larger network to the labels, and their gap.
    """
    compact, larger, _ = figures.unbind()
    total = (compact + larger).clamp(min=torch.finfo(figures.dtype).tiny)  # both may be right beyond doubt
    return compact - torch.exp(-larger / total) * larger


def waits(figures: Tensor) -> Tensor:
    """Whether the larger network is to wait, 0-d bool: it is nearer to the labels, and too far from the compact one.

    Args:
        figures: [3] what `distances` gives.
    """
    compact, larger, gap = figures.unbind()
    return (gap > threshold(figures)) & (larger < compact)
