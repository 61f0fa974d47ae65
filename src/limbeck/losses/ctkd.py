"""Curriculum temperature: `kd` at a temperature that is trained against the student. Weights of terms belong to the
method.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.losses.kd import kd

__all__ = ["Ctkd"]


class Ctkd(nn.Module):
    """`kd` at the trained temperature `lowest + span * sigmoid(theta)`, which goes where the loss grows.

    The gradient that reaches `theta` is turned round and multiplied by a factor that rises with a cosine from 0 to 1
    over the share `ramp` of the training: distillation gets harder from easy. The student's own gradient is plain.

    Args:
        lowest: the least temperature, > 0.
        span: what may come on top of it, >= 0.
        ramp: share of training over which the reversed gradient rises, in [0, 1]; the authors' is 10 of 240 epochs.
        theta: where the trained parameter starts.

    Raises:
        InputError: a range that is empty or reaches 0, or a ramp outside [0, 1].

    **Source:** Li, Li, Yang, Zhao, Song, Luo, Li, Yang, "Curriculum Temperature for Knowledge Distillation", AAAI 2023,
        arXiv 2211.16231: the global version, one temperature for all samples.
    **Differs:** the factor rises with every step; the authors' once an epoch.

    Example:
        >>> import torch
        >>> loss = Ctkd(theta=0.0)
        >>> round(loss.temperature().item(), 4)
        11.0
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 3.0]]).log1p()
        >>> loss(student, teacher, progress=torch.tensor(0.5)).backward()
        >>> bool(loss.theta.grad < 0)       # a step of descent raises theta: here a higher temperature is harder
        True
    """

    def __init__(self, *, lowest: float = 1.0, span: float = 20.0, ramp: float = 10 / 240, theta: float = 1.0) -> None:
        super().__init__()
        if not (lowest > 0 and span >= 0):
            raise InputError(f"ctkd: needs lowest > 0 and span >= 0, not {lowest} and {span}")
        if not 0 <= ramp <= 1:
            raise InputError(f"ctkd: ramp must lie in [0, 1], not {ramp}")
        self.lowest, self.span, self.ramp = lowest, span, ramp
        self.theta = nn.Parameter(torch.tensor(float(theta)))

    def temperature(self) -> Tensor:
        """The temperature now, 0-d."""
        return self.lowest + self.span * torch.sigmoid(self.theta)

    def forward(self, student: Tensor, teacher: Tensor, *, progress: Tensor) -> Tensor:
        """T^2 times KL(teacher || student), mean over the batch.

        Args:
            student: [N, K] logits.
            teacher: [N, K] logits; no gradient reaches them.
            progress: share of training done, 0-d.

        Raises:
            InputError: shapes that differ.
        """
        done = (progress / self.ramp).clamp(max=1.0) if self.ramp else torch.ones_like(progress)
        factor = (1 - torch.cos(torch.pi * done)) / 2
        temperature = self.temperature()
        value = temperature.detach()
        turned = value - factor * (temperature - value)  # the same value, its gradient turned round
        return kd(student, teacher, temperature=turned)
