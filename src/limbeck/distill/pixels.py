"""Maps of logits as rows, one for each pixel, so that losses of rows of logits teach networks that say something of every
pixel. The losses are `losses`', which of them keep their meaning is said here.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from limbeck.errors import InputError
from limbeck.models.heads.segmentation import enlarge

__all__ = ["PER_PIXEL", "as_pixel_rows", "is_map"]

PER_PIXEL = frozenset(
    ("bdkd", "cross_entropy", "ctkd", "dist", "dkd", "dml", "kd", "kdcl", "lskd", "nkd", "tf_kd", "wsld", "wttm")
)
"""Losses that take each pixel of a map of logits as a row of its own.

**Source:** `kd` so is the pixel-wise distillation of Liu, Chen, Liu, Qin, Luo, Wang, "Structured Knowledge Distillation
for Semantic Segmentation", CVPR 2019, arXiv 1903.04197, section 3.1: the mean over all pixels, void ones too. `dist` is
so applied by its authors' segmentation code. The others, published for classification only, are so by analogy.
"""


def is_map(value: object) -> bool:
    """Whether this is a map of logits or features, [N, C, H, W]."""
    return isinstance(value, Tensor) and value.dim() == 4


def as_pixel_rows(maps: Sequence[Tensor], target: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
    """Rows of several maps, in the same order of pixels: [P, K] each, and [P] labels where there is a target.

    With a target, all maps are brought to its size, and void pixels left out: P = labelled pixels, which may be 0.
    Without one, all are brought to the first map's size, and P = all its pixels. Sizes change by bilinear interpolation.

    Args:
        maps: [N, K, h, w] each, of any sizes.
        target: [N, H, W] classes, -1 = void.

    Raises:
        InputError: a target that is no mask.
    """
    if target is not None and target.dim() != 3:
        raise InputError(f"maps of logits need masks [N, H, W], not a target {list(target.shape)}")
    size = maps[0].shape[-2:] if target is None else target.shape[-2:]
    rows = [enlarge(each, size).movedim(1, -1) for each in maps]
    if target is None:
        return [each.flatten(0, 2) for each in rows], None
    labelled = target >= 0
    return [each[labelled] for each in rows], target[labelled]
