"""Losses of detectors that say something of every anchor: SSD's and the focal one, and which anchor stands for which box.

Not here: the figures of detection, what a detector gives (`models.heads`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou, sigmoid_focal_loss

from limbeck.errors import InputError
from limbeck.models.heads import AnchorOutputs, Boxes, encode_boxes

__all__ = ["assign_anchors", "focal_loss", "match_anchors", "ssd_loss"]


def match_anchors(boxes: Tensor, anchors: Tensor, *, iou_threshold: float = 0.5) -> Tensor:
    """The box that each anchor stands for, [A], -1 = none: the one it overlaps most, from the threshold on; and each box
    has the anchor that overlaps it most in any case.

    Args:
        boxes: [G, 4] as x1, y1, x2, y2; G may be 0.
        anchors: [A, 4] in the same unit.
        iou_threshold: intersection over union.

    Raises:
        InputError: other shapes, a box of zero or negative area or not finite, or a threshold outside (0, 1].

    **Source:** Liu et al. 2016, arXiv 1512.02325, section 2.2. Where two boxes want one anchor, the later has it.

    Example:
        >>> anchors = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
        >>> match_anchors(torch.tensor([[0.5, 0.5, 0.6, 0.6]]), anchors)
        tensor([-1,  0, -1])
    """
    if boxes.dim() != 2 or boxes.shape[-1] != 4 or anchors.dim() != 2 or anchors.shape[-1] != 4:
        raise InputError(
            f"match_anchors: expected boxes [G, 4] and anchors [A, 4], got {list(boxes.shape)} and {list(anchors.shape)}"
        )
    if not 0 < iou_threshold <= 1:
        raise InputError(f"match_anchors: iou_threshold must lie in (0, 1], not {iou_threshold}")
    if not len(boxes):
        return torch.full((len(anchors),), -1, device=anchors.device)
    if not bool(torch.isfinite(boxes).all() & (boxes[:, 2:] > boxes[:, :2]).all()):
        raise InputError("match_anchors: boxes must be finite x1, y1, x2, y2 with x1 < x2 and y1 < y2")
    overlap = box_iou(boxes, anchors)
    best, found = overlap.max(0)
    found[best < iou_threshold] = -1
    for number, place in enumerate(overlap.argmax(1).tolist()):  # in turn: on a GPU one scatter would race
        found[place] = number
    return found


def assign_anchors(
    truth: Sequence[Boxes], anchors: Tensor, num_classes: int, *, iou_threshold: float = 0.5
) -> tuple[Tensor, Tensor]:
    """What each anchor of a batch should say.

    Args:
        truth: of each picture, in the anchors' unit.
        anchors: [A, 4].
        num_classes: K, without the background.
        iou_threshold: as in `match_anchors`.

    Returns:
        [N, A] classes, 0 = background and k + 1 = class k; [N, A, 4] offsets, 0 at the background.

    Raises:
        InputError: a label outside 0 .. K - 1, not one per box, or what `match_anchors` refuses.
    """
    classes = torch.zeros(len(truth), len(anchors), dtype=torch.long, device=anchors.device)
    offsets = torch.zeros(len(truth), len(anchors), 4, dtype=anchors.dtype, device=anchors.device)
    for number, (boxes, labels, _) in enumerate(truth):
        boxes, labels = boxes.to(anchors), labels.to(anchors.device).long()
        if labels.shape != boxes.shape[:1]:
            raise InputError(f"boxes {list(boxes.shape)} do not fit labels {list(labels.shape)} of picture {number}")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise InputError(f"a label of picture {number} lies outside 0 .. {num_classes - 1}")
        found = match_anchors(boxes, anchors, iou_threshold=iou_threshold)
        taken = found >= 0
        classes[number, taken] = labels[found[taken]] + 1
        offsets[number, taken] = encode_boxes(boxes[found[taken]], anchors[taken])
    return classes, offsets


def _prepare(out: AnchorOutputs, truth: Sequence[Boxes], iou_threshold: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits in float32 or better, classes [N, A], the sum of the boxes' losses, how many anchors stand for one."""
    logits, deltas, anchors = (part if part.dtype == torch.float64 else part.float() for part in out)
    if len(truth) != len(logits):
        raise InputError(f"detection: annotations of {len(truth)} pictures for outputs of {len(logits)}")
    classes, offsets = assign_anchors(truth, anchors, logits.shape[-1] - 1, iou_threshold=iou_threshold)
    taken = classes > 0
    box_loss = functional.smooth_l1_loss(deltas[taken], offsets[taken].to(deltas.dtype), reduction="sum")
    return logits, classes, box_loss, taken.sum().clamp(min=1)


