"""Classification: the supervised loss and the figures of a classifier. Those of calibration are `calibrate`'s."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.tasks.weighting import ClassWeights, check_classes

__all__ = ["Classification", "ClassificationMetric"]


class Classification:
    """One class per sample.

    Args:
        num_classes: K >= 2.
        class_weights: K non-negative weights of the classes in the criterion; None = all 1.
        label_smoothing: share of each label spread evenly over all classes, in [0, 1).

    Raises:
        InputError: K < 2, weights of another length or negative, smoothing out of range.
    """

    name = "classification"
    primary = "top1"
    target_kind = "class"
    higher_is_better = True

    def __init__(
        self,
        num_classes: int,
        *,
        class_weights: Sequence[float] | np.ndarray | Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        check_classes(self.name, num_classes, label_smoothing)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self._weights = ClassWeights(self.name, num_classes, class_weights)

    def criterion(self, out: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, mean over the labelled samples; 0 where there are none.

        Args:
            out: [N, K] logits; half precision is upcast.
            target: [N] class indices, -1 where unlabelled; or [N, K] label rows, zeros where unlabelled.

        Raises:
            InputError: shapes that do not fit.
        """
        if out.dim() != 2 or out.shape[1] != self.num_classes:
            raise InputError(
                f"classification: the network gives {list(out.shape)} where [N, {self.num_classes}] logits are due"
            )
        logits = out if out.dtype == torch.float64 else out.float()
        weights = self._weights.like(logits)
        if target.is_floating_point():
            if target.shape != out.shape:
                raise InputError(f"classification: label rows {list(target.shape)} do not fit logits {list(out.shape)}")
            rows = target.to(logits.dtype)
            labelled = rows.sum(1) > 0
            losses = functional.cross_entropy(
                logits, rows, weights, reduction="none", label_smoothing=self.label_smoothing
            )
            losses = torch.where(labelled, losses, 0.0)  # smoothing would teach an empty row the uniform distribution
        else:
            if target.shape != out.shape[:1]:
                raise InputError(f"classification: labels {list(target.shape)} do not fit logits {list(out.shape)}")
            labelled = target >= 0
            losses = functional.cross_entropy(
                logits, target, weights, reduction="none", ignore_index=-1, label_smoothing=self.label_smoothing
            )
        return losses.sum() / labelled.sum().clamp(min=1)

    def metric(self) -> ClassificationMetric:
        """A fresh accumulator of top1, top5 (beyond 5 classes), macro_accuracy and nll."""
        return ClassificationMetric(self.num_classes)

    @staticmethod
    def figures(logits: Tensor | np.ndarray, target: Tensor | np.ndarray) -> dict[str, float]:
        """The metric of a whole data set at once: [N, K] logits, [N] class indices (-1 where unlabelled)."""
        out = torch.as_tensor(logits)
        metric = ClassificationMetric(out.shape[-1])
        metric.update(out, torch.as_tensor(target))
        return metric.compute()


class ClassificationMetric:
    """Accumulates over batches: top1, top5 (K > 5), macro_accuracy (mean over the classes seen), nll (mean, in nats).

    Sums stay on the device of the batches until `compute`, in float64 where the device has it.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self._sums: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, out: Tensor, target: Tensor) -> None:
        """Add a batch: [N, K] logits, [N] class indices (-1 left out) or [N, K] rows (the largest entry counts).

        Raises:
            InputError: shapes that do not fit, or a class out of range.
        """
        if out.dim() != 2 or out.shape[1] != self.num_classes or len(target) != len(out):
            shapes = f"logits {list(out.shape)} and labels {list(target.shape)}"
            raise InputError(f"classification: {shapes} do not fit {self.num_classes} classes")
        if target.dim() == 2:
            target = torch.where(target.sum(1) > 0, target.argmax(1), -1)
        target = target.to(out.device).long()
        out, target = out[target >= 0], target[target >= 0]
        if not len(target):
            return
        if int(target.max()) >= self.num_classes:
            raise InputError(f"classification: class {int(target.max())} is outside 0 .. {self.num_classes - 1}")
        wide = out.double() if out.device.type != "mps" else out.float()
        right = wide.argmax(1) == target
        batch = {
            "count": torch.bincount(target, minlength=self.num_classes),
            "right": torch.bincount(target[right], minlength=self.num_classes),
            "nll": functional.cross_entropy(wide, target, reduction="sum"),
        }
        if self.num_classes > 5:
            batch["top5"] = (wide.topk(5, dim=1).indices == target[:, None]).sum()
        for name, value in batch.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def compute(self) -> dict[str, float]:
        """The figures over everything added.

        Raises:
            InputError: nothing labelled was added.
        """
        if not self._sums:
            raise InputError("classification: no labelled samples to evaluate on")
        count, right = self._sums["count"].double().cpu(), self._sums["right"].double().cpu()
        seen = count > 0
        total = float(count.sum())
        figures = {"top1": float(right.sum()) / total}
        if "top5" in self._sums:
            figures["top5"] = float(self._sums["top5"]) / total
        figures["macro_accuracy"] = float((right[seen] / count[seen]).mean())
        figures["nll"] = float(self._sums["nll"]) / total
        return figures
