"""A search space of any modules: small residual networks. In a recipe: `[search] space = "my_module_space:residual"`.

A space is named choices and one `build(point)`. What it builds need not be a `Table`: any `torch.nn.Module` from normalised
pictures to logits is counted, timed, trained, exported and loaded again; `architecture.json` then keeps this space's name,
its arguments and the point.
"""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.search import Point, Space


class Residual(nn.Module):
    """A convolution and its input, where their widths agree."""

    def __init__(self, entering: int, width: int, kernel_size: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, width, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.activation = activation()
        self.adds = entering == width

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H, W]."""
        out = self.norm(self.conv(inputs))
        return self.activation(out + inputs if self.adds else out)


ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


def residual(*, num_classes: int, widths: tuple[int, ...] = (8, 16, 24)) -> Space:
    """Three stages of residual blocks, each at half the resolution of the one before."""

    def build(point: Point) -> nn.Module:
        width, activation = int(point["width"]), ACTIVATIONS[str(point["activation"])]
        blocks: list[nn.Module] = []
        entering = 3
        for stage in range(3):
            for _ in range(int(point["depth"])):
                blocks.append(Residual(entering, width << stage, int(point["kernel_size"]), activation))
                entering = width << stage
            blocks.append(nn.MaxPool2d(2))
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(entering, num_classes))

    choices = {
        "width": tuple(widths),
        "depth": (1, 2),
        "kernel_size": (3, 5),
        "activation": tuple(ACTIVATIONS),
    }
    return Space("residual", choices, build, {name: ids[0] for name, ids in choices.items()}, {"classes": num_classes})
