"""Collaborative learning: every network learns from one teacher that is made of all of them. How they see the samples
is a graph's business.
"""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError, unknown_name
from limbeck.losses.checks import class_indices, logit_pair
from limbeck.losses.divergence import forward_kl

__all__ = ["joint_logits", "kdcl"]

RULES = ("mean", "naive", "linear", "minlogit")
NEWTON_STEPS = 12
SWEEPS = 6  # over the pairs of networks, where there are more than two


def kdcl(
    student: Tensor,
    teacher: Tensor,
    *others: Tensor,
    target: Tensor,
    temperature: float = 4.0,
    rule: Literal["mean", "naive", "linear", "minlogit"] = "mean",
) -> Tensor:
    """T^2 times KL(joint teacher || network), mean over the batch; the joint teacher is made of all networks' logits.

    Args:
        student: [N, K] logits of the network that learns by this call.
        teacher: [N, K] logits of its peer.
        others: [N, K] logits of further peers; no gradient reaches any of them.
        target: [N] class indices, or [N, K] label rows.
        temperature: T > 0 of both softmaxes.
        rule: how the joint teacher is made (`joint_logits`).

    Raises:
        InputError: shapes that differ, labels out of range, an unknown rule, or a temperature that is not positive.

    **Source:** Guo, Wang, Wu, Yu, Liang, Hu, Luo, "Online Knowledge Distillation via Collaborative Learning", CVPR 2020,
        section 3.2. `mean` with T = 4 is that of common re-implementations.
    **Differs:** the rule `general`, which weighs the networks by their errors on held-out samples, is not there.

    Example:
        >>> import torch
        >>> even, peer = torch.zeros(1, 2), torch.tensor([[2.0, 0.0]])
        >>> target = torch.tensor([0])
        >>> round(kdcl(even, peer, target=target, temperature=1.0).item(), 4)       # to the logits [1, 0]
        0.1109
        >>> kdcl(even, peer, target=target, temperature=1.0, rule="minlogit").item() > 0.3     # to the peer's
        True
    """
    student, teacher = logit_pair(student, teacher, loss="kdcl")
    if not temperature > 0:
        raise InputError(f"kdcl: temperature must be positive, not {temperature}")
    others = tuple(logit_pair(student, one, loss="kdcl")[1] for one in others)
    joint = joint_logits(torch.stack([student, teacher, *others]), target=target, rule=rule)
    return forward_kl(student, joint, temperature).mean() * temperature**2


@torch.no_grad()
def joint_logits(logits: Tensor, *, target: Tensor, rule: str = "mean") -> Tensor:
    """[N, K] logits of the teacher that several networks are together.

    `mean`: of their logits. `naive`: those of the network with the smallest cross-entropy on this batch. `linear`:
    the convex combination with the smallest. `minlogit`: per sample and class the smallest logit above that of the
    label, whose cross-entropy is no larger than anyone's.

    Args:
        logits: [M, N, K] of M networks.
        target: [N] class indices, or [N, K] label rows (`minlogit` takes their largest entry).
        rule: one of these.

    Raises:
        InputError: an unknown rule, or labels out of range.
    """
    labels = class_indices(target, logits[0], loss="kdcl")
    if rule == "mean":
        return logits.mean(0)
    if rule == "minlogit":
        own = labels.expand(len(logits), -1).unsqueeze(2)
        return (logits - logits.gather(2, own)).amin(0)
    own = target.to(logits.dtype) if target.is_floating_point() else labels
    if rule == "naive":
        best = torch.stack([functional.cross_entropy(one, own) for one in logits]).argmin()
        return logits.index_select(0, best.unsqueeze(0)).squeeze(0)
    if rule == "linear":
        return _combined(_best_shares(logits, own), logits)
    raise unknown_name("rule", rule, RULES, where="kdcl")


def _best_shares(logits: Tensor, own: Tensor) -> Tensor:
    """[M] shares >= 0 that sum to 1, whose combination of the logits has the smallest cross-entropy.

    The problem is convex. Share is moved between two networks at a time; each move is exact.
    """
    count = len(logits)
    shares = torch.full((count,), 1 / count, dtype=logits.dtype, device=logits.device)
    for _ in range(1 if count == 2 else SWEEPS):
        for i, j in combinations(range(count), 2):
            step = _best_step(_combined(shares, logits), logits[i] - logits[j], own, -shares[i], shares[j].clone())
            shares[i] += step
            shares[j] -= step
    return shares


def _combined(shares: Tensor, logits: Tensor) -> Tensor:
    return (shares.view(-1, 1, 1) * logits).sum(0)  # no product of matrices, which autocast would lower


def _best_step(start: Tensor, direction: Tensor, own: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """0-d x in [least, most] where start + x * direction has the smallest cross-entropy: an end, or by Newton's steps
    within a bracket.
    """
    if own.is_floating_point():
        towards = (own * direction).sum(1)
    else:
        towards = direction.gather(1, own.unsqueeze(1)).squeeze(1)

    def slope_and_curve(x: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = (start + x * direction).softmax(1)
        mean = (probabilities * direction).sum(1)
        spread = (probabilities * (direction - mean.unsqueeze(1)).square()).sum(1)
        return (mean - towards).mean(), spread.mean()

    x, low, high = torch.zeros_like(least), least, most
    for _ in range(NEWTON_STEPS):
        slope, curve = slope_and_curve(x)
        low, high = torch.where(slope < 0, x, low), torch.where(slope > 0, x, high)
        newton = x - slope / curve.clamp(min=torch.finfo(x.dtype).tiny)
        x = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    x = torch.where(slope_and_curve(least)[0] >= 0, least, x)
    return torch.where(slope_and_curve(most)[0] <= 0, most, x)
