"""Channel-wise distillation: each channel is a distribution over positions. Its weight is the method's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.losses.align import apply_layer, map_shape, match_channels, resize
from limbeck.losses.checks import feature_pair
from limbeck.losses.kd import kd

__all__ = ["Cwd"]


class Cwd(nn.Module):
    """T^2 times KL(teacher || student) of each channel's softmax over the positions, mean over channels and batch.

    For feature maps, and for maps of logits in dense tasks. A student of another number of channels goes through a 1x1
    convolution, trained along; one of another size is brought to the teacher's.

    Args:
        student_shape: (C, H, W) of the student's maps.
        teacher_shape: of the teacher's, of two positions at least.
        temperature: T > 0 of both softmaxes.

    Raises:
        InputError: other shapes, or a temperature that is not positive.

    **Source:** Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge Distillation for Dense Prediction", ICCV 2021, arXiv
        2011.13256, equations 2 to 4.
    **Differs:** sizes may differ; the authors take equal ones.

    Example:
        >>> import torch
        >>> loss = Cwd((1, 1, 2), (1, 1, 2), temperature=1.0)
        >>> student, teacher = torch.tensor([[[[0.0, 0.0]]]]), torch.tensor([[[[0.0, 3.0]]]]).log1p()   # 1/5 and 4/5
        >>> round(loss(student, teacher).item(), 4)                 # log 2 + 0.2 log 0.2 + 0.8 log 0.8
        0.1927
    """

    def __init__(self, student_shape: Sequence[int], teacher_shape: Sequence[int], *, temperature: float = 4.0) -> None:
        super().__init__()
        channels, *_ = map_shape(student_shape, loss="cwd")
        wanted, height, width = map_shape(teacher_shape, loss="cwd")
        if height * width < 2:
            raise InputError(f"cwd: needs feature maps of two positions or more, the teacher's is {height} x {width}")
        if not temperature > 0:
            raise InputError(f"cwd: temperature must be positive, not {temperature}")
        self.temperature = temperature
        self.project = match_channels(channels, wanted)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The student's [N, C, H, W] maps, then the teacher's, which no gradient reaches.

        Raises:
            InputError: batches that differ, or no maps.
        """
        student, teacher = feature_pair(student, teacher, loss="cwd", maps=True)
        found = apply_layer(self.project, resize(student, teacher.shape[2:]))
        rows = [maps.flatten(2).flatten(0, 1) for maps in (found, teacher)]
        return kd(*rows, temperature=self.temperature)
