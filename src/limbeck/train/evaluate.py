"""A network's raw outputs and figures on an evaluation set. What the figures mean is the task's to say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.protocols import Metric
from limbeck.train.runtime import choose_device, module_device
from limbeck.types import Batch

__all__ = ["evaluate_network", "evaluating", "network_outputs", "predict_logits"]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, and back into the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def network_outputs(
    network: nn.Module, batches: Any, *, device: str | torch.device | None = None
) -> Iterator[tuple[Any, torch.Tensor]]:
    """Yield (output, target) per batch, both where the network ran; see `predict_logits` for the arguments.

    The network is lent to `device` until the last batch is taken.
    """
    home = module_device(network)
    place = home if device is None else choose_device(device)
    source: Iterable[Batch] = batches.epoch(0) if hasattr(batches, "epoch") else batches
    if place != home:
        network.to(place)
    try:
        with evaluating(network), torch.inference_mode():
            for batch in source:
                batch = batch.to(place)
                yield network(batch.inputs), batch.target
    finally:
        if place != home:
            network.to(home)


def predict_logits(
    network: nn.Module, batches: Any, *, device: str | torch.device | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Run a network over an evaluation set.

    Args:
        network: returns [N, K] logits; its training modes are restored.
        batches: a `Batches` (its first epoch is read) or any iterable of `Batch`.
        device: where to run, `auto` included; None = where the network is.

    Returns:
        logits [N, K] float32 and targets [N], in the order of the batches.

    Raises:
        InputError: the set is empty.
    """
    logits, targets = [], []
    for out, target in network_outputs(network, batches, device=device):
        logits.append(out.float().cpu())
        targets.append(target.cpu())
    if not logits:
        raise InputError("nothing to evaluate: the set has no samples")
    return torch.cat(logits).numpy(), torch.cat(targets).numpy()


def evaluate_network(
    network: nn.Module, batches: Any, metric: Metric, *, device: str | torch.device | None = None
) -> dict[str, float]:
    """Add every batch's output to `metric` and return its figures; see `predict_logits` for the arguments.

    Raises:
        InputError: the set is empty.
    """
    empty = True
    for out, target in network_outputs(network, batches, device=device):
        metric.update(out, target)
        empty = False
    if empty:
        raise InputError("nothing to evaluate: the set has no samples")
    return metric.compute()
