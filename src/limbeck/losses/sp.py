"""Similarity preserving: which samples of a batch are alike, in the student as in the teacher. No weight of it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from limbeck.losses.checks import feature_pair

__all__ = ["sp"]


def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the similarities between samples: inner products, each sample's row at length 1.

    It sees this process's batch only; widths and sizes of the two networks need not agree.

    Args:
        student: [N, ...] features, flattened per sample.
        teacher: [N, ...] features; no gradient reaches them.

    Raises:
        InputError: other shapes, or batches that differ.

    **Source:** Tung, Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, arXiv 1907.09682, equations 1 to
        4.

    Example:
        >>> import torch
        >>> student, teacher = torch.eye(2), torch.ones(2, 3)       # rows (1, 0), (0, 1) and (1, 1) / sqrt 2 twice
        >>> round(sp(student, teacher).item(), 4)                   # (2 * 0.2929^2 + 2 * 0.5) / 4
        0.2929
    """
    student, teacher = feature_pair(student, teacher, loss="sp")
    with torch.autocast(student.device.type, enabled=False):  # it would take the products in half precision
        return (_similarities(student) - _similarities(teacher.detach())).square().mean()


def _similarities(features: Tensor) -> Tensor:
    flat = features.flatten(1)
    return normalize(flat @ flat.t())
