"""ClST: a transformer with convolutions for signals, and what it becomes without each of its parts.

Not here: its students (`compact`), the networks that it is compared with (`baselines`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import InputError, unknown_name
from limbeck.models.signal.network import Keep, SignalNetwork

__all__ = ["Clst", "ConvTransformer", "SpatialChannelAttention"]

COMBINE = ("sum", "max", "concat1x1")
KERNELS = (7, 3, 3)
LONG = 512  # samples from which the first two embeddings go by 4 and not by 2


class SpatialChannelAttention(nn.Module):
    """PSCA: a gate per channel and a gate per time step, side by side, added to what they gate.

    With all parameters at zero the output is 1.5 times the input. Ours, after scSE's topology and CBAM's gates (Woo et
    al. 2018, arXiv 1807.06521): the paper's layers could not be read.

    Args:
        channels: C.
        combine: what becomes of the two gated maps: their mean (`sum`), their maximum, or a 1x1 convolution of both.
    """

    def __init__(self, channels: int, combine: str = "sum") -> None:
        super().__init__()
        if combine not in COMBINE:
            raise unknown_name("combine", combine, COMBINE)
        inside = max(channels // 8, 4)
        self.reduce, self.expand = nn.Linear(channels, inside), nn.Linear(inside, channels)
        self.spatial = nn.Conv1d(2, 1, 7, padding=3, bias=False)
        self.combine = combine
        self.join = nn.Conv1d(2 * channels, channels, 1) if combine == "concat1x1" else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, T] -> the same shape."""
        mean, peak = self.expand(F.relu(self.reduce(x.mean(2)))), self.expand(F.relu(self.reduce(x.amax(2))))
        channel = x * torch.sigmoid(mean + peak).unsqueeze(2)
        spatial = x * torch.sigmoid(self.spatial(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))
        if self.join is not None:
            return x + self.join(torch.cat([channel, spatial], 1))
        return x + (torch.maximum(channel, spatial) if self.combine == "max" else 0.5 * (channel + spatial))


class Projection(nn.Module):
    """Tokens to queries, keys or values: a depthwise convolution over time, norm, then a dense layer.

    Args:
        channels: C.
        stride: of the convolution: tokens out are those in over this, rounded up.
        is_convolution: False leaves the dense layer alone, and with it the stride.
    """

    def __init__(self, channels: int, stride: int, is_convolution: bool) -> None:
        super().__init__()
        self.depthwise = (
            nn.Conv1d(channels, channels, 3, stride, 1, groups=channels, bias=False) if is_convolution else None
        )
        self.norm = nn.BatchNorm1d(channels) if is_convolution else None
        self.dense = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, T, C] -> [N, ceil(T / stride), C]."""
        if self.depthwise is not None and self.norm is not None:
            tokens = self.norm(self.depthwise(tokens.transpose(1, 2))).transpose(1, 2)
        return self.dense(tokens)


class ConvTransformer(nn.Module):
    """CTP: a transformer block, norms first, whose queries, keys and values are convolutional projections.

    Keys and values have half as many tokens as queries, rounded up.

    **Source:** Wu et al. 2021, arXiv 2103.15808 (CvT); scaled by the width of a head, as is usual, and not by the whole.

    Args:
        channels: C.
        heads: of attention; a divisor of C.
        ratio: inner width of the dense layers over C.
        dropout: inside the dense layers.
        is_convolution: False = plain dense projections of every token.
    """

    def __init__(self, channels: int, heads: int, ratio: int, dropout: float, is_convolution: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query = Projection(channels, 1, is_convolution)
        self.key = Projection(channels, 2, is_convolution)
        self.value = Projection(channels, 2, is_convolution)
        self.output = nn.Linear(channels, channels)
        self.expand, self.project = nn.Linear(channels, ratio * channels), nn.Linear(ratio * channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, T, C] -> the same shape."""
        z = self.norm1(tokens)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query(z), self.key(z), self.value(z))
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.output(attended.transpose(1, 2).flatten(2))
        inside = self.dropout(F.gelu(self.expand(self.norm2(tokens))))
        return tokens + self.dropout(self.project(inside))


class Embedding(nn.Module):
    """Convolution, norm and GELU: tokens of a new width, fewer of them."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, channels, kernel_size, stride, kernel_size // 2)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, T] -> [N, C', ceil(T / stride)]."""
        return F.gelu(self.norm(self.conv(x)))


