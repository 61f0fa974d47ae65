"""Hint regression: a layer maps the student's features to the teacher's. Which stages are paired is the method's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import mse_loss, relu

from limbeck.losses.align import apply_layer, as_map, map_shape, resize
from limbeck.losses.checks import feature_pair

__all__ = ["FitNet"]


class FitNet(nn.Module):
    """Mean squared error between the teacher's features and the student's after a regressor, trained along.

    The regressor is a convolution, batch norm and, with `rectify`, ReLU. Sizes that agree take a 1x1 convolution, twice
    the teacher's size a 3x3 of stride 2, half of it a transposed 4x4 of stride 2; other sizes are brought to the
    teacher's before a 1x1 convolution.

    Args:
        student_shape: (C, H, W) of the student's features, or (C,).
        teacher_shape: of the teacher's.
        rectify: whether the regressor ends in ReLU. Leave it out for teachers' features that can be negative: those
            before an activation, or of a transformer.

    Raises:
        InputError: other shapes.

    **Source:** Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015, arXiv
        1412.6550, equation 3; the regressor and the mean as in the code of Tian, Krishnan, Isola (RepDistiller), to
        which the published weight of 100 belongs.
    **Differs:** hint and labels are learned together, as there, not one after the other; sizes that differ by no factor
        of two are resized, where that code takes kernels as large as the difference, or fails.

    Example:
        >>> import torch
        >>> loss = FitNet((4, 8, 8), (6, 4, 4)).eval()
        >>> loss(torch.zeros(2, 4, 8, 8), torch.ones(2, 6, 4, 4)).shape
        torch.Size([])
    """

    def __init__(self, student_shape: Sequence[int], teacher_shape: Sequence[int], *, rectify: bool = True) -> None:
        super().__init__()
        channels, *size = map_shape(student_shape, loss="fitnet")
        wanted, *self.size = map_shape(teacher_shape, loss="fitnet")
        self.rectify = rectify
        self.convolution: nn.Conv2d | nn.ConvTranspose2d
        if size == [2 * side for side in self.size]:
            self.convolution = nn.Conv2d(channels, wanted, 3, stride=2, padding=1)
        elif [2 * side for side in size] == self.size:
            self.convolution = nn.ConvTranspose2d(channels, wanted, 4, stride=2, padding=1)
        else:
            self.convolution = nn.Conv2d(channels, wanted, 1)
        self.norm = nn.BatchNorm2d(wanted)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The student's [N, C, H, W] or [N, C] features, then the teacher's, which no gradient reaches.

        Raises:
            InputError: batches that differ, or no features.
        """
        student, teacher = (as_map(features) for features in feature_pair(student, teacher, loss="fitnet"))
        if self.convolution.kernel_size == (1, 1):
            student = resize(student, self.size)
        found = apply_layer(self.norm, apply_layer(self.convolution, student))
        found = relu(found) if self.rectify else found
        return mse_loss(found.to(teacher.dtype), teacher.detach())
