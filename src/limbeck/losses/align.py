"""How features of one network are brought to the form of another's: layers that are trained along, and resizing. No
loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import InputError

__all__ = ["apply_layer", "as_map", "map_shape", "match_channels", "resize"]


def map_shape(shape: Sequence[int], *, loss: str) -> tuple[int, int, int]:
    """(C, H, W) of a feature's shape without the batch axis; pooled features, (C,), are maps of one position.

    Raises:
        InputError: neither of these forms.
    """
    if len(shape) == 1:
        return (shape[0], 1, 1)
    if len(shape) != 3:
        raise InputError(f"{loss}: needs feature maps [N, C, H, W] or pooled features [N, C], not {['N', *shape]}")
    channels, height, width = shape
    return channels, height, width


def as_map(feature: Tensor) -> Tensor:
    """[N, C, H, W] as it is, [N, C] as [N, C, 1, 1]."""
    return feature[:, :, None, None] if feature.dim() == 2 else feature


def match_channels(ours: int, theirs: int) -> nn.Module:
    """A 1x1 convolution to the other's number of channels; nothing where they agree."""
    return nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, 1)


def apply_layer(layer: nn.Module, feature: Tensor) -> Tensor:
    """Run a layer on a feature of any precision: in the layer's own, or in that of autocast where it is on."""
    first = next(layer.parameters(), None)
    if first is None or torch.is_autocast_enabled(feature.device.type):
        return layer(feature)
    return layer(feature.to(first.dtype))


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """[N, C, H, W] in another size: the mean over each part where it shrinks, bilinear where it grows."""
    height, width = maps.shape[2:]
    high, wide = size
    if (high, wide) != (height, width) and high <= height and wide <= width:
        return functional.adaptive_avg_pool2d(maps, (high, wide))
    if (high, wide) != (height, width):
        return functional.interpolate(maps, (high, wide), mode="bilinear", align_corners=False)
    return maps
