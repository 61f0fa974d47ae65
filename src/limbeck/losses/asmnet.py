"""ASMNet's loss of points: the truth, and the truth as a shape model smooths it, with a weight that falls in training.

Not here: the shape model (`data.shape_model`), distillation by two teachers (`landmark_kd`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.landmark_errors import known_mean, true_coordinates

__all__ = ["asmnet"]


def asmnet(
    student: Tensor,
    soft: Tensor,
    *,
    target: Tensor,
    progress: Tensor,
    weights: Sequence[float] = (2.0, 1.0, 0.5),
) -> Tensor:
    """Squared error to the truth, and weighted that to the smoothed truth; mean over batch and coordinates.

    Args:
        student: [N, 2L] or [N, L, 2], shares of the picture.
        soft: the same, the truth as `ShapeModel.soften` gives it; no gradient reaches it.
        target: the same, the truth; NaN = unknown, left out of both errors.
        progress: share of training done, in [0, 1).
        weights: of the second error in equal parts of training, one after the other.

    Raises:
        InputError: shapes that differ, or no weights.

    **Source:** Fard, Abdollahi, Mahoor, "ASMNet: a Lightweight Deep Neural Network for Face Alignment and Pose
        Estimation", CVPRW 2021, arXiv 2103.00119, and its code, which smooths with 90 % of the variance.
    **Differs:** parts of training are meant and taken; the code compares the number of steps with that of epochs.

    Example:
        >>> at = {"target": torch.tensor([[0.0, 0.0]]), "progress": torch.tensor(0.4)}
        >>> round(asmnet(torch.tensor([[0.2, 0.4]]), torch.tensor([[0.1, 0.2]]), **at).item(), 4)      # 0.1 + 0.025
        0.125
    """
    if not len(weights):
        raise InputError("asmnet: weights is empty; expected one for each part of training, such as [2, 1, 0.5]")
    ours, truth, theirs, known = true_coordinates(student, target, soft, loss="asmnet", names=("the soft target",))
    part = (progress * len(weights)).long().clamp(0, len(weights) - 1)
    weight = torch.as_tensor(weights, dtype=ours.dtype, device=ours.device)[part.to(ours.device)]
    usable = known & ~theirs.isnan()
    smoothed = known_mean((ours - theirs.where(usable, 0.0)).square(), usable)
    return known_mean((ours - truth).square(), known) + weight * smoothed
