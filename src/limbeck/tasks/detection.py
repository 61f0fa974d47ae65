"""Detection: the supervised loss of a detector and its figures, those of COCO.

What does not live here: the losses themselves (`box_losses`), precision for resampled pictures (`average_precision`),
networks and how boxes are chosen (`models.heads`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.models.heads import AnchorOutputs, Boxes, choose_boxes
from limbeck.tasks.average_precision import IOU_THRESHOLDS, RECALLS, Matches, match_boxes
from limbeck.tasks.box_losses import focal_loss, ssd_loss

__all__ = ["Detection", "DetectionMetric", "as_boxes"]

COLUMNS = 6  # of a kept box: x1, y1, x2, y2, score, label

_FIGURES = {
    "map": "map",
    "map50": "map_50",
    "map75": "map_75",
    "map_small": "map_small",
    "map_medium": "map_medium",
    "map_large": "map_large",
    "mar_100": "mar_100",
}  # ours: torchmetrics'
_BY_SIZE = ("map_small", "map_medium", "map_large")


class Detection:
    """Objects of one picture, each a box and a class.

    Targets are [N, M, 5] float32 rows of class, x1, y1, x2, y2 in shares of the picture. A row of class -1 is no object; one
    of class -2 - k a crowd of class k: it teaches nothing, and a box found on it counts neither way.

    Args:
        num_classes: K >= 1, without the background.
        image_size: (height, width) in which areas are counted for the figures by size; None = without those.
        score_threshold: as of `choose_boxes`, like the three that follow.
        iou_threshold: as above.
        candidates: as above.
        limit: as above.

    Raises:
        InputError: K < 1.

    Attributes:
        choice: the keywords of `choose_boxes`, which an exported file is to use too.
    """

    name = "detection"
    target_kind = "boxes"
    primary = "map"
    higher_is_better = True

    def __init__(
        self,
        num_classes: int,
        *,
        image_size: tuple[int, int] | None = None,
        score_threshold: float = 0.001,
        iou_threshold: float = 0.6,
        candidates: int = 300,
        limit: int = 100,
    ) -> None:
        if num_classes < 1:
            raise InputError(f"detection: needs at least 1 class, not {num_classes}")
        self.num_classes = num_classes
        self.image_size = image_size
        self.choice: dict[str, Any] = {
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "candidates": candidates,
            "limit": limit,
        }

    def criterion(self, out: AnchorOutputs, target: Tensor) -> Tensor:
        """The focal loss of a detector with sigmoid scores, SSD's of one with softmax scores (`out.scores`).

        Args:
            out: of a batch, for K classes.
            target: [N, M, 5].

        Raises:
            InputError: shapes that do not fit, or boxes that the losses refuse.
        """
        self._check(out, target)
        truth = as_boxes(target)
        return focal_loss(out, truth) if out.scores == "sigmoid" else ssd_loss(out, truth)

    def keep(self, out: AnchorOutputs) -> np.ndarray:
        """[N, L, 6] float32 rows of x1, y1, x2, y2 (shares of the picture), score and label: the chosen boxes, the surest
        first, filled up with rows of zeros to the limit L.
        """
        kept = np.zeros((len(out.class_logits), self.choice["limit"], COLUMNS), np.float32)
        for rows, found in zip(kept, choose_boxes(out, **self.choice), strict=True):
            assert found.scores is not None
            columns = [found.boxes, found.scores[:, None], found.labels[:, None].to(found.boxes)]
            rows[: len(found.labels)] = torch.cat(columns, 1).cpu().numpy()
        return kept

    def metric(self) -> DetectionMetric:
        """A fresh accumulator of map, map50, map75, mar_100, and map_small, map_medium, map_large where there are such boxes."""
        return DetectionMetric(self)

    def figures(self, kept: np.ndarray | Tensor, target: np.ndarray | Tensor) -> dict[str, float]:
        """The metric of a whole data set at once: what `keep` gave, [N, L, 6], and [N, M, 5] targets."""
        metric = self.metric()
        metric.update(torch.as_tensor(kept), torch.as_tensor(target))
        return metric.compute()

    def matches(self, kept: np.ndarray, target: np.ndarray) -> Matches:
        """What was found against what is there, compared once: precision per class, and for resampled pictures.

        Args:
            kept: [N, L, 6], as `keep` gives it.
            target: [N, M, 5].
        """
        return match_boxes(kept, target, self.num_classes)

    def _check(self, out: AnchorOutputs, target: Tensor) -> None:
        if out.class_logits.dim() != 3 or out.class_logits.shape[-1] != self.num_classes + 1:
            given = list(out.class_logits.shape)
            raise InputError(
                f"detection: the network gives {given} where [N, A, {self.num_classes + 1}] logits are due"
            )
        if target.dim() != 3 or target.shape[-1] != 5 or len(target) != len(out.class_logits):
            raise InputError(
                f"detection: targets {list(target.shape)} do not fit outputs of {len(out.class_logits)} pictures; expected "
                "[N, M, 5] rows of class, x1, y1, x2, y2"
            )


def as_boxes(target: Tensor) -> list[Boxes]:
    """What is to be learned of each picture: the rows of [N, M, 5] targets that are neither padding nor crowds."""
    return [Boxes(rows[:, 1:], rows[:, 0].long()) for rows in (one[one[:, 0] >= 0] for one in target)]


class DetectionMetric:
    """Accumulates over batches the figures of COCO: precision over overlaps of 0.5 to 0.95, in all and by size.

    Sizes are areas in pixels of the pictures as the network gets them (below 32^2, to 96^2, above), not of the originals.
    Figures by size are left out where no true box has that size.
    """

    def __init__(self, task: Detection) -> None:
        from torchmetrics.detection import MeanAveragePrecision  # late: its import takes a second

        self.task = task
        self._metric = MeanAveragePrecision(
            iou_thresholds=list(IOU_THRESHOLDS),
            rec_thresholds=list(RECALLS),
            backend="faster_coco_eval",
            sync_on_compute=False,  # every process has the whole evaluation set
        )
        self._metric.warn_on_many_detections = False
        self._truths = 0

    @torch.no_grad()
    def update(self, out: AnchorOutputs | Tensor, target: Tensor) -> None:
        """Add a batch: a network's outputs, or boxes [N, L, 6] that `Detection.keep` gave; and [N, M, 5] targets.

        Raises:
            InputError: shapes that do not fit, or a class out of range.
        """
        if isinstance(out, AnchorOutputs):
            self.task._check(out, target)
            out = torch.from_numpy(self.task.keep(out))
        kept, target = out.detach().cpu(), target.detach().cpu()
        if kept.dim() != 3 or kept.shape[-1] != COLUMNS or target.dim() != 3 or len(kept) != len(target):
            raise InputError(f"detection: boxes {list(kept.shape)} and targets {list(target.shape)} do not fit")
        height, width = self.task.image_size or (1, 1)
        sides = torch.tensor([width, height, width, height], dtype=torch.float32)
        found, truth = [], []
        for boxes, rows in zip(kept, target, strict=True):
            boxes, rows = boxes[boxes[:, 4] > 0], rows[rows[:, 0] != -1]
            crowd = rows[:, 0] < 0
            labels = torch.where(crowd, -2 - rows[:, 0], rows[:, 0]).long()
            if len(labels) and int(labels.max()) >= self.task.num_classes:
                raise InputError(f"detection: class {int(labels.max())} is outside 0 .. {self.task.num_classes - 1}")
            self._truths += int((~crowd).sum())
            found.append({"boxes": boxes[:, :4] * sides, "scores": boxes[:, 4], "labels": boxes[:, 5].long()})
            truth.append({"boxes": rows[:, 1:] * sides, "labels": labels, "iscrowd": crowd.long()})
        self._metric.update(found, truth)

    def compute(self) -> dict[str, float]:
        """The figures over everything added.

        Raises:
            InputError: no true box was added.
        """
        if not self._truths:
            raise InputError("detection: no boxes to evaluate on")
        found = {name: float(value) for name, value in self._metric.compute().items() if value.numel() == 1}
        wanted = {ours: found[theirs] for ours, theirs in _FIGURES.items()}
        without = [
            name for name in _BY_SIZE if self.task.image_size is None or wanted[name] < 0
        ]  # -1 = none of that size
        return {name: value for name, value in wanted.items() if name not in without}
