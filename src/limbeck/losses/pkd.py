"""Distillation by Pearson correlation of feature maps, for networks whose scales differ. Its weight is the method's."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import InputError
from limbeck.losses.align import resize
from limbeck.losses.checks import feature_pair

__all__ = ["pkd"]

EPSILON = 1e-6  # the authors' guard, added to the standard deviation


def pkd(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of the maps, each channel standardised over batch and positions.

    That is 1 - Pearson correlation, mean over the channels. It sees this process's batch only.

    Args:
        student: [N, C, H, W] feature maps; another size is brought to the teacher's.
        teacher: [N, C, H', W'] feature maps; no gradient reaches them.

    Raises:
        InputError: other shapes, batches or numbers of channels that differ.

    **Source:** Cao, Zhang, Gao, Cheng, Cheng, Zhang, "PKD: General Distillation Framework for Object Detectors via
        Pearson Correlation Coefficient", NeurIPS 2022, arXiv 2207.02039, equations 3 to 5.
    **Differs:** the standard deviation is that of the whole sample, as a correlation has it; the authors' code divides by
        one less. A student's larger map is averaged down, not sampled.

    Example:
        >>> import torch
        >>> maps = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> round(pkd(maps, 5 * maps + 7).item(), 4), round(pkd(maps, -maps).item(), 4)
        (0.0, 2.0)
    """
    student, teacher = feature_pair(student, teacher, loss="pkd", maps=True)
    if student.shape[1] != teacher.shape[1]:
        raise InputError(
            f"pkd: student has {student.shape[1]} channels and teacher {teacher.shape[1]}; both need the same"
        )
    ours, theirs = (_standardised(maps) for maps in (resize(student, teacher.shape[2:]), teacher.detach()))
    return (ours - theirs).square().mean() / 2


def _standardised(maps: Tensor) -> Tensor:
    centred = maps - maps.mean((0, 2, 3), keepdim=True)
    variance = centred.square().mean((0, 2, 3), keepdim=True)
    # sqrt has no slope at 0: a channel without spread is given a spread of 1, and keeps its gradient finite
    return centred / (variance.where(variance > 0, 1.0).sqrt() + EPSILON)
