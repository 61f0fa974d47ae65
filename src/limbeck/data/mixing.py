"""Mixup and cutmix, picture by picture: the share, the box and the partner are a pure function of (seed, view, index).

What does not live here: changes of single pictures (`augment`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from limbeck.data.augment import Augment, Stream
from limbeck.data.draws import Draws

__all__ = ["Mix", "class_rows", "draw_mix", "draw_partners", "mix_pictures"]


@dataclass(frozen=True)
class Mix:
    """How N pictures are mixed with their partners.

    Attributes:
        share: [N] float64, what the picture itself keeps; exact after rounding cutmix's box to pixels.
        box: [N, 4] top, left, bottom, right in pixels, filled from the partner; empty for mixup.
        is_box: [N] bool, True = cutmix.
    """

    share: np.ndarray
    box: np.ndarray
    is_box: np.ndarray


def draw_mix(augment: Augment, size: tuple[int, int], draws: Draws) -> Mix:
    """Draw shares and boxes.

    **Source:** Zhang et al., "mixup", arXiv 1710.09412; Yun et al., "CutMix", arXiv 1905.04899: share ~ Beta(alpha,
    alpha), the box has area 1 - share around a uniform centre and is cut at the border, after which the share is
    counted again.
    """
    height, width = size
    coin = draws.uniform(Stream.MIX_KIND)
    is_box = coin < (0.5 if augment.mixup > 0 and augment.cutmix > 0 else float(augment.cutmix > 0))
    uniform = draws.uniform(Stream.MIX_SHARE)
    alpha = np.where(is_box, augment.cutmix, augment.mixup)
    share = betaincinv(alpha, alpha, uniform)  # the inverse of the distribution function: one uniform number, one share
    tall, wide = np.sqrt(1 - share) * height, np.sqrt(1 - share) * width
    middle_down, middle_right = draws.uniform(Stream.MIX_DOWN) * height, draws.uniform(Stream.MIX_RIGHT) * width
    edges = [middle_down - tall / 2, middle_right - wide / 2, middle_down + tall / 2, middle_right + wide / 2]
    limits = (height, width, height, width)
    box = np.stack(
        [np.clip(np.rint(edge), 0, limit) for edge, limit in zip(edges, limits, strict=True)], axis=1
    ).astype(np.int64)
    box[~is_box] = 0
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    return Mix(np.where(is_box, 1 - area / (height * width), share), box, is_box)


def draw_partners(draws: Draws, members: list[np.ndarray]) -> np.ndarray:
    """[N] partner indices: a pool out of `members` is drawn evenly, then a sample within it.

    One pool gives every sample the same chance; one pool per class gives every class the same chance.
    """
    pool = draws.integers(Stream.PARTNER_CLASS, 0, len(members))
    sizes, starts = np.array([len(pool) for pool in members]), np.cumsum([0, *(len(pool) for pool in members[:-1])])
    return np.concatenate(members)[starts[pool] + draws.integers(Stream.PARTNER, 0, sizes[pool])]


def mix_pictures(
    mix: Mix, inputs: Tensor, rows: Tensor, partner_inputs: Tensor, partner_rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Mix [N, C, H, W] pictures and [N, K] class rows with their partners'."""
    height, width = inputs.shape[-2:]
    share = torch.from_numpy(mix.share.astype(np.float32))
    top, left, bottom, right = (torch.from_numpy(mix.box[:, side])[:, None] for side in range(4))
    down, across = torch.arange(height), torch.arange(width)
    inside = ((down >= top) & (down < bottom))[:, None, :, None] & ((across >= left) & (across < right))[
        :, None, None, :
    ]
    is_box = torch.from_numpy(mix.is_box)
    # a picture under cutmix keeps its own bytes exactly outside the box
    blended = (
        torch.lerp(partner_inputs, inputs, torch.where(is_box, 1.0, share)[:, None, None, None])
        if not is_box.all()
        else inputs
    )
    kept = torch.where(is_box[:, None, None, None], inputs, blended)
    return torch.where(inside, partner_inputs, kept), partner_rows + share[:, None] * (rows - partner_rows)


def class_rows(labels: np.ndarray, num_classes: int) -> Tensor:
    """[N, K] float32 one-hot rows; zeros where unlabelled."""
    rows = torch.zeros(len(labels), num_classes)
    known = np.flatnonzero(labels >= 0)
    rows[torch.from_numpy(known), torch.from_numpy(labels[known])] = 1.0
    return rows
