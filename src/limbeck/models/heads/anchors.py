"""Default boxes of SSD, and boxes written as offsets from them. Not here: which of them mean an object (`detections`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from limbeck.errors import unknown_name

__all__ = ["ANCHORS", "anchor_shapes", "decode_boxes", "encode_boxes", "make_anchors"]

ANCHORS = ("paper", "torchvision")
LOWEST, HIGHEST = 0.2, 0.95  # scales of the first and the last map
OFFSET_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of x, y, width, height, in both code bases
LARGEST_LOG = math.log(1000 / 16)  # of a decoded side over its anchor's: exp must not overflow


def anchor_shapes(maps: int, kind: str = "paper") -> list[list[tuple[float, float]]]:
    """(width, height) of each anchor of a position, per map, as shares of the picture.

    Scales rise evenly from 0.2 to 0.95 over the maps; ratios are 1, 2, 1/2, 3, 1/3, and a further square has the
    geometric mean of a map's scale and the next one's (1 after the last). `paper` puts three on the first map: a square
    of scale 0.1, and the ratios 2 and 1/2; `torchvision` puts all six on every map, in another order, and cuts sides at
    the picture's.

    Args:
        maps: how many there are, two at least.
        kind: one of `ANCHORS`.

    Raises:
        InputError: an unknown kind.

    **Source:** Liu et al. 2016, arXiv 1512.02325, section 2.2; `paper` as MobileNetV3's detection code has it (Howard et
    al. 2019, arXiv 1905.02244).

    Example:
        >>> [len(shapes) for shapes in anchor_shapes(6)], [len(shapes) for shapes in anchor_shapes(6, "torchvision")]
        ([3, 6, 6, 6, 6, 6], [6, 6, 6, 6, 6, 6])
    """
    if kind not in ANCHORS:
        raise unknown_name("anchors", kind, ANCHORS)
    scales = [LOWEST + (HIGHEST - LOWEST) * i / (maps - 1) for i in range(maps)] + [1.0]
    shapes = []
    for i, (scale, after) in enumerate(pairwise(scales)):
        between = math.sqrt(scale * after)
        if kind == "torchvision":
            wide = [(scale * math.sqrt(ratio), scale / math.sqrt(ratio)) for ratio in (2, 3)]
            own = [(scale, scale), (between, between)]
            own += [side for width, height in wide for side in ((width, height), (height, width))]
            own = [(min(width, 1.0), min(height, 1.0)) for width, height in own]
        else:
            ratios = (2, 1 / 2) if i == 0 else (1, 2, 1 / 2, 3, 1 / 3)
            own = [(scale * math.sqrt(ratio), scale / math.sqrt(ratio)) for ratio in ratios]
            own = [(0.1, 0.1), *own] if i == 0 else [*own, (between, between)]
        shapes.append(own)
    return shapes


def make_anchors(sizes: Sequence[tuple[int, int]], kind: str = "paper") -> Tensor:
    """All anchors [A, 4] as x1, y1, x2, y2, shares of the picture: map by map, row by row, position by position.

    Args:
        sizes: (height, width) of each map.
        kind: one of `ANCHORS`.
    """
    boxes = []
    for (height, width), shapes in zip(sizes, anchor_shapes(len(sizes), kind), strict=True):
        y, x = ((torch.arange(side, dtype=torch.float64) + 0.5) / side for side in (height, width))
        centre = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 1, 2)
        half = torch.tensor(shapes, dtype=torch.float64) / 2
        boxes.append(torch.cat([centre - half, centre + half], -1).reshape(-1, 4))
    return torch.cat(boxes).float()


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes [..., 4] as offsets from their anchors [..., 4]: of the centre, over the anchor's sides, and log ratios of
    sides; weighted by 10, 10, 5, 5.

    **Source:** SSD, equation 2, with the variances of its code.

    Example:
        >>> anchor = torch.tensor([0.0, 0.0, 1.0, 1.0])
        >>> encode_boxes(torch.tensor([0.5, 0.0, 1.5, 1.0]), anchor)
        tensor([5., 0., 0., 0.])
    """
    centre, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    own_centre, own_sides = (anchors[..., :2] + anchors[..., 2:]) / 2, anchors[..., 2:] - anchors[..., :2]
    offsets = torch.cat([(centre - own_centre) / own_sides, (sides / own_sides).log()], -1)
    return offsets * offsets.new_tensor(OFFSET_WEIGHTS)


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """The boxes [..., 4] behind offsets [..., 4] from anchors: what `encode_boxes` undoes; sides up to 62.5 anchors'."""
    x, y, width, height = offsets.unbind(-1)
    wx, wy, ww, wh = OFFSET_WEIGHTS
    sides = anchors[..., 2:] - anchors[..., :2]
    centre = (anchors[..., :2] + anchors[..., 2:]) / 2 + torch.stack([x / wx, y / wy], -1) * sides
    half = torch.stack([width / ww, height / wh], -1).clamp(max=LARGEST_LOG).exp() * sides / 2
    return torch.cat([centre - half, centre + half], -1)
