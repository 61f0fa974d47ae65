"""The moving average of weights that is evaluated and kept. Averages that *teach* live in `limbeck.distill`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["WeightAverage"]


class WeightAverage:
    """An exponential moving average of a network's parameters and floating buffers; counters are copied.

    The decay starts low and rises to `decay`, so that a short training does not keep its first weights.

    **Source:** TensorFlow's ExponentialMovingAverage with `num_updates`: min(decay, (1 + n) / (10 + n)).

    Attributes:
        network: the averaged copy, in evaluation mode.
    """

    def __init__(self, source: nn.Module, decay: float) -> None:
        self.decay = decay
        self.source = source
        self.network = copy.deepcopy(source).eval().requires_grad_(False)
        ours, theirs = list(_tensors(self.network)), list(_tensors(source))
        pairs = list(zip(ours, theirs, strict=True))
        self._averaged = [a for a, b in pairs if b.is_floating_point()]
        self._sources = [b for _, b in pairs if b.is_floating_point()]
        self._copied = [(a, b) for a, b in pairs if not b.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the source's weights after optimizer step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self._averaged, self._sources, step)
        for ours, theirs in self._copied:
            ours.copy_(theirs)

    @contextmanager
    @torch.no_grad()
    def lent(self) -> Iterator[None]:
        """Put the averaged weights into the source for the length of the block."""
        own = [tensor.detach().clone() for tensor in _tensors(self.source)]
        try:
            for theirs, ours in zip(_tensors(self.source), _tensors(self.network), strict=True):
                theirs.copy_(ours)
            yield
        finally:
            for theirs, before in zip(_tensors(self.source), own, strict=True):
                theirs.copy_(before)


def _tensors(network: nn.Module) -> Iterator[torch.Tensor]:
    return chain(network.parameters(), network.buffers())
