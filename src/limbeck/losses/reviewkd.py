"""Knowledge review: every level of the student, with all deeper ones, learns a level of the teacher. No weight of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, mse_loss

from limbeck.errors import InputError
from limbeck.losses.align import apply_layer, as_map, map_shape
from limbeck.losses.checks import feature_pair, in_float32

__all__ = ["ReviewKd"]

POOLED = (4, 2, 1)  # positions per side of the coarser comparisons, each of half the weight of the one before
MOST_CHANNELS = 512  # of the features that are handed from level to level


class ReviewKd(nn.Module):
    """Hierarchical context loss between the teacher's levels and the student's, fused from the deepest to the first.

    Per level: mean squared error at full size and of the averages over 4x4, 2x2 and 1 parts (those smaller than the
    map), weighted 1, 1/2, 1/4, 1/8 and divided by their sum; the sum over the levels. The fusion is trained along.

    Args:
        student_shapes: (C, H, W) of each level from input to output; (C,) of a pooled one.
        teacher_shapes: of the teacher's, as many.

    Raises:
        InputError: other shapes, or numbers of levels that differ.

    **Source:** Chen, Liu, Zhao, Jia, "Distilling Knowledge via Knowledge Review", CVPR 2021, arXiv 2104.09044, equations
        5 to 7, figure 3; layers and weights of the levels as in the authors' code.
    **Differs:** sizes are read from the features, and need not be squares. The authors' teachers are looked at before
        the last activation of a stage, which is for the addresses to say.

    Example:
        >>> import torch
        >>> loss = ReviewKd([(4, 8, 8), (8, 4, 4)], [(6, 8, 8), (9, 4, 4)])
        >>> students, teachers = ([torch.ones(2, *shape) for shape in shapes] for shapes in (
        ...     [(4, 8, 8), (8, 4, 4)], [(6, 8, 8), (9, 4, 4)]))
        >>> loss(students, teachers).shape
        torch.Size([])
    """

    def __init__(self, student_shapes: Sequence[Sequence[int]], teacher_shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        if len(student_shapes) != len(teacher_shapes):
            raise InputError(
                f"reviewkd: {len(student_shapes)} levels of the student, {len(teacher_shapes)} of the teacher"
            )
        ours, theirs = (
            [map_shape(shape, loss="reviewkd")[0] for shape in shapes] for shapes in (student_shapes, teacher_shapes)
        )
        width = min(MOST_CHANNELS, ours[-1])
        self.levels = nn.ModuleList(
            Fusion(channels, width, wanted, takes_deeper=level < len(ours) - 1)
            for level, (channels, wanted) in enumerate(zip(ours, theirs, strict=True))
        )

    def forward(self, students: Sequence[Tensor], teachers: Sequence[Tensor]) -> Tensor:
        """The student's features level by level, then the teacher's, which no gradient reaches.

        Raises:
            InputError: batches or numbers of levels that differ.
        """
        if not len(students) == len(teachers) == len(self.levels):
            raise InputError(f"reviewkd: needs {len(self.levels)} levels, not {len(students)} and {len(teachers)}")
        deeper: Tensor | None = None
        terms = []
        for fuse, student, teacher in zip(reversed(self.levels), reversed(students), reversed(teachers), strict=True):
            ours, theirs = (as_map(features) for features in feature_pair(student, teacher, loss="reviewkd"))
            found, deeper = fuse(ours, deeper, theirs.shape[2:])
            terms.append(_hierarchical(in_float32(found).to(theirs.dtype), theirs.detach()))
        return torch.stack(terms).sum()


class Fusion(nn.Module):
    """Attention-based fusion of a level with what the deeper ones handed over, and the way out to the teacher's width."""

    def __init__(self, channels: int, width: int, wanted: int, *, takes_deeper: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
        self.leave = nn.Sequential(nn.Conv2d(width, wanted, 3, padding=1, bias=False), nn.BatchNorm2d(wanted))
        self.attention = nn.Sequential(nn.Conv2d(2 * width, 2, 1), nn.Sigmoid()) if takes_deeper else None
        for block in (self.enter, self.leave):
            nn.init.kaiming_uniform_(block[0].weight, a=1)  # type: ignore[arg-type]

    def forward(self, level: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher's level of `size`, and what is handed to the level before."""
        fused = apply_layer(self.enter, level)
        if self.attention is not None and deeper is not None:
            deeper = interpolate(deeper, fused.shape[2:])
            ours, theirs = self.attention(torch.cat([fused, deeper], 1)).split(1, 1)
            fused = fused * ours + deeper * theirs
        if fused.shape[2:] != tuple(size):
            fused = interpolate(fused, tuple(size))
        return self.leave(fused), fused


def _hierarchical(student: Tensor, teacher: Tensor) -> Tensor:
    value, weight, total = mse_loss(student, teacher), 1.0, 1.0
    for parts in POOLED:
        if parts < student.shape[2]:
            weight /= 2
            total += weight
            value = value + weight * mse_loss(adaptive_avg_pool2d(student, parts), adaptive_avg_pool2d(teacher, parts))
    return value / total
