"""What a detector says, and the boxes that are chosen from it. Not here: networks (`ssdlite`), losses (`tasks`)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from limbeck.errors import InputError, unknown_name
from limbeck.models.heads.anchors import decode_boxes

__all__ = ["SCORES", "AnchorOutputs", "Boxes", "choose_boxes"]

SCORES = ("sigmoid", "softmax")


class AnchorOutputs(NamedTuple):
    """What a detector says of a batch, anchor by anchor.

    Attributes:
        class_logits: [N, A, K + 1]; the first column is the background.
        box_deltas: [N, A, 4] offsets from the anchors (`anchors.encode_boxes`).
        anchors: [A, 4] as x1, y1, x2, y2, shares of the picture.
    """

    class_logits: Tensor
    box_deltas: Tensor
    anchors: Tensor


class Boxes(NamedTuple):
    """Objects of one picture, the surest first where they were found.

    Attributes:
        boxes: [M, 4] as x1, y1, x2, y2, shares of the picture in [0, 1].
        labels: [M] class indices, 0 .. K - 1.
        scores: [M] in [0, 1]; None where the boxes are annotated.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor | None = None


@torch.no_grad()
def choose_boxes(
    out: AnchorOutputs,
    *,
    scores: str = "sigmoid",
    score_threshold: float = 0.001,
    iou_threshold: float = 0.6,
    candidates: int = 300,
    limit: int = 100,
) -> list[Boxes]:
    """Decode what a detector says and keep, class by class, boxes that no surer box of the class overlaps.

    Args:
        out: of a batch.
        scores: `sigmoid` (each class for itself, as trained by the focal loss) or `softmax` (as by SSD's).
        score_threshold: boxes at or below it are dropped.
        iou_threshold: overlap, intersection over union, above which the less sure box is dropped.
        candidates: of each class before that, the surest.
        limit: of a picture after it, of all classes.

    Raises:
        InputError: an unknown kind of scores, or counts and thresholds out of range.

    **Source:** Liu et al. 2016, arXiv 1512.02325, section 3.1; the overlap and limit of MobileNetV3's detection code.
    """
    if scores not in SCORES:
        raise unknown_name("scores", scores, SCORES)
    if not (0 <= score_threshold <= 1 and 0 <= iou_threshold <= 1 and candidates > 0 and limit > 0):
        raise InputError(
            f"choose_boxes: score_threshold and iou_threshold must lie in [0, 1], candidates and limit above 0; got "
            f"{score_threshold}, {iou_threshold}, {candidates}, {limit}"
        )
    logits = out.class_logits.float()
    sure = logits.sigmoid() if scores == "sigmoid" else logits.softmax(-1)
    sure = sure[..., 1:].transpose(1, 2)  # [N, K, A], the background left out
    decoded = decode_boxes(out.box_deltas.float(), out.anchors.float()).clamp(0, 1)
    best, places = sure.topk(min(candidates, sure.shape[-1]))
    chosen = []
    for score, place, boxes in zip(best, places, decoded, strict=True):
        labels, ranks = (score > score_threshold).nonzero(as_tuple=True)
        score, boxes = score[labels, ranks], boxes[place[labels, ranks]]
        kept = batched_nms(boxes, score, labels, iou_threshold)[:limit]
        chosen.append(Boxes(boxes[kept], labels[kept], score[kept]))
    return chosen