class Clst(SignalNetwork):
    """Stages of: embedding by convolution, spatial-channel attention, transformer blocks with convolutional projections.

    **Source:** Hou et al. 2024, "ClST: A Convolutional Transformer Framework for Automatic Modulation Recognition by
    Knowledge Distillation", IEEE Trans. Wireless Commun. 23(7), arXiv 2312.17446, for the three parts and the hierarchy.
    **Differs:** a reconstruction: widths, depths, kernels and the inside of PSCA are ours, in the manner of CvT; the
    paper's could not be read, and no figure of the paper is claimed. Tokens are averaged, there is no class token, so
    that frames may be of any length.

    Args:
        name: as in `SignalNetwork`.
        widths: C of each stage.
        heads: of attention, likewise.
        depths: transformer blocks, likewise.
        ratio: inner width of the dense layers over C.
        dropout: before the classifier and inside the dense layers.
        strides: of the embeddings; None = 2, 2, 2 below 512 samples and 4, 4, 2 from there on.
        psca: False leaves it out: a CvT for signals.
        conv_projection: False = dense projections.
        hierarchy: False = one stage of the last width with all blocks, embedded at the whole stride at once.
        combine: as in `SpatialChannelAttention`.
        owns: as in `SignalNetwork`.

    Raises:
        InputError: an option out of range.
    """

    def __init__(
        self,
        name: str,
        *,
        widths: Sequence[int],
        heads: Sequence[int],
        depths: Sequence[int],
        ratio: int,
        dropout: float = 0.1,
        strides: Sequence[int] | None = None,
        psca: bool = True,
        conv_projection: bool = True,
        hierarchy: bool = True,
        combine: str = "sum",
        **owns: Any,
    ) -> None:
        strides = check_strides(name, strides, owns["input_size"][1], len(widths))
        options = {
            "dropout": dropout,
            "strides": list(strides),
            "psca": psca,
            "conv_projection": conv_projection,
            "hierarchy": hierarchy,
            "combine": combine,
        }
        for option in ("psca", "conv_projection", "hierarchy"):
            if type(options[option]) is not bool:
                raise InputError(f"model '{name}': {option} must be true or false, got {options[option]!r}")
        kernels: Sequence[int] = KERNELS
        if not hierarchy:
            whole = math.prod(strides)
            widths, heads, depths, strides, kernels = widths[-1:], heads[-1:], [sum(depths)], [whole], [2 * whole - 1]
        super().__init__(name, stages=len(widths), options=options, **owns)
        channels = self.in_channels
        for number, (width, head, depth, kernel_size, stride) in enumerate(
            zip(widths, heads, depths, kernels, strides, strict=True), start=1
        ):
            self.add_module(f"embed{number}", Embedding(channels, width, kernel_size, stride))
            self.add_module(f"attend{number}", SpatialChannelAttention(width, combine) if psca else nn.Identity())
            blocks = [ConvTransformer(width, head, ratio, dropout, conv_projection) for _ in range(depth)]
            self.add_module(f"blocks{number}", nn.Sequential(*blocks))
            channels = width
        self.norm = nn.LayerNorm(channels)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, self.num_classes))
        draw(self)

    @property
    def last_layer(self) -> nn.Module:
        """Dropout and the classifier."""
        return self.classifier

    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """The norm of the tokens' mean."""
        x = frames
        for number, stage in enumerate(self.numbered, start=1):
            x = getattr(self, f"attend{number}")(getattr(self, f"embed{number}")(x))
            x = keep(stage, getattr(self, f"blocks{number}")(x.transpose(1, 2)).transpose(1, 2))
        return self.norm(x.mean(2))

    def layer_of(self, parameter: str) -> str:
        """A stage's embedding with its attention, each block, norm, classifier."""
        pieces = parameter.split(".")
        if pieces[0].startswith("attend"):
            return pieces[0].replace("attend", "embed")
        return ".".join(pieces[:2]) if pieces[0].startswith("blocks") else pieces[0]


class PatchTransformer(SignalNetwork):
    """A plain vision transformer for signals: patches of 8 samples, learned places, pre-norm blocks, the tokens' mean.

    **Source:** Dosovitskiy et al. 2021, arXiv 2010.11929, with the mean in place of the class token.

    Args:
        name: as in `SignalNetwork`.
        width: C.
        heads: of attention.
        depth: blocks.
        patch: samples of a token.
        dropout: before the classifier and inside the dense layers.
        owns: as in `SignalNetwork`; the length must be a multiple of `patch`.

    Raises:
        InputError: the length is not.
    """

    def __init__(
        self, name: str, *, width: int, heads: int, depth: int, patch: int = 8, dropout: float = 0.1, **owns: Any
    ) -> None:
        length = owns["input_size"][1]
        if length % patch:
            raise InputError(f"model '{name}': frames must be a multiple of {patch} samples long, not {length}")
        super().__init__(name, stages=depth, options={"dropout": dropout}, any_length=False, **owns)
        self.embed = nn.Conv1d(self.in_channels, width, patch, patch)
        self.places = nn.Parameter(torch.zeros(1, length // patch, width))
        nn.init.trunc_normal_(self.places, std=0.02)
        self.blocks = nn.ModuleList(ConvTransformer(width, heads, 2, dropout, False) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, self.num_classes))
        draw(self)

    @property
    def last_layer(self) -> nn.Module:
        """Dropout and the classifier."""
        return self.classifier

    def features(self, frames: Tensor, keep: Keep) -> Tensor:
        """The norm of the tokens' mean."""
        tokens = self.embed(frames).transpose(1, 2) + self.places
        for stage, block in zip(self.numbered, self.blocks, strict=True):
            tokens = block(tokens)
            keep(stage, tokens.transpose(1, 2))
        return self.norm(tokens.mean(1))

    def layer_of(self, parameter: str) -> str:
        """The embedding with its places, each block, norm, classifier."""
        pieces = parameter.split(".")
        return ".".join(pieces[:2]) if pieces[0] == "blocks" else "embed" if pieces[0] == "places" else pieces[0]


def check_strides(name: str, strides: Sequence[int] | None, length: int, stages: int) -> tuple[int, ...]:
    """The strides of the embeddings.

    Raises:
        InputError: not one whole number above 0 for each stage.
    """
    if strides is None:
        return (4, 4, 2) if length >= LONG else (2, 2, 2)
    if len(strides) != stages or not all(type(stride) is int and stride > 0 for stride in strides):
        raise InputError(f"model '{name}': strides must be {stages} whole numbers of at least 1, got {list(strides)}")
    return tuple(strides)


def draw(network: nn.Module) -> None:
    """Fresh weights: dense layers from a normal of 0.02, cut at two deviations, as transformers have; biases 0.

    **Source:** the published code of CvT.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
