"""The softmax arithmetic that several losses share: per sample, stable at any logits. No loss by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["forward_kl", "non_target_log_sum", "softmax_and_log_sum"]


def softmax_and_log_sum(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax [N, K] and log-sum-exp [N] of constant logits, from one exponential per entry.

    The largest probability is exp(largest logit - log-sum-exp), and lies in [1/K, 1]: its logarithm is safe and exact.
    """
    probabilities = logits.softmax(1)
    return probabilities, logits.amax(1) - probabilities.amax(1).log()


def forward_kl(student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """KL(teacher || student) per sample, [N], of the softmaxes at `temperature`; no gradient reaches the teacher.

    Only the student's log-probabilities and the teacher's probabilities are kept for backward.
    """
    soft_teacher = teacher.detach() / temperature
    probabilities, log_sum = softmax_and_log_sum(soft_teacher)
    log_student = functional.log_softmax(student / temperature, 1)
    return (probabilities * (soft_teacher - log_student)).sum(1) - log_sum


def non_target_log_sum(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, K] with the classes `target` [N, J] at minus infinity, and the log-sum-exp [N] of the others."""
    others = logits.scatter(1, target, -torch.inf)
    return others, others.logsumexp(1)
