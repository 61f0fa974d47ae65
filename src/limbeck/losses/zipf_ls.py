"""Zipf's label smoothing: other classes ranked by a network's own votes. Who counts as a voter is the method's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, in_float32, logits
from limbeck.losses.divergence import non_target_log_sum
from limbeck.losses.ranking import descending_order

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
        dense: [N, K, ...] logits at every position of a feature map, as the address `dense` of a learner gives them; of
            [N, K], a single position, the logits themselves are ranked.
        more: further dense logits, of deeper layers, whose votes are added.
        target: [N] class indices; of [N, K] mixed labels the largest entry counts.
        upsample: factor of a bilinear enlargement of [N, K, H, W] dense logits before they vote, for small maps.
        only_correct: whether only samples whose largest logit is the target count, the mean being over these.

    Raises:
        InputError: K < 3, shapes that differ, labels out of range, or a factor that has nothing to enlarge.

    **Source:** Liang, Li, Bing, Zhao, Tang, Lin, Fan, "Efficient One Pass Self-distillation with Zipf's Label
        Smoothing", ECCV 2022, arXiv 2207.12980, as released.

    Example:
        >>> import torch
        >>> votes = torch.eye(3)[torch.tensor([[1, 1, 2, 0]])].mT       # [1, 3, 4]: two for class 1
        >>> round(zipf_ls(torch.zeros(1, 3), votes, target=torch.tensor([0])).item(), 4)    # Z: 2/3 and 1/3, S^: 1/2
        0.0566
    """
    student = logits(student, loss="zipf_ls", min_classes=3)
    label = class_indices(target, student, loss="zipf_ls").unsqueeze(1)
    with torch.no_grad():
        maps = [_map(voters, student) for voters in (dense, *more)]
        one_position = len(maps) == 1 and maps[0].dim() == 2 and upsample == 1
        rank = _rank_by_value(maps[0]) if one_position else _rank_by_votes(maps, upsample)
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


def _map(dense: Tensor, like: Tensor) -> Tensor:
    """Dense logits, checked and in float32 or better."""
    n, k = like.shape
    if dense.dim() < 2 or dense.shape[:2] != (n, k) or not dense.is_floating_point():
        raise InputError(f"zipf_ls: dense must be [N, K, ...] logits with N, K = {n}, {k}, not {list(dense.shape)}")
    return in_float32(dense.detach())


def _rank_by_votes(maps: list[Tensor], upsample: int) -> Tensor:
    """1 + the number of classes with more votes, [N, K]."""
    if upsample < 1 or (upsample > 1 and any(dense.dim() != 4 for dense in maps)):
        raise InputError(f"zipf_ls: upsample = {upsample} needs to be 1, or more with dense logits [N, K, H, W]")
    if upsample > 1:
        maps = [functional.interpolate(dense, scale_factor=upsample, mode="bilinear") for dense in maps]
    choice = torch.cat([dense.reshape(*dense.shape[:2], -1).argmax(1) for dense in maps], 1)
    n, k = maps[0].shape[:2]
    votes = choice.new_zeros(n, k).scatter_add_(1, choice, torch.ones_like(choice))
    # by how many classes have how many votes: there is nothing to sort
    classes = votes.new_zeros(n, choice.shape[1] + 1).scatter_add_(1, votes, torch.ones_like(votes))
    return (k + 1 - classes.cumsum(1)).gather(1, votes)


def _rank_by_value(score: Tensor) -> Tensor:
    """The place of each class by its own logit, the highest first, [N, K]."""
    order = descending_order(score - score.amin(1, keepdim=True))
    places = torch.arange(1, score.shape[1] + 1, device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)
