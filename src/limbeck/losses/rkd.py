"""Relational distillation: distances and angles among the samples of a batch. The weight of both is the method's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import smooth_l1_loss

from limbeck.losses.checks import feature_pair

__all__ = ["rkd"]


def rkd(student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    """Huber losses on the distances between samples, relative to their mean, and on the angles among three samples.

    It sees this process's batch only; the widths of the two networks need not agree. Memory grows with N^3 where
    `angle` is above 0.

    Args:
        student: [N, ...] features, flattened per sample.
        teacher: [N, ...] features; no gradient reaches them.
        distance: weight of the distances.
        angle: weight of the angles, as their cosines.

    Raises:
        InputError: other shapes, or batches that differ.

    **Source:** Park, Kim, Lu, Cho, "Relational Knowledge Distillation", CVPR 2019, arXiv 1904.05068, equations 5 to 10;
        means over all N^2 pairs and N^3 triples, as in the authors' code.
    **Differs:** coincident samples get a gradient of 0; in the authors' code one of 1e12.

    Example:
        >>> import torch
        >>> student = torch.tensor([[0.0], [1.0], [3.0]])           # distances 1, 2, 3: relative to 2
        >>> teacher = torch.tensor([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0]])        # 3, 4, 5: relative to 4
        >>> round(rkd(student, 5 * student).item(), 4), round(rkd(student, teacher, angle=0.0).item(), 4)
        (0.0, 1.0417)
    """
    student, teacher = (features.flatten(1) for features in feature_pair(student, teacher, loss="rkd"))
    with torch.autocast(student.device.type, enabled=False):  # it would take the products in half precision
        ours, theirs = _Relations(student), _Relations(teacher.detach())
        total = student.new_zeros(())
        if distance:
            total = total + distance * smooth_l1_loss(ours.distances(), theirs.distances())
        if angle:
            total = total + angle * smooth_l1_loss(ours.angles(), theirs.angles())
        return total


class _Relations:
    """The samples' differences and their lengths, which both relations are made of."""

    def __init__(self, features: Tensor) -> None:
        self.differences = features.unsqueeze(0) - features.unsqueeze(1)
        self.lengths = vector_norm(self.differences, dim=2)

    def distances(self) -> Tensor:
        """[N, N], relative to the mean of those above 0."""
        mean = self.lengths.sum() / (self.lengths > 0).sum().clamp(min=1)
        return self.lengths / mean.where(mean > 0, 1.0)

    def angles(self) -> Tensor:
        """[N, N, N]: at each sample (first axis) the cosine between the directions to two others."""
        lengths = self.lengths.unsqueeze(2)
        directions = self.differences / lengths.where(lengths > 0, 1.0)
        return directions @ directions.transpose(1, 2)
