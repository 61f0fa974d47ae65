"""The supervised loss as a term of its own, with label smoothing. Class weights and missing labels are the task's."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from limbeck.errors import InputError, unknown_name
from limbeck.losses.checks import class_indices, logits

__all__ = ["cross_entropy"]


SPREADS = ("all", "others")


def cross_entropy(
    student: Tensor, *, target: Tensor, smoothing: float = 0.0, spread: Literal["all", "others"] = "all"
) -> Tensor:
    """Cross-entropy to the labels, mean over the batch.

    Args:
        student: [N, K] logits.
        target: [N] class indices or [N, K] label rows.
        smoothing: share epsilon of each label that is spread evenly.
        spread: over `all` K classes, the true one included, epsilon / K each (the paper's, and torch's); or over the
            K - 1 `others`, epsilon / (K - 1) each, as the releases of Tf-KD and Zipf's label smoothing have it.

    Raises:
        InputError: shapes that differ, labels out of range, a smoothing outside [0, 1), or one above (K - 1) / K that
            is spread over the others, which would then be likelier than the label.

    **Source:** Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, arXiv 1512.00567, section 7.

    Example:
        >>> import torch
        >>> round(cross_entropy(torch.zeros(1, 4), target=torch.tensor([2])).item(), 4)     # log 4
        1.3863
    """
    student = logits(student, loss="cross_entropy")
    if not 0 <= smoothing < 1:
        raise InputError(f"cross_entropy: smoothing must lie in [0, 1), not {smoothing}")
    if spread not in SPREADS:
        raise unknown_name("spread", spread, SPREADS, where="cross_entropy")
    if spread == "others":
        smoothing *= student.shape[1] / (student.shape[1] - 1)  # the label's own part of what torch spreads over all
        if smoothing > 1:
            raise InputError("cross_entropy: smoothing over the others must not exceed (K - 1) / K")
    labels = class_indices(target, student, loss="cross_entropy")
    own = target.to(student.dtype) if target.is_floating_point() else labels
    return functional.cross_entropy(student, own, label_smoothing=smoothing)
