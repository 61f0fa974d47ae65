"""Balanced-divergence distillation: both divergences, weighed per sample by who is surer. The student's side only: the
other network's is `dml`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError, unknown_name
from limbeck.losses.checks import logit_pair

__all__ = ["bdkd"]

WEIGHTINGS = ("switch", "soft", "none")


def bdkd(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 1.0,
    high: float = 2.0,
    low: float = 1.0,
    weighting: Literal["switch", "soft", "none"] = "switch",
    sharpness: float = 1.0,
    entropy_temperature: float | None = None,
    scaled: bool = True,
    ceiling: float | None = None,
) -> Tensor:
    """Weighted sum of KL(teacher || student) and KL(student || teacher) per sample, mean over the batch.

    Where the student is less sure than its teacher (larger entropy), the reverse divergence counts more and sharpens
    it; elsewhere the forward one does and spreads it. The weights are constants: no gradient passes through them.

    Args:
        student: [N, K] logits.
        teacher: [N, K] logits; no gradient reaches them.
        temperature: T > 0 of both softmaxes.
        high: weight of the divergence that the entropies favour (`switch`).
        low: weight of the other one (`switch`); 0 leaves a pure choice.
        weighting: `switch` = high and low; `soft` = 2 sigmoid(sharpness * entropy gap) for the reverse divergence and 2
            less that for the forward one; `none` = 1 and 1 (Jeffreys).
        sharpness: of the soft weights, per nat.
        entropy_temperature: of the softmaxes whose entropies are compared; none = `temperature`.
        scaled: whether the value is multiplied by T^2, which keeps the gradient's scale.
        ceiling: bound on each sample's divergences, above which they give no gradient; none = unbounded.

    Raises:
        InputError: shapes that differ, an unknown weighting, or a temperature or ceiling that is not positive.

    **Source:** Amara, Sepahvand, Meyer, Gross, Clark, "BD-KD: Balancing the Divergences for Online Knowledge
        Distillation", 2022, arXiv 2212.12965. A reconstruction from the abstract: there is no public code.
    **Differs:** unknown, and therefore arguments: the weights and whether they switch, both temperatures, T^2.

    Example:
        >>> import torch
        >>> even, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 3.0]]).log1p()     # sure: 1/5 and 4/5
        >>> round(bdkd(even, sure).item(), 4)      # 1 * KL(sure || even) + 2 * KL(even || sure) = 0.1927 + 2 * 0.2231
        0.639
    """
    student, teacher = logit_pair(student, teacher, loss="bdkd")
    teacher = teacher.detach()
    _check(temperature, entropy_temperature, ceiling, weighting)
    ours, theirs = _log_softmax(student, temperature), _log_softmax(teacher, temperature)
    probabilities, soft_teacher = ours.exp(), theirs.exp()
    gap = ours - theirs
    forward, reverse = -(soft_teacher * gap).sum(1), (probabilities * gap).sum(1)
    if ceiling is not None:
        forward, reverse = forward.clamp(max=ceiling), reverse.clamp(max=ceiling)
    if weighting == "none":
        weighed = forward + reverse
    else:
        with torch.no_grad():
            if entropy_temperature is not None:
                ours, theirs = _log_softmax(student, entropy_temperature), _log_softmax(teacher, entropy_temperature)
                probabilities, soft_teacher = ours.exp(), theirs.exp()
            # entropy of the student less that of the teacher
            less_sure = (soft_teacher * theirs).sum(1) - (probabilities * ours).sum(1)
            if weighting == "switch":
                of_reverse = low + (high - low) * (less_sure > 0).to(forward.dtype)  # `where` would round to float32
                of_forward = high + low - of_reverse
            else:
                of_reverse = 2 * torch.sigmoid(sharpness * less_sure)
                of_forward = 2 - of_reverse
        weighed = of_forward * forward + of_reverse * reverse
    return weighed.mean() * temperature**2 if scaled else weighed.mean()


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return functional.log_softmax(logits if temperature == 1 else logits / temperature, 1)


def _check(temperature: float, entropy_temperature: float | None, ceiling: float | None, weighting: str) -> None:
    positive = {"temperature": temperature, "entropy_temperature": entropy_temperature, "ceiling": ceiling}
    for name, value in positive.items():
        if value is not None and not value > 0:
            raise InputError(f"bdkd: {name} must be positive, not {value}")
    if weighting not in WEIGHTINGS:
        raise unknown_name("weighting", weighting, WEIGHTINGS, where="bdkd")
