"""Attention transfer: where a network looks, as a map of positions without channels. Its weight is the method's."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from limbeck.errors import InputError
from limbeck.losses.align import resize
from limbeck.losses.checks import feature_pair

__all__ = ["at"]


def at(student: Tensor, teacher: Tensor, *, power: float = 2.0) -> Tensor:
    """Mean squared difference of attention maps: mean of |activation|^p over the channels, at length 1 per sample.

    Args:
        student: [N, C, H, W] feature maps.
        teacher: [N, D, H', W'] feature maps; no gradient reaches them. Of each axis the larger size is averaged down to
            the smaller.
        power: p >= 1 of the activations.

    Raises:
        InputError: other shapes, batches that differ, or a power below 1.

    **Source:** Zagoruyko, Komodakis, "Paying More Attention to Attention", ICLR 2017, arXiv 1612.03928, equation 2,
        F_mean^p of section 3.1.
    **Differs:** the mean over batch and positions stands for half the norm, as in the authors' code; the published weight
        of 1000 belongs to it. That code leaves the sign of odd powers in.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[[3.0, 4.0]], [[1.0, 0.0]]]])      # means of squares 5 and 8
        >>> round(at(student, 7 * student).item(), 4), round(at(student, student.flip(3)).item(), 4)
        (0.0, 0.1011)
    """
    student, teacher = feature_pair(student, teacher, loss="at", maps=True)
    if not power >= 1:
        raise InputError(f"at: power must be 1 or more, not {power}")
    size = [min(ours, theirs) for ours, theirs in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    ours, theirs = (_attention(resize(maps, size), power) for maps in (student, teacher.detach()))
    return (ours - theirs).square().mean()


def _attention(maps: Tensor, power: float) -> Tensor:
    """[N, H * W], of length 1."""
    powers = maps.square() if power == 2 else maps.abs().pow(power)
    return normalize(powers.mean(1).flatten(1))
