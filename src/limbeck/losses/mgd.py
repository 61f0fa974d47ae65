"""Masked generative distillation: the teacher's features from the student's, parts of which are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from limbeck.errors import InputError
from limbeck.losses.align import apply_layer, as_map, map_shape, match_channels, resize
from limbeck.losses.checks import feature_pair

__all__ = ["Mgd"]


class Mgd(nn.Module):
    """Squared error of the teacher's features as generated from the student's masked ones, summed within a sample.

    The generator is a 3x3 convolution, ReLU and another one, trained along, as is a 1x1 convolution before the mask
    where the numbers of channels differ. Each step draws its masks anew.

    Args:
        student_shape: (C, H, W) of the student's features, or (C,).
        teacher_shape: of the teacher's.
        masked: share that is hidden, in [0, 1).
        by: what is hidden as one: `channels` (classification) or `positions` (dense tasks).

    Raises:
        InputError: other shapes, or options out of range.

    **Source:** Yang, Li, Shao, Shi, Yuan, Yuan, "Masked Generative Distillation", ECCV 2022, arXiv 2205.01529, equations
        1 to 4; masks of whole channels as in the authors' code for classification.
    **Differs:** a student of another size is brought to the teacher's; the authors take equal ones.

    Example:
        >>> import torch
        >>> loss = Mgd((4, 8, 8), (6, 8, 8), masked=0.5)
        >>> loss(torch.zeros(2, 4, 8, 8), torch.ones(2, 6, 8, 8)).shape
        torch.Size([])
    """

    def __init__(
        self,
        student_shape: Sequence[int],
        teacher_shape: Sequence[int],
        *,
        masked: float = 0.15,
        by: Literal["channels", "positions"] = "channels",
    ) -> None:
        super().__init__()
        if not 0 <= masked < 1 or by not in ("channels", "positions"):
            raise InputError(f"mgd: needs masked in [0, 1) and by 'channels' or 'positions', not {masked} and {by!r}")
        channels, *_ = map_shape(student_shape, loss="mgd")
        wanted, *_ = map_shape(teacher_shape, loss="mgd")
        self.masked, self.by = masked, by
        self.project = match_channels(channels, wanted)
        self.generate = nn.Sequential(
            nn.Conv2d(wanted, wanted, 3, padding=1), nn.ReLU(), nn.Conv2d(wanted, wanted, 3, padding=1)
        )

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The student's [N, C, H, W] or [N, C] features, then the teacher's, which no gradient reaches.

        Raises:
            InputError: batches that differ, or no features.
        """
        student, teacher = (as_map(features) for features in feature_pair(student, teacher, loss="mgd"))
        found = apply_layer(self.project, resize(student, teacher.shape[2:]))
        n, channels, height, width = found.shape
        shape = (n, channels, 1, 1) if self.by == "channels" else (n, 1, height, width)
        shown = torch.rand(shape, device=found.device) >= self.masked
        made = apply_layer(self.generate, found * shown)
        return mse_loss(made.to(teacher.dtype), teacher.detach(), reduction="sum") / n
