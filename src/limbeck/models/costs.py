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
        kernel_size: side of the kernel; 0 = no depthwise layer.
        stride: of this block.
        activation: its name.
        expands: whether there is an expansion layer.
        skip: what is added to the output: `identity` (the input), `pool` (its averages), `none`.
        start_kernel_size: side of the depthwise kernel before the expansion; 0 = none.
        dilation: of every kernel above 1x1; changes neither counts nor sizes.
        drop_path: share of pictures for which training leaves out all but the skip.
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
    skip: str = "none"
    start_kernel_size: int = 0
    dilation: int = 1
    drop_path: float = 0.0


@dataclass(frozen=True)
class Cost:
    """Parameters and multiply-accumulates of a piece of a network, and the shape that it puts out."""

    params: int
    macs: int
    channels: int
    height: int
    width: int


def block_layers(plan: BlockPlan, before: int, after: int) -> list[tuple[int, int, int, int]]:
    """(inputs per output, outputs, kernel, positions) of each convolution with norm, at `before` and `after` pixels."""
    entering, inside, out, kernel = plan.in_channels, plan.hidden_channels, plan.out_channels, plan.kernel_size
    if plan.block == "conv" or (plan.block == "fused" and not plan.expands):
        return [(entering, out, kernel, after)]
    if plan.block == "fused":
        return [(entering, inside, kernel, after), (inside, out, 1, after)]
    layers = []
    if plan.start_kernel_size:
        before = before if kernel else after  # without a depthwise layer, the stride is here
        layers.append((1, entering, plan.start_kernel_size, before))
    if plan.expands:
        layers.append((entering, inside, 1, before))
    if kernel:
        layers.append((1, inside, kernel, after))
    return [*layers, (inside, out, 1, after)]


def block_cost(plan: BlockPlan, height: int, width: int, dims: int = 2) -> Cost:
    """Count one block that is entered by a map of `height` x `width`; both paddings give the same sizes.

    Kernels reach along `dims` axes: k x k values of pictures, k of signals (whose height is 1).
    """
    out_height, out_width = -(-height // plan.stride), -(-width // plan.stride)
    params = macs = 0
    for inputs, outputs, kernel, positions in block_layers(plan, height * width, out_height * out_width):
        weights = inputs * outputs * kernel**dims
        params, macs = params + weights + 2 * outputs, macs + weights * positions
    if plan.squeeze_channels:
        weights = 2 * plan.hidden_channels * plan.squeeze_channels
        params, macs = params + weights + plan.hidden_channels + plan.squeeze_channels, macs + weights
    return Cost(params, macs, plan.out_channels, out_height, out_width)


def head_costs(
    channels: int,
    conv: int | None,
    features: int | None,
    feature_bias: bool,
    feature_norm: bool,
    num_classes: int,
    height: int,
    width: int,
) -> dict[str, Cost]:
    """Count the head that is entered by `channels` x `height` x `width`."""
    costs = {}
    if conv is not None:
        weights = channels * conv
        costs["head.conv"] = Cost(weights + 2 * conv, weights * height * width, conv, height, width)
        channels = conv
    if features is not None:
        weights = channels * features
        costs["head.features"] = Cost(weights + features * (feature_bias + 2 * feature_norm), weights, features, 1, 1)
        channels = features
    weights = channels * num_classes
    return costs | {"classifier": Cost(weights + num_classes, weights, num_classes, 1, 1)}
