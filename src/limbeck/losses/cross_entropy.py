"""The supervised loss as a term of its own, with label smoothing. Class weights and missing labels are the task's."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.checks import class_indices, logits

__all__ = ["cross_entropy"]


def cross_entropy(student: Tensor, *, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy to the labels, mean over the batch.

    Args:
        student: [N, K] logits.
        target: [N] class indices or [N, K] label rows.
        smoothing: share epsilon of each label spread evenly over all K classes, the true one included.

    Raises:
        InputError: shapes that differ, labels out of range, or a smoothing outside [0, 1).

    **Source:** Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, arXiv 1512.00567, section 7.

    Example:
        >>> import torch
        >>> round(cross_entropy(torch.zeros(1, 4), target=torch.tensor([2])).item(), 4)     # log 4
        1.3863
    """
    student = logits(student, loss="cross_entropy")
    if not 0 <= smoothing < 1:
        raise InputError(f"cross_entropy: smoothing must lie in [0, 1), not {smoothing}")
    labels = class_indices(target, student, loss="cross_entropy")
    own = target.to(student.dtype) if target.is_floating_point() else labels
    return functional.cross_entropy(student, own, label_smoothing=smoothing)
