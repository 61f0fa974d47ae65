"""Signal knowledge distillation: labels and a teacher's softened outputs in one, and its pooled features beside them.

The weight of the features is the method's.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.losses.align import apply_layer, as_map, map_shape
from limbeck.losses.checks import class_indices, feature_pair, logit_pair
from limbeck.losses.divergence import forward_kl

__all__ = ["SkdFeatures", "skd"]


def skd(
    student: Tensor,
    teacher: Tensor,
    *,
    target: Tensor,
    snr: Tensor | None = None,
    temperature: float = 4.0,
    share: float = 0.7,
    lowest_snr: float | None = None,
) -> Tensor:
    """`(1 - share) CE(labels) + share T^2 KL(teacher || student)` of the softened softmaxes, mean over the batch.

    Args:
        student: [N, K] logits.
        teacher: [N, K] logits; no gradient reaches them.
        target: [N] class indices, or [N, K] label rows.
        snr: [N] in dB; needed with `lowest_snr` only.
        temperature: T > 0.
        share: of the teacher, the paper's lambda, in [0, 1].
        lowest_snr: samples below it learn from their labels alone: a teacher that guesses there has only smoothed labels
            to give. None = all learn from both.

    Raises:
        InputError: shapes that differ, labels or values out of range, or no SNR where it is needed.

    **Source:** Hou et al., "ClST: A Convolutional Transformer Framework for Automatic Modulation Recognition by Knowledge
        Distillation", IEEE Trans. Wireless Commun. 23(7), 2024, arXiv 2312.17446: soft targets beside labels.
    **Differs:** a reconstruction in Hinton's form: the paper's equation and constants could not be read; `lowest_snr` is
        ours.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[2.0, 0.0, -1.0]])
        >>> round(skd(student, teacher, target=torch.tensor([0])).item(), 5)   # 0.3 * 0.68027 + 0.7 * 16 * 0.023958
        0.47241
    """
    student, teacher = logit_pair(student, teacher, loss="skd")
    if not temperature > 0:
        raise InputError(f"skd: temperature must be positive, not {temperature}")
    if not 0 <= share <= 1:
        raise InputError(f"skd: share must lie in [0, 1], not {share}")
    labels = class_indices(target, student, loss="skd")
    own = target.to(student.dtype) if target.is_floating_point() else labels
    supervised = functional.cross_entropy(student, own, reduction="none")
    taught = forward_kl(student, teacher, temperature) * temperature**2
    if lowest_snr is None:
        return ((1 - share) * supervised + share * taught).mean()
    if snr is None or snr.shape != supervised.shape:
        said = "the data tells none" if snr is None else f"not {list(snr.shape)}"
        raise InputError(
            f"skd: lowest_snr needs the SNR of each sample, [N] = {list(supervised.shape)}; {said}: leave lowest_snr out"
        )
    weight = share * (snr >= lowest_snr).to(student.dtype)
    return ((1 - weight) * supervised + weight * taught).mean()


class SkdFeatures(nn.Module):
    """Mean squared error between pooled features at length 1, the student's after a dense layer that is trained along.

    Args:
        student_shape: (C,) of the student's features, or (C, H, W) of a map, which is averaged.
        teacher_shape: of the teacher's.

    Raises:
        InputError: other shapes.

    **Source:** as `skd`, for the aim: to keep the teacher's knowledge, not its outputs alone.
    **Differs:** a reconstruction: the paper's term could not be read.

    Example:
        >>> import torch
        >>> loss = SkdFeatures((4,), (6,))
        >>> loss(torch.ones(2, 4), torch.ones(2, 6)).shape
        torch.Size([])
    """

    def __init__(self, student_shape: Sequence[int], teacher_shape: Sequence[int]) -> None:
        super().__init__()
        ours, theirs = (map_shape(shape, loss="skd_features")[0] for shape in (student_shape, teacher_shape))
        self.dense = nn.Linear(ours, theirs)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The student's [N, C] or [N, C, H, W] features, then the teacher's, which no gradient reaches.

        Raises:
            InputError: batches that differ, or no features.
        """
        student, teacher = (
            as_map(features).mean((2, 3)) for features in feature_pair(student, teacher, loss="skd_features")
        )
        found = functional.normalize(apply_layer(self.dense, student).to(teacher.dtype))
        return functional.mse_loss(found, functional.normalize(teacher.detach()))
