"""What every network must do: the conformance suite for a model of your own. The networks are `limbeck.models`'."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.types import Outputs

__all__ = ["check_network"]


def check_network(network: Any, *, in_channels: int = 3) -> None:
    """Hold a network to the protocol: pictures in [0, 1] of any size in, logits and named stages out.

    One whose `sample_shape` is (C, T) takes signals: any power must give the same logits; another length works, or is
    refused by an `InputError`. Its mode (training or evaluation) is as before afterwards.

    Raises:
        AssertionError: the first rule that it breaks, in words.
    """
    assert isinstance(network, nn.Module), "a network must be a torch.nn.Module"
    for field in ("num_classes", "input_size", "stage_names"):
        assert hasattr(network, field), f"a network must have '{field}'"
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            _check_forward(network, in_channels)
    finally:
        network.train(was_training)
    _check_gradient(network, in_channels)
    network.train(was_training)


def _check_forward(network: Any, in_channels: int) -> None:
    num_classes = network.num_classes
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(2, *_sample_shape(network, in_channels), generator=generator)
    kept = inputs.clone()
    logits = network(inputs)
    assert torch.equal(inputs, kept), "the forward pass changed its input"
    assert logits.shape == (2, num_classes), f"logits must be [2, {num_classes}], not {list(logits.shape)}"
    assert torch.isfinite(logits).all(), "logits are not finite"
    assert torch.equal(network(inputs), logits), "in evaluation mode the same input must give the same logits"
    torch.testing.assert_close(
        network(inputs[:1]), logits[:1], atol=1e-4, rtol=1e-4, msg="logits must not depend on the batch"
    )
    if inputs.dim() == 3:
        _check_signals(network, inputs, logits)
    else:
        height, width = network.input_size
        other = network(torch.rand(2, in_channels, height + 5, width + 3, generator=generator))
        assert other.shape == logits.shape, "pictures of another size must be resized by the network itself"

    names = tuple(network.stage_names)
    assert len(set(names)) == len(names), "two stages share a name"
    seen = network.observe(inputs, names)
    assert isinstance(seen, Outputs), "observe() must return limbeck.types.Outputs"
    torch.testing.assert_close(
        seen.out, logits, atol=1e-5, rtol=1e-5, msg="observe() must give the logits of forward()"
    )
    assert set(seen.stages) == set(names), (
        f"observe() gave the stages {sorted(seen.stages)}, asked were {sorted(names)}"
    )
    for name, features in seen.stages.items():
        shape = list(features.shape)
        assert len(shape) in (2, 4), f"stage '{name}' must be [N, C, H, W] or pooled [N, C], not {shape}"
        assert shape[0] == 2, f"stage '{name}' has {shape[0]} samples for a batch of 2"
    assert not network.observe(inputs).stages, "observe() without names must return no stages"
    json.dumps(network.architecture(), allow_nan=False)


def _sample_shape(network: Any, in_channels: int) -> tuple[int, ...]:
    return tuple(getattr(network, "sample_shape", (in_channels, *network.input_size)))


def _check_signals(network: Any, inputs: Tensor, logits: Tensor) -> None:
    torch.testing.assert_close(
        network(inputs / 128), logits, atol=1e-4, rtol=1e-4, msg="signals of another power must give the same logits"
    )
    try:
        other = network(torch.cat([inputs, inputs], 2))
    except InputError:
        return
    assert other.shape == logits.shape, "signals of another length must give logits, or an InputError"


def _check_gradient(network: Any, in_channels: int) -> None:
    network.train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    inputs = torch.rand(4, *_sample_shape(network, in_channels), generator=torch.Generator().manual_seed(1))
    network(inputs).square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    network.zero_grad(set_to_none=True)
    network.load_state_dict(state)  # running statistics moved
    assert not idle, f"no gradient reaches {', '.join(idle[:3])}" + (
        f" and {len(idle) - 3} more" if len(idle) > 3 else ""
    )
