"""The normalisation of networks for signals, a part of each, so that exported ones take raw samples."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import InputError

__all__ = ["unit_power"]

LOWEST = 1e-30  # a frame of zeros stays one


def unit_power(frames: Tensor, channels: int, name: str) -> Tensor:
    """[N, C, T] of any power -> the same with the mean over time of its squared magnitude at 1, in float32 or better.

    Args:
        frames: floating point; float16 holds no squares of raw samples, and is upcast.
        channels: C, 2 for in phase and quadrature.
        name: of the network, for errors.

    Raises:
        InputError: another shape or type.
    """
    if frames.dim() != 3 or frames.shape[1] != channels or not frames.is_floating_point():
        kind = str(frames.dtype).removeprefix("torch.")
        raise InputError(
            f"model '{name}': takes [N, {channels}, T] floating-point frames, got {list(frames.shape)} {kind}"
        )
    if frames.element_size() < 4:
        frames = frames.float()
    power = frames.square().sum(1, keepdim=True).mean(2, keepdim=True)
    return frames * power.clamp(min=LOWEST).rsqrt()
