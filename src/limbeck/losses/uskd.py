"""Universal self-knowledge distillation: labels a network makes for itself. Where the exit sits is the method's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logit_pair
from limbeck.losses.divergence import non_target_log_sum
from limbeck.losses.ranking import descending_order

__all__ = ["uskd"]


def uskd(
    student: Tensor,
    weak: Tensor,
    *,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 0.1,
    mu: float = 0.005,
    exponent: float = 2.0,
    smoothing: float = 0.1,
) -> Tensor:
    """Cross-entropy to self-made labels of target and other classes, plus the exit's own training, mean over the batch.

    `alpha * -P log S_t + beta * -sum over others of Z log S^ + mu * CE(weak, smoothed labels)`, where `P = S_t^2 + V -
    mean over the batch of S_t^2` (V the label's value) averages to 1 for hard labels, Z is Zipf's law over the ranks of
    the classes by student and exit together, and S^ is the softmax without the target. P and Z are constants. The batch
    is this process's own.

    Args:
        student: [N, K] logits, K >= 3.
        weak: [N, K] logits of an exit at a middle stage; it learns by the last term only.
        target: [N] class indices, or [N, K] rows of mixup or cutmix with one or two entries, not smoothed. With rows,
            the two largest entries are the targets and both leave the other classes (of a row with one entry, too, as
            in the authors' code).
        alpha: weight of the target's part.
        beta: weight of the other classes' part.
        mu: weight of the exit's own cross-entropy.
        exponent: of S_t in P; 1 gives the P of the authors' earlier tf-NKD.
        smoothing: of the labels that the exit learns.

    Raises:
        InputError: K < 3, shapes that differ, labels or smoothing out of range, or label rows with more than two entries.

    **Source:** Yang et al., ICCV 2023, arXiv 2303.13005, section 3.3, as released in March 2023.
    **Differs:** from the authors' code since July 2023, which ranks by the student's log-probabilities by accident.

    Example:
        >>> import torch
        >>> even = torch.zeros(1, 3)     # log 3, 0.1 log 2, 0.005 log 3
        >>> round(uskd(even, even, target=torch.tensor([0])).item(), 4)
        1.1734
    """
    student, weak = logit_pair(student, weak, loss="uskd", names=("student", "weak"), min_classes=3)
    if not 0 <= smoothing < 1:
        raise InputError(f"uskd: smoothing must lie in [0, 1), not {smoothing}")
    labels, values = _labels(target, student)
    _, log_sum = non_target_log_sum(student, labels)
    target_logits = student.gather(1, labels)
    log_total = torch.logaddexp(target_logits.logsumexp(1), log_sum)
    log_target = target_logits - log_total.unsqueeze(1)

    with torch.no_grad():
        power = log_target.mul(exponent).exp()
        soft_target = torch.where(values > 0, power + values - power.mean(0), 0.0)
        score = _share(student.softmax(1), labels) + _share(weak.softmax(1), labels)
        zipf = _zipf(score, labels)

    target_part = -(soft_target * log_target).sum(1)
    others_part = log_sum - (zipf * student).sum(1)
    own = target.to(weak.dtype) if target.is_floating_point() else labels.squeeze(1)
    return (alpha * target_part + beta * others_part).mean() + mu * functional.cross_entropy(
        weak, own, label_smoothing=smoothing
    )


def _labels(target: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Label classes and their values, [N, J] each: J = 1 for class indices, 2 for mixed rows."""
    first = class_indices(target, like, loss="uskd")
    if not target.is_floating_point():
        return first.unsqueeze(1), like.new_ones(len(like), 1)
    if target.device.type == "cpu" and not torch.compiler.is_compiling() and int((target > 0).sum(1).max()) > 2:
        raise InputError(
            "uskd: a label row has more than two entries; give labels without smoothing (mixup and cutmix leave two)"
        )
    # a stable sort, since rows with one entry lose the lowest of the classes at zero as well
    values, labels = target.to(like.dtype).sort(dim=1, descending=True, stable=True)
    return labels[:, :2], values[:, :2]


def _share(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Each class's share of what the targets leave."""
    left = 1 - probabilities.gather(1, labels).sum(1, keepdim=True)
    return probabilities / (left + 1e-6)  # 1e-6: the authors' guard


def _zipf(score: Tensor, labels: Tensor) -> Tensor:
    """1 / rank by descending score over all classes, the targets then dropped and the rest made to sum to 1."""
    n, k = score.shape
    law = torch.arange(1, k + 1, device=score.device, dtype=score.dtype).reciprocal_()
    weights = torch.empty_like(score).scatter_(1, descending_order(score), law.expand(n, k)).scatter_(1, labels, 0.0)
    return weights.div_(weights.sum(1, keepdim=True))
