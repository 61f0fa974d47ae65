"""What criteria over classes share: their number, the weights of classes, label smoothing. No criterion lives here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import InputError

__all__ = ["ClassWeights", "check_classes"]


def check_classes(task: str, num_classes: int, label_smoothing: float) -> None:
    """Check what every task with classes is given.

    Raises:
        InputError: fewer than two classes, or smoothing outside [0, 1).
    """
    if num_classes < 2:
        raise InputError(f"{task}: needs at least 2 classes, not {num_classes}")
    if not 0 <= label_smoothing < 1:
        raise InputError(f"{task}: label_smoothing must lie in [0, 1), not {label_smoothing}")


class ClassWeights:
    """Weights of the classes in a criterion, copied to a device once, not per step.

    Args:
        task: named in errors.
        num_classes: K.
        weights: K of them, not negative; None = all 1.

    Raises:
        InputError: of another length, negative or not finite.
    """

    def __init__(self, task: str, num_classes: int, weights: Sequence[float] | np.ndarray | Tensor | None) -> None:
        given = None if weights is None else torch.as_tensor(weights).detach().float().clone()
        if given is not None and given.shape != (num_classes,):
            raise InputError(f"{task}: {num_classes} classes but class_weights of shape {list(given.shape)}")
        if given is not None and not bool((torch.isfinite(given) & (given >= 0)).all()):
            raise InputError(f"{task}: class_weights must be finite and not negative")
        self._weights = given
        self._placed: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, logits: Tensor) -> Tensor | None:
        """[K] on the device and in the precision of `logits`; None = all 1."""
        if self._weights is None:
            return None
        key = (logits.device, logits.dtype)
        if key not in self._placed:
            self._placed[key] = self._weights.to(device=logits.device, dtype=logits.dtype)
        return self._placed[key]
