"""Progressive self-distillation: labels softened by what the network itself said of a sample before. Who remembers that
is a source's business.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logit_pair

__all__ = ["ps_kd"]

ROUNDING = 1e-4  # of an epoch: `progress` is a float32 and may fall short of the epoch that it begins


def ps_kd(
    student: Tensor,
    teacher: Tensor,
    *,
    target: Tensor,
    progress: Tensor,
    alpha: float = 0.8,
    epochs: int | None = None,
) -> Tensor:
    """Cross-entropy to (1 - a) label + a softmax(teacher), mean over the batch; `a` rises to `alpha` over training.

    It holds the supervised loss already: beside it a graph needs no `task` term.

    Args:
        student: [N, K] logits.
        teacher: [N, K] logits that the student gave when it saw each sample last; no gradient reaches them.
        target: [N] class indices, or [N, K] label rows.
        progress: share of training done, 0-d.
        alpha: weight of what was said before at the end of training, in [0, 1].
        epochs: of the whole training: in epoch e = 0, 1 ... the weight is `alpha` (e + 1) / epochs, as the authors'
            is; none = `alpha` times `progress`, which rises with each step.

    Raises:
        InputError: shapes that differ, labels out of range, an alpha outside [0, 1], or fewer than one epoch.

    **Source:** Kim, Ji, Yoon, Hwang, "Self-Knowledge Distillation with Progressive Refinement of Targets", ICCV 2021,
        arXiv 2006.12000, equations 4 and 6.

    Example:
        >>> import torch
        >>> even, before = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
        >>> half = torch.tensor(0.5)
        >>> round(ps_kd(even, before, target=torch.tensor([0]), progress=half).item(), 4)      # log 2 at any target
        0.6931
        >>> sure = torch.tensor([[9.0, 1.0]]).log()                 # 0.6 log 10/9 + 0.4 (3/4 log 10/9 + 1/4 log 10)
        >>> round(ps_kd(sure, before, target=torch.tensor([0]), progress=half).item(), 4)
        0.3251
    """
    student, teacher = logit_pair(student, teacher, loss="ps_kd")
    if not 0 <= alpha <= 1:
        raise InputError(f"ps_kd: alpha must lie in [0, 1], not {alpha}")
    if epochs is not None and epochs < 1:
        raise InputError(f"ps_kd: epochs must be 1 or more, not {epochs}")
    labels = class_indices(target, student, loss="ps_kd")
    progress = progress.to(student.dtype)
    share = progress if epochs is None else ((progress * epochs + ROUNDING).floor() + 1).clamp(max=epochs) / epochs
    log_student = functional.log_softmax(student, 1)
    if target.is_floating_point():
        of_label = (target * log_student).sum(1)
    else:
        of_label = log_student.gather(1, labels.unsqueeze(1)).squeeze(1)
    of_before = (teacher.detach().softmax(1) * log_student).sum(1)
    return -of_label.lerp(of_before, alpha * share).mean()