def ssd_loss(
    out: AnchorOutputs,
    truth: Sequence[Boxes],
    *,
    negatives: float = 3.0,
    box_weight: float = 1.0,
    iou_threshold: float = 0.5,
) -> Tensor:
    """Cross-entropy of the anchors that stand for a box and of the worst others, plus smooth L1 of the offsets; summed,
    over the number of the former in the batch.

    Args:
        out: of a batch; softmax scores.
        truth: of each picture, shares of the picture; a picture may have no box, and then teaches nothing.
        negatives: how many of the others for one that stands for a box, picture by picture, the largest losses first.
        box_weight: of the offsets' part.
        iou_threshold: as in `match_anchors`.

    Raises:
        InputError: not one annotation per picture, or boxes or labels that `assign_anchors` refuses.

    **Source:** Liu et al. 2016, arXiv 1512.02325, equations 1 to 3, and "Hard negative mining" in section 2.2; a batch
    without any box gives 0.
    """
    logits, classes, box_loss, count = _prepare(out, truth, iou_threshold)
    losses = functional.cross_entropy(logits.transpose(1, 2), classes, reduction="none")
    taken = classes > 0
    ranks = losses.detach().masked_fill(taken, -torch.inf).argsort(dim=1, descending=True, stable=True).argsort(1)
    hard = (ranks < negatives * taken.sum(1, keepdim=True)) & ~taken
    return (losses[taken | hard].sum() + box_weight * box_loss) / count


def focal_loss(
    out: AnchorOutputs,
    truth: Sequence[Boxes],
    *,
    alpha: float = 0.75,
    gamma: float = 2.0,
    box_weight: float = 1.0,
    iou_threshold: float = 0.5,
) -> Tensor:
    """Focal loss of every class at every anchor, plus smooth L1 of the offsets, their mean of four; summed, over the number of
    anchors that stand for a box in the batch.

    The background's column is held to 0 at every anchor, which its first bias nearly says: it carries no information, and
    stands there for published weights and counts.

    Args:
        out: of a batch; sigmoid scores.
        truth: of each picture, shares of the picture; a picture may have no box.
        alpha: weight of what is there, in [0, 1]; 1 - alpha of what is not.
        gamma: power of what the class still lacks, at least 0.
        box_weight: of the offsets' part.
        iou_threshold: as in `match_anchors`.

    Raises:
        InputError: as `ssd_loss`, or alpha or gamma out of range.

    **Source:** Lin et al. 2017, arXiv 1708.02002, equation 5; settings of MobileNetV3's detectors (arXiv 1905.02244, the
    published code: `encode_background_as_zeros`, `normalize_loc_loss_by_codesize`).
    """
    if not 0 <= alpha <= 1 or not gamma >= 0:
        raise InputError(f"focal_loss: alpha must lie in [0, 1] and gamma be at least 0, got {alpha} and {gamma}")
    logits, classes, box_loss, count = _prepare(out, truth, iou_threshold)
    wanted = functional.one_hot(classes, logits.shape[-1]).to(logits.dtype)
    wanted[..., 0] = 0
    return (sigmoid_focal_loss(logits, wanted, alpha, gamma, reduction="sum") + box_weight * box_loss / 4) / count
