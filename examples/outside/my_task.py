"""A task of your own: classes in an order, such as grades of damage. In a recipe: `task = "my_task:OrderedClasses"`.

A task says how an output is judged: `criterion` in training, `metric` afterwards, and which figure of it is `primary`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.tasks import Classification


class OrderedClasses(Classification):
    """Classification where a near miss is better than a far one: cross-entropy plus the expected distance of the class.

    Args:
        num_classes: K, in order.
        class_weights: as in `Classification`.
        label_smoothing: as in `Classification`.
    """

    name = "ordered_classes"
    primary = "mean_distance"
    higher_is_better = False

    def criterion(self, out: Tensor, target: Tensor) -> Tensor:
        """Mean over the labelled samples; `target` is [N] indices or [N, K] label rows."""
        rows = target if target.is_floating_point() else label_rows(target, self.num_classes)
        distance = torch.cdist(steps(out)[:, None], steps(out)[:, None])  # [K, K]
        expected = (out.float().softmax(1) @ distance * rows).sum(1)
        return super().criterion(out, target) + expected.sum() / (rows.sum(1) > 0).sum().clamp(min=1)

    def metric(self) -> OrderedMetric:
        """A fresh accumulator."""
        return OrderedMetric(super().metric())

    @staticmethod
    def figures(logits: Tensor, target: Tensor) -> dict[str, float]:
        """The metric of a whole data set at once."""
        out = torch.as_tensor(logits)
        metric = OrderedClasses(out.shape[1]).metric()
        metric.update(out, torch.as_tensor(target))
        return metric.compute()


class OrderedMetric:
    """The figures of a classifier, and the mean distance between the predicted and the true class."""

    def __init__(self, classes) -> None:
        self.classes = classes
        self.distance, self.count = 0.0, 0

    def update(self, out: Tensor, target: Tensor) -> None:
        """Add a batch: [N, K] logits, [N] class indices (-1 left out)."""
        self.classes.update(out, target)
        labelled = target >= 0
        self.distance += float((out.argmax(1) - target)[labelled].abs().sum())
        self.count += int(labelled.sum())

    def compute(self) -> dict[str, float]:
        """The figures over everything added."""
        return {**self.classes.compute(), "mean_distance": self.distance / max(self.count, 1)}


def label_rows(target: Tensor, num_classes: int) -> Tensor:
    """[N] indices as [N, K] rows, zeros where unlabelled."""
    rows = torch.nn.functional.one_hot(target.clamp(min=0), num_classes).float()
    return rows * (target >= 0)[:, None]


def steps(out: Tensor) -> Tensor:
    """0 .. K-1, as floats beside `out`."""
    return torch.arange(out.shape[1], dtype=torch.float32, device=out.device)
