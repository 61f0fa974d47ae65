"""Segmentation: the supervised loss and the figures of a network that gives a class for every pixel.

Not here: what is kept of a data set's outputs, pictures for people (`pipeline`, `report`); the masks (`data.masks`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.models.heads.segmentation import enlarge
from limbeck.tasks.weighting import ClassWeights, check_classes

__all__ = ["Segmentation", "SegmentationMetric", "figures_of_confusion", "iou_per_class"]

VOID = -1
"""The class of pixels that are neither learned nor judged."""


class Segmentation:
    """One class per pixel; -1 in a target is void: neither learned nor judged.

    Args:
        num_classes: K >= 2.
        class_weights: K non-negative weights of the classes in the criterion; None = all 1.
        label_smoothing: share of each label spread evenly over all classes, in [0, 1).

    Raises:
        InputError: K < 2, weights of another length or negative, smoothing out of range.
    """

    name = "segmentation"
    target_kind = "mask"
    primary = "miou"
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
        """Cross-entropy over all labelled pixels of the batch; 0 where there are none.

        With class weights, the weighted sum over the sum of the labelled pixels' weights, so that the loss stays in
        nats whatever the weights' scale.

        Args:
            out: [N, K, h, w] logits, enlarged to the target's size by bilinear interpolation where they are of another;
                half precision is upcast.
            target: [N, H, W] classes, -1 = void.

        Raises:
            InputError: shapes that do not fit.
        """
        self._check(out, target)
        logits = _prepared(out, target)
        weights = self._weights.like(logits)
        total = functional.cross_entropy(
            logits, target, weights, reduction="sum", ignore_index=VOID, label_smoothing=self.label_smoothing
        )
        labelled = target >= 0
        share = labelled.sum() if weights is None else weights[target.clamp(min=0)][labelled].sum()
        return total / torch.where(share > 0, share, 1)

    def metric(self) -> SegmentationMetric:
        """A fresh accumulator of miou, pixel_accuracy, mean_class_accuracy and nll."""
        return SegmentationMetric(self.num_classes)

    def figures(self, out: Tensor | np.ndarray, target: Tensor | np.ndarray) -> dict[str, float]:
        """The metric of a whole data set at once: [N, K, h, w] logits, [N, H, W] classes (-1 = void)."""
        metric = self.metric()
        metric.update(torch.as_tensor(out), torch.as_tensor(target))
        return metric.compute()

    @torch.no_grad()
    def confusion(self, out: Tensor | np.ndarray, target: Tensor | np.ndarray) -> Tensor:
        """[N, K, K] int64: labelled pixels of each picture by true class (rows) and predicted class (columns).

        Args:
            out: [N, K, h, w] logits or probabilities, enlarged to the target's size where they are of another; or
                [N, H, W] whole numbers, the predicted classes.
            target: [N, H, W] classes, -1 = void.

        Raises:
            InputError: shapes that do not fit, or a class out of range.
        """
        out, target = torch.as_tensor(out), torch.as_tensor(target)
        if out.is_floating_point():
            self._check(out, target)
            found = _prepared(out, target).argmax(1)
        elif out.shape == target.shape and out.dim() == 3:
            found = out.long()
        else:
            raise InputError(f"segmentation: class maps {list(out.shape)} do not fit the masks {list(target.shape)}")
        target, count = target.to(found.device).long(), self.num_classes
        labelled = target >= 0
        for what, classes in (("mask", target), ("prediction", found)):
            seen = classes[labelled]
            if seen.numel() and not 0 <= int(seen.min()) <= int(seen.max()) < count:
                raise InputError(f"segmentation: a {what} holds a class outside 0 .. {count - 1}")
        picture = torch.arange(len(target), device=target.device)[:, None, None].expand_as(target)
        cells = ((picture * count + target) * count + found)[labelled]
        return torch.bincount(cells, minlength=len(target) * count**2).view(len(target), count, count)

    def _check(self, out: Tensor, target: Tensor) -> None:
        if out.dim() != 4 or out.shape[1] != self.num_classes:
            raise InputError(
                f"segmentation: the network gives {list(out.shape)} where [N, {self.num_classes}, H, W] logits are due"
            )
        if target.dim() != 3 or target.shape[0] != out.shape[0] or target.is_floating_point():
            raise InputError(
                f"segmentation: masks {list(target.shape)} of {str(target.dtype).removeprefix('torch.')} do not fit "
                f"logits {list(out.shape)}; expected [N, H, W] classes"
            )


class SegmentationMetric:
    """Accumulates over batches: what `figures_of_confusion` gives, and nll (mean over labelled pixels, in nats).

    Pixels count alike over all pictures added: one confusion matrix for the data set, no mean over pictures.
    """

    def __init__(self, num_classes: int) -> None:
        self._task = Segmentation(num_classes)
        self._confusion: Tensor | None = None
        self._nll = 0.0

    @torch.no_grad()
    def update(self, out: Tensor, target: Tensor) -> None:
        """Add a batch: [N, K, h, w] logits, [N, H, W] classes, -1 = void.

        Raises:
            InputError: shapes that do not fit, or a class out of range.
        """
        target = target.to(out.device).long()
        confusion = self._task.confusion(out, target).sum(0)
        self._confusion = confusion if self._confusion is None else self._confusion + confusion
        logits = _prepared(out, target)
        losses = functional.cross_entropy(logits, target, reduction="none", ignore_index=VOID)
        self._nll = self._nll + (losses.sum() if losses.device.type == "mps" else losses.double().sum())

    def compute(self) -> dict[str, float]:
        """The figures over everything added.

        Raises:
            InputError: no labelled pixel was added.
        """
        if self._confusion is None:
            raise InputError("segmentation: no labelled pixels to evaluate on")
        figures = figures_of_confusion(self._confusion)
        return {**figures, "nll": float(self._nll) / int(self._confusion.sum())}


def iou_per_class(confusion: Tensor | np.ndarray) -> np.ndarray:
    """[K] float64 intersection over union; NaN for classes that occur neither in truth nor in prediction.

    Args:
        confusion: [K, K] or, of several pictures, [N, K, K], which are summed; true classes in rows.

    Example:
        >>> iou_per_class(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
        array([0.75, 0.8 ,  nan])
    """
    whole = _summed(confusion)
    right, union = np.diag(whole), whole.sum(0) + whole.sum(1) - np.diag(whole)
    return np.divide(right, union, out=np.full(len(whole), np.nan), where=union > 0)


def figures_of_confusion(confusion: Tensor | np.ndarray) -> dict[str, float]:
    """What a confusion matrix says: `miou`, the mean IoU of the classes that occur in truth or prediction;
    `pixel_accuracy`, the share of right pixels; `mean_class_accuracy`, the mean of that share within each true class.

    Args:
        confusion: [K, K] or, of several pictures, [N, K, K], which are summed; true classes in rows.

    Raises:
        InputError: no pixel is counted.

    **Source:** Long, Shelhamer, Darrell 2015, arXiv 1411.4038, section 5, there over all classes, which all occur.

    Example:
        >>> figures_of_confusion(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))
        {'miou': 0.775, 'pixel_accuracy': 0.875, 'mean_class_accuracy': 0.875}
    """
    whole = _summed(confusion)
    true = whole.sum(1)
    if not true.sum():
        raise InputError("segmentation: no labelled pixels to evaluate on")
    seen = true > 0
    return {
        "miou": float(np.nanmean(iou_per_class(whole))),
        "pixel_accuracy": float(np.diag(whole).sum() / true.sum()),
        "mean_class_accuracy": float((np.diag(whole)[seen] / true[seen]).mean()),
    }


def _summed(confusion: Tensor | np.ndarray) -> np.ndarray:
    whole = confusion.cpu().numpy() if isinstance(confusion, Tensor) else np.asarray(confusion)
    return (whole.sum(0) if whole.ndim == 3 else whole).astype(np.float64)


def _prepared(out: Tensor, target: Tensor) -> Tensor:
    """Logits in float32 or better, at the target's size."""
    return enlarge(out if out.dtype == torch.float64 else out.float(), target.shape[-2:])
