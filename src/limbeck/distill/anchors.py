"""A detector's answers to another detector's, anchor by anchor. The formulas are `losses.odkd`'s.

Not here: which anchor stands for which box (`tasks.box_losses`), methods on feature maps (`features`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.odkd import bounded_regression, weighted_classes
from limbeck.models.heads import AnchorOutputs
from limbeck.tasks.box_losses import assign_anchors
from limbeck.tasks.detection import as_boxes

__all__ = ["ANCHOR_LOSSES", "odkd"]


def odkd(
    student: AnchorOutputs,
    teacher: AnchorOutputs,
    *,
    target: Tensor,
    regression: float = 0.5,
    background_weight: float = 1.5,
    margin: float = 0.0,
) -> Tensor:
    """The teacher's classes, and its errors as a bound for those of the student's boxes.

    Classes are a mean over the anchors, each weighted by what the teacher sees there: the chance that it is no background
    (of sigmoid scores, the largest of a class), and 1 where it stands for a box. Boxes are a mean over the latter.

    Args:
        student: of a batch.
        teacher: of the same batch and of the same anchors and scores; no gradient reaches it.
        target: [N, M, 5], as of `limbeck.tasks.Detection`.
        regression: weight of the boxes' part.
        background_weight: as of `weighted_classes`.
        margin: as of `bounded_regression`.

    Raises:
        InputError: other anchors, scores or numbers of classes.

    **Source:** Chen, Choi, Yu, Han, Chandraker, "Learning Efficient Object Detection Models with Knowledge Distillation",
        NeurIPS 2017, section 3, for a two-stage detector.
    **Differs:** it takes the proposals of a first stage, of which a quarter are objects; here all anchors, weighted. Its
        hints are `fitnet`.
    """
    for name, given in (("student", student), ("teacher", teacher)):
        if not isinstance(given, AnchorOutputs):
            raise InputError(f"odkd: the {name} gives no boxes; it is for two detectors")
    if student.class_logits.shape != teacher.class_logits.shape or student.scores != teacher.scores:
        says = [f"{list(one.class_logits.shape[1:])} logits of {one.scores} scores" for one in (student, teacher)]
        raise InputError(f"odkd: needs equal anchors, classes and scores; student has {says[0]}, teacher {says[1]}")
    anchors = student.anchors
    on_cpu = (
        anchors.device.type == "cpu" and not torch.compiler.is_compiling()
    )  # elsewhere it would wait for the device
    if on_cpu and not torch.allclose(anchors, teacher.anchors, atol=1e-4):
        raise InputError("odkd: student and teacher have other anchors, of other places or shapes")
    classes, offsets = assign_anchors(as_boxes(target), anchors, student.class_logits.shape[-1] - 1)
    taken = (classes > 0).flatten()
    logits, theirs = (one.class_logits.flatten(0, 1) for one in (student, teacher))
    seen = (
        (1 - theirs.float().softmax(1)[:, 0])
        if teacher.scores == "softmax"
        else theirs[:, 1:].float().sigmoid().amax(1)
    )
    weights = torch.where(taken, 1.0, seen.detach())
    each = weighted_classes(logits, theirs, scores=student.scores, background_weight=background_weight)
    boxes, their_boxes, true_boxes = (
        part.flatten(0, 1)[taken] for part in (student.box_deltas, teacher.box_deltas, offsets)
    )
    bounded = bounded_regression(boxes, their_boxes, target=true_boxes.to(boxes.dtype), margin=margin)
    return (each * weights).sum() / weights.sum() + regression * bounded.sum() / taken.sum().clamp(min=1)


ANCHOR_LOSSES: dict[str, Callable[..., Tensor]] = {"odkd": odkd}
"""Losses that take what detectors say as it is; terms name them as those of `LOSSES`."""
