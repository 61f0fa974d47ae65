"""How a picture's logits become a row on disk and come back: all of them in float16, or the largest few. No files here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.errors import InputError

__all__ = ["FullRows", "TopRows"]

MANY_CLASSES = 1000  # up to here a row of all classes is small, and leaving some out gains little for what it distorts


class FullRows:
    """All K logits of a picture in float16: 11 bits each, so that a logit of 10 is off by 0.004 at most.

    Attributes:
        dtype: of an item on disk.
        shape: of a row.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.dtype: np.dtype[Any] = np.dtype(np.float16)
        self.shape: tuple[int, ...] = (classes,)

    def encode(self, logits: Tensor) -> np.ndarray:
        """[N, K] logits of any float type -> [N, K] float16.

        Raises:
            InputError: another number of classes, or values that float16 does not hold.
        """
        return _halved(logits, self.classes).cpu().numpy()

    def decode(self, rows: np.ndarray) -> Tensor:
        """[N, K] float16 -> [N, K] float32."""
        return torch.from_numpy(rows).float()

    def distortion(self, logits: Tensor, rows: np.ndarray) -> float | None:
        """None: rounding is no distortion that would have to be shown."""
        return None


class TopRows:
    """The `top_k` largest logits in float16 with their classes, and one value that stands for every other class.

    That value makes the softmax's sum right, so that at T = 1 the kept probabilities are the teacher's own and the
    rest's mass is spread evenly. At another temperature, and in the teacher's correlations among unlikely classes,
    that is wrong: such losses must be refused by whoever reads this.

    Raises:
        InputError: not above 1000 classes, or `top_k` is not below their number.
    """

    def __init__(self, classes: int, top_k: int) -> None:
        if classes <= MANY_CLASSES:
            raise InputError(
                f"teacher.cache_top_k: distorts gradients, and pays above {MANY_CLASSES} classes only "
                f"(these are {classes}); leave it out, all logits are kept then"
            )
        if not 1 <= top_k < classes:
            raise InputError(f"teacher.cache_top_k = {top_k}: must lie in 1 to {classes - 1}")
        self.classes, self.top_k = classes, top_k
        number = np.uint16 if classes <= 2**16 else np.int32
        self.dtype: np.dtype[Any] = np.dtype(
            [("values", np.float16, top_k), ("classes", number, top_k), ("rest", np.float32)]
        )
        self.shape: tuple[int, ...] = ()

    def encode(self, logits: Tensor) -> np.ndarray:
        """[N, K] logits -> [N] rows.

        Raises:
            InputError: another number of classes, or values that float16 does not hold.
        """
        values, classes = _halved(logits, self.classes).topk(self.top_k)
        rest = logits.float().scatter(1, classes, -torch.inf).logsumexp(1) - np.log(self.classes - self.top_k)
        rows = np.empty(len(logits), self.dtype)
        for name, tensor in (("values", values), ("classes", classes), ("rest", rest)):
            rows[name] = tensor.cpu().numpy()
        return rows

    def decode(self, rows: np.ndarray) -> Tensor:
        """[N] rows -> [N, K] float32."""
        found = torch.from_numpy(rows["rest"].copy())[:, None].repeat(1, self.classes)
        classes = torch.from_numpy(rows["classes"].astype(np.int64))
        return found.scatter_(1, classes, torch.from_numpy(rows["values"].astype(np.float32)))

    def distortion(self, logits: Tensor, rows: np.ndarray) -> float:
        """How far the rows bend `kd`'s gradient at T = 1: mean of |p' - p| / |p - 1/K|, the relative error of a student
        that knows nothing yet. It grows as the student nears its teacher.
        """
        whole = logits.float().cpu().softmax(1)
        bent = self.decode(rows).softmax(1) - whole
        return float((bent.norm(dim=1) / (whole - 1 / self.classes).norm(dim=1).clamp(min=1e-12)).mean())


def _halved(logits: Tensor, classes: int) -> Tensor:
    if logits.dim() != 2 or logits.shape[1] != classes:
        raise InputError(
            f"teacher cache: the teacher gives {list(logits.shape)}, not one logit for each of {classes} classes"
        )
    half = logits.to(torch.float16)
    if not bool(half.isfinite().all()):
        worst = float(logits.detach().float().abs().max())
        raise InputError(
            f"teacher cache: a logit of {worst:g} does not fit float16 (65504 at most); train without teacher.cache"
        )
    return half
