"""What a block costs: its widths worked out (`BlockPlan`), its parameters and multiply-accumulates counted from them.

Not here: tensors, and how a table becomes plans (`table`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BlockPlan", "Cost", "block_cost", "head_costs", "make_divisible"]


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Round a width to the nearest multiple of `divisor`, never below it, and never more than 10 % down.

    **Source:** the published code of MobileNetV2, MnasNet and MobileNetV3.

    Example:
        >>> make_divisible(32 * 0.35), make_divisible(18.0), make_divisible(11)
        (16, 24, 16)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True)
class BlockPlan:
    """One block with every width known.

    Attributes:
        block: as in `Row.block`.
        in_channels: entering.
        hidden_channels: inside, after the expansion (equal to `in_channels` where there is none).
        squeeze_channels: of squeeze-excite; 0 = none.
        out_channels: leaving.
        kernel_size: side of the kernel.
        stride: of this block.
        activation: its name.
        expands: whether there is an expansion layer.
        adds_input: whether the input is added to the output.
    """

    block: str
    in_channels: int
    hidden_channels: int
    squeeze_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    activation: str
    expands: bool
    adds_input: bool


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates of a piece of a network, and the shape that it puts out."""

    params: int
    macs: int
    channels: int
    height: int
    width: int


def conv_params(in_channels: int, out_channels: int, kernel_size: int = 1, *, groups: int = 1) -> int:
    """Weights of a convolution without bias and of the batch norm after it."""
    return out_channels * (in_channels // groups) * kernel_size**2 + 2 * out_channels


def block_cost(plan: BlockPlan, height: int, width: int) -> Cost:
    """Count one block that is entered by a map of `height` x `width`; both paddings give the same sizes."""
    inside, out, kernel = plan.hidden_channels, plan.out_channels, plan.kernel_size
    out_height, out_width = -(-height // plan.stride), -(-width // plan.stride)
    before, after = height * width, out_height * out_width
    if plan.block == "conv":
        params = conv_params(plan.in_channels, out, kernel)
        macs = (params - 2 * out) * after
    else:
        params = conv_params(inside, inside, kernel, groups=inside) + conv_params(inside, out)
        macs = inside * (kernel**2 + out) * after
        if plan.expands:
            params += conv_params(plan.in_channels, inside)
            macs += plan.in_channels * inside * before
        if plan.squeeze_channels:
            params += 2 * inside * plan.squeeze_channels + inside + plan.squeeze_channels
            macs += 2 * inside * plan.squeeze_channels
    return Cost(params, macs, out, out_height, out_width)


def head_costs(
    channels: int, conv: int | None, features: int | None, feature_bias: bool, num_classes: int, height: int, width: int
) -> dict[str, Cost]:
    """Count the head that is entered by `channels` x `height` x `width`."""
    costs = {}
    if conv is not None:
        costs["head.conv"] = Cost(conv_params(channels, conv), channels * conv * height * width, conv, height, width)
        channels = conv
    if features is not None:
        costs["head.features"] = Cost(
            channels * features + features * feature_bias, channels * features, features, 1, 1
        )
        channels = features
    return costs | {"classifier": Cost(channels * num_classes + num_classes, channels * num_classes, num_classes, 1, 1)}
