"""Zipf's label smoothing: other classes ranked by a network's own votes. Who counts as a voter is the method's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, in_float32, logits
from limbeck.losses.divergence import non_target_log_sum

__all__ = ["zipf_ls"]


def zipf_ls(
    student: Tensor,
    dense: Tensor,
    *more: Tensor,
    target: Tensor,
    upsample: int = 1,
    only_correct: bool = False,
) -> Tensor:
    """KL(Z || S^), mean over the batch: Z is Zipf's law over the votes for the other classes, S^ the student's softmax
    without the target.

    Every position of the dense logits votes for its largest class. A class's rank is 1 + the number of classes, the
    target included, with more votes, so that equals share the better rank; Z is 1 / rank without the target, made to
    sum to 1. The votes are constants: no gradient passes through them.

    Args:
        student: [N, K] logits, K >= 3.
        dense: [N, K, ...] logits at every position of a feature map, as the stage `dense` of a learner gives them; of
            [N, K], a single position, the logits themselves are ranked.
        more: further dense logits, of deeper layers, whose votes are added.
        target: [N] class indices; of [N, K] mixed labels the largest entry counts.
        upsample: factor of a bilinear enlargement of [N, K, H, W] dense logits before they vote, for small maps.
        only_correct: whether only samples whose largest logit is the target count, the mean being over these.

    Raises:
        InputError: K < 3, shapes that differ, labels out of range, or a factor that has nothing to enlarge.

    **Source:** Liang, Li, Zhang, Lin, Zhou, Yang, "Efficient One Pass Self-distillation with Zipf's Label Smoothing",
        ECCV 2022, arXiv 2207.12980, equations 3 and 4; ranks as released.

    Example:
        >>> import torch
        >>> votes = torch.eye(3)[torch.tensor([[1, 1, 2, 0]])].mT       # [1, 3, 4]: two for class 1
        >>> round(zipf_ls(torch.zeros(1, 3), votes, target=torch.tensor([0])).item(), 4)    # Z: 2/3 and 1/3, S^: 1/2
        0.0566
    """
    student = logits(student, loss="zipf_ls", min_classes=3)
    label = class_indices(target, student, loss="zipf_ls").unsqueeze(1)
    with torch.no_grad():
        score = _score(dense, student, upsample)
        for voters in more:
            score = score + _score(voters, student, upsample)
        ascending = score.sort(1).values
        rank = score.shape[1] + 1 - torch.searchsorted(ascending, score.contiguous(), right=True)
        zipf = rank.to(student.dtype).reciprocal().scatter(1, label, 0.0)
        zipf = zipf / zipf.sum(1, keepdim=True)
        entropy = -torch.xlogy(zipf, zipf).sum(1)
    _, log_sum = non_target_log_sum(student, label)
    # Z is exactly 0 at the target, so that its logit, left in place here, neither counts nor gets a gradient
    divergence = log_sum - (zipf * student).sum(1) - entropy
    if only_correct:
        correct = student.argmax(1) == label.squeeze(1)
        return (divergence * correct).sum() / correct.sum().clamp(min=1)
    return divergence.mean()


def _score(dense: Tensor, like: Tensor, upsample: int) -> Tensor:
    """Votes for each class, [N, K]; the logits themselves where there is one position only."""
    n, k = like.shape
    if dense.dim() < 2 or dense.shape[:2] != (n, k) or not dense.is_floating_point():
        raise InputError(f"zipf_ls: dense must be [N, K, ...] logits with N, K = {n}, {k}, not {list(dense.shape)}")
    if upsample < 1 or (upsample > 1 and dense.dim() != 4):
        raise InputError(f"zipf_ls: upsample = {upsample} needs to be 1, or more with dense logits [N, K, H, W]")
    dense = in_float32(dense.detach())
    if dense.dim() == 2:
        return dense
    if upsample > 1:
        dense = functional.interpolate(dense, scale_factor=upsample, mode="bilinear")
    choice = dense.flatten(2).argmax(1)
    return torch.zeros_like(like).scatter_add_(1, choice, torch.ones_like(choice, dtype=like.dtype))
