"""The blocks that tables are built of, as modules. Not here: their widths (`costs`), their joining (`network`)."""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from limbeck.models.costs import BlockPlan
from limbeck.models.table import Table

__all__ = [
    "INVERTED_LAYERS",
    "ConvNorm",
    "Fused",
    "Inverted",
    "SamePadConv2d",
    "Separable",
    "SqueezeExcite",
    "build_block",
    "initialise",
]

# Never in place: a tapped or observed feature map must not change after it was handed out.
ACTIVATION_MODULES: dict[str, Any] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_swish": nn.Hardswish,
    "silu": nn.SiLU,
    "identity": nn.Identity,
    "hard_sigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
}


INVERTED_LAYERS = ("start", "expand", "depthwise", "squeeze_excite", "project")  # in order of running


class SamePadConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: the odd pixel goes to the right and the bottom."""

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', ceil(H / stride), ceil(W / stride)]."""
        pads: list[int] = []
        for axis, place in ((1, 3), (0, 2)):
            # whole numbers, also in a trace: pads worked out in the graph would keep runtimes from folding them
            side, stride = int(inputs.shape[place]), self.stride[axis]
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            total = max((-(-side // stride) - 1) * stride + reach - side, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(inputs, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        activation: str,
        conventions: Table,
        *,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        # At stride 1 an odd kernel's SAME padding is symmetric, so that only strided convolutions need the other form.
        same = conventions.padding == "same" and stride > 1
        dilation = dilation if kernel_size > 1 else 1
        # Signals are maps of height 1: everything that looks at maps (pooling, int8, slicing) takes them as they are.
        reach: tuple[int, int] = (kernel_size if conventions.dims == 2 else 1, kernel_size)
        self.conv: nn.Conv2d = (SamePadConv2d if same else nn.Conv2d)(
            in_channels,
            out_channels,
            reach,
            (stride if conventions.dims == 2 else 1, stride),
            0 if same else (dilation * (reach[0] // 2), dilation * (kernel_size // 2)),
            dilation,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(out_channels, eps=conventions.bn_eps, momentum=conventions.bn_momentum)
        self.activation = ACTIVATION_MODULES[activation]()

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return self.activation(self.norm(self.conv(inputs)))


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from the means of all of them.

    **Source:** Hu et al. 2018, arXiv 1709.01507; gate and place as in MobileNetV3 (after the depthwise activation).
    """

    def __init__(self, plan: BlockPlan, conventions: Table) -> None:
        super().__init__()
        channels, squeezed, act = plan.hidden_channels, plan.squeeze_channels, conventions.se_activation
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = ACTIVATION_MODULES[plan.activation if act == "block" else act]()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = ACTIVATION_MODULES[conventions.se_gate]()

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        means = inputs.mean(
            (2, 3), keepdim=True
        )  # a mean gives both ONNX exporters the same operator; adaptive pooling does not
        return inputs * self.gate(self.expand(self.activation(self.reduce(means))))


class Separable(nn.Module):
    """Depthwise convolution, then 1x1, norm and activation after each (MobileNetV1)."""

    def __init__(self, plan: BlockPlan, conventions: Table) -> None:
        super().__init__()
        channels, act, dilation = plan.in_channels, plan.activation, plan.dilation
        self.depthwise = ConvNorm(
            channels, channels, plan.kernel_size, plan.stride, act, conventions, groups=channels, dilation=dilation
        )
        self.project = ConvNorm(channels, plan.out_channels, 1, 1, act, conventions)

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return self.project(self.depthwise(inputs))


def build_skip(plan: BlockPlan, conventions: Table) -> nn.Module | None:
    """What a block adds to its output, made of its input; None = nothing."""
    if plan.skip == "pool":
        if conventions.dims == 1:
            return nn.AvgPool2d((1, 3), (1, plan.stride), padding=(0, 1), count_include_pad=False)
        return nn.AvgPool2d(3, plan.stride, padding=1, count_include_pad=False)
    return nn.Identity() if plan.skip == "identity" else None


def build_drop(plan: BlockPlan) -> nn.Module | None:
    """What leaves a block out for some pictures of a training batch and scales it up for the others; None = nothing.

    **Source:** Huang et al. 2016, arXiv 1603.09382; by picture, scaled in training, and rising from 0 at the first block
    as in the published code of EfficientNet.
    """
    return StochasticDepth(plan.drop_path, "row") if plan.drop_path else None


class Inverted(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise, squeeze-excite, linear 1x1 projection, plus the input if it fits.

    A further depthwise layer may come first, the middle one may be missing: the universal inverted bottleneck.

    **Source:** Sandler et al. 2018, arXiv 1801.04381, Table 1; squeeze-excite as in MnasNet (1807.11626) and
    MobileNetV3; the universal form of Qin et al. 2024, arXiv 2404.10518.
    """

    def __init__(self, plan: BlockPlan, conventions: Table) -> None:
        super().__init__()
        outside, inside, act = plan.in_channels, plan.hidden_channels, plan.activation
        kernel, start, stride = plan.kernel_size, plan.start_kernel_size, plan.stride

        def depthwise(channels: int, side: int, stride: int, activation: str) -> ConvNorm:
            layer = (channels, channels, side, stride, activation, conventions)
            return ConvNorm(*layer, groups=channels, dilation=plan.dilation)

        self.start = depthwise(outside, start, 1 if kernel else stride, "identity") if start else None
        self.expand = ConvNorm(outside, inside, 1, 1, act, conventions) if plan.expands else None
        self.depthwise = depthwise(inside, kernel, stride, act) if kernel else None
        self.squeeze_excite = SqueezeExcite(plan, conventions) if plan.squeeze_channels else None
        self.project = ConvNorm(inside, plan.out_channels, 1, 1, "identity", conventions)
        self.drop = build_drop(plan)
        self.skip = build_skip(plan, conventions)

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return self.show(inputs, {})

    def show(self, inputs: Tensor, inner: dict[str, Tensor | None]) -> Tensor:
        """The same pass; fills the maps inside the block that `inner` names: `start`, `expand`, `depthwise` ...

        A layer that the block does not have shows the map that would enter it.
        """
        x = inputs
        for name in INVERTED_LAYERS:
            layer = getattr(self, name)
            x = x if layer is None else layer(x)
            if name in inner:
                inner[name] = x
        x = x if self.drop is None else self.drop(x)
        return x if self.skip is None else x + self.skip(inputs)


class Fused(nn.Module):
    """Fused inverted residual: k x k expansion, squeeze-excite, linear 1x1 projection, plus the input if it fits.

    Without an expansion it is one k x k convolution with activation.

    **Source:** Tan and Le 2021, arXiv 2104.00298 (EfficientNetV2); first layers of MobileNetV4 (2404.10518).
    """

    def __init__(self, plan: BlockPlan, conventions: Table) -> None:
        super().__init__()
        outside, inside, out, act = plan.in_channels, plan.hidden_channels, plan.out_channels, plan.activation
        kernel, stride, dilation = plan.kernel_size, plan.stride, plan.dilation
        self.expand = (
            ConvNorm(outside, inside, kernel, stride, act, conventions, dilation=dilation) if plan.expands else None
        )
        self.squeeze_excite = SqueezeExcite(plan, conventions) if plan.squeeze_channels else None
        self.project = (
            ConvNorm(inside, out, 1, 1, "identity", conventions)
            if plan.expands
            else ConvNorm(inside, out, kernel, stride, act, conventions, dilation=dilation)
        )
        self.drop = build_drop(plan)
        self.skip = build_skip(plan, conventions)

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        x = inputs
        for layer in (self.expand, self.squeeze_excite, self.project):
            if layer is not None:
                x = layer(x)
        x = x if self.drop is None else self.drop(x)
        return x if self.skip is None else x + self.skip(inputs)


def build_block(plan: BlockPlan, conventions: Table) -> nn.Module:
    """The module that `plan` describes, with the norm, padding and gate of `conventions`."""
    if plan.block == "conv":
        layer = (plan.in_channels, plan.out_channels, plan.kernel_size, plan.stride, plan.activation)
        return ConvNorm(*layer, conventions, dilation=plan.dilation)
    return {"separable": Separable, "inverted": Inverted, "fused": Fused}[plan.block](plan, conventions)


def initialise(module: nn.Module) -> None:
    """Draw fresh weights: convolutions from N(0, 2 / fan_out), dense layers uniformly, norms to 1 and 0.

    **Source:** the published code of MnasNet: standard deviation sqrt(2 / (k * k * c_out)), where a depthwise kernel
    counts c_out = 1.
    **Differs:** dense layers draw from +-1/sqrt(max(in, out)); the code's +-1/sqrt(out) was made for 1000 classes and
    starts a network of a few classes with huge logits.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * (layer.out_channels // layer.groups)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(max(layer.in_features, layer.out_features))
            nn.init.uniform_(layer.weight, -bound, bound)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
