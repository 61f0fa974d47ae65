"""The order of the classes by a score, exact and quick on every device. What the ranks weigh is each loss's own."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["descending_order"]

INDEX_BITS = 32


def descending_order(score: Tensor) -> Tensor:
    """Classes of each row of a constant, non-negative [N, K] score, the highest first; ties go to the lower class.

    On the CPU in float32 the bits of score and class are packed into one integer each, since NumPy sorts whole numbers
    several times faster than torch sorts pairs.
    """
    if score.device.type != "cpu" or score.dtype != torch.float32 or torch.compiler.is_compiling():
        return score.argsort(dim=1, descending=True, stable=True)
    # the bits of non-negative floats order as the floats do; the complement turns the order round
    keys = torch.iinfo(torch.int32).max - score.contiguous().view(torch.int32).to(torch.int64)
    keys = keys.bitwise_left_shift_(INDEX_BITS).bitwise_or_(torch.arange(score.shape[1]))
    keys.numpy().sort(axis=1)
    return keys.bitwise_and_(2**INDEX_BITS - 1)
