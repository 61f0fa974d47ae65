"""A model of your own: a small residual network. In a recipe: `[student] model = "my_model:tiny_resnet"`.

A model is any callable that takes `num_classes` (and options) and gives a `torch.nn.Module` from normalised pictures to
logits. Resize and normalisation, and stages by name, are added around it.
"""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions, added to their input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.skip = nn.Conv2d(in_channels, out_channels, 1, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W']."""
        return self.activation(self.body(inputs) + self.skip(inputs))


def tiny_resnet(num_classes: int = 1000, *, in_channels: int = 3, width: int = 16) -> nn.Module:
    """Three residual blocks at full, half and quarter resolution."""
    return nn.Sequential(
        Residual(in_channels, width, 1),
        Residual(width, 2 * width, 2),
        Residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )
