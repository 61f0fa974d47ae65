"""What a detector says, and the boxes that are chosen from it. Not here: networks (`ssdlite`), losses (`tasks`)."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from limbeck.errors import InputError
from limbeck.models.heads.anchors import decode_boxes

__all__ = ["SCORES", "AnchorOutputs", "Boxes", "SoftmaxAnchorOutputs", "choose_boxes"]


class AnchorOutputs(NamedTuple):
    """What a detector says of a batch, anchor by anchor; each class for itself, as the focal loss trains it.

    Attributes:
        class_logits: [N, A, K + 1]; the first column is the background.
        box_deltas: [N, A, 4] offsets from the anchors (`anchors.encode_boxes`).
        anchors: [A, 4] as x1, y1, x2, y2, shares of the picture.
    """

    class_logits: Tensor
    box_deltas: Tensor
    anchors: Tensor

    scores = "sigmoid"  # no field: outputs stay a tuple of tensors, which every exporter takes

    def take(self, rows: Tensor | slice) -> Self:
        """Only some pictures of the batch."""
        return self._replace(class_logits=self.class_logits[rows], box_deltas=self.box_deltas[rows])

    def class_scores(self) -> Tensor:
        """[N, A, K] float32 in [0, 1], the background left out."""
        logits = self.class_logits.float()
        return (logits.sigmoid() if self.scores == "sigmoid" else logits.softmax(-1))[..., 1:]

    def boxes(self) -> Tensor:
        """[N, A, 4] float32 as x1, y1, x2, y2, shares of the picture, cut at its edges."""
        return decode_boxes(self.box_deltas.float(), self.anchors.float()).clamp(0, 1)


class SoftmaxAnchorOutputs(AnchorOutputs):
    """The same where classes and background share one distribution, as SSD's loss trains it."""

    __slots__ = ()
    scores = "softmax"


SCORES: dict[str, type[AnchorOutputs]] = {one.scores: one for one in (AnchorOutputs, SoftmaxAnchorOutputs)}
"""What logits may mean -> the outputs that say so."""


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
    score_threshold: float = 0.001,
    iou_threshold: float = 0.6,
    candidates: int = 300,
    limit: int = 100,
) -> list[Boxes]:
    """Decode what a detector says and keep, class by class, boxes that no surer box of the class overlaps.

    Args:
        out: of a batch.
        score_threshold: boxes at or below it are dropped.
        iou_threshold: overlap, intersection over union, above which the less sure box is dropped.
        candidates: of each class before that, the surest.
        limit: of a picture after it, of all classes.

    Raises:
        InputError: counts or thresholds out of range.

    **Source:** Liu et al. 2016, arXiv 1512.02325, section 3.1; the overlap and limit of MobileNetV3's detection code.
    """
    if not (0 <= score_threshold <= 1 and 0 <= iou_threshold <= 1 and candidates > 0 and limit > 0):
        raise InputError(
            f"choose_boxes: score_threshold and iou_threshold must lie in [0, 1], candidates and limit above 0; got "
            f"{score_threshold}, {iou_threshold}, {candidates}, {limit}"
        )
    sure = out.class_scores().transpose(1, 2)  # [N, K, A]
    best, places = sure.topk(min(candidates, sure.shape[-1]))
    chosen = []
    for score, place, boxes in zip(best, places, out.boxes(), strict=True):
        labels, ranks = (score > score_threshold).nonzero(as_tuple=True)
        score, boxes = score[labels, ranks], boxes[place[labels, ranks]]
        kept = batched_nms(boxes, score, labels, iou_threshold)[:limit]
        chosen.append(Boxes(boxes[kept], labels[kept], score[kept]))
    return chosen
