"""Libraries' networks with random weights that behave like trained ones; nothing is downloaded."""

from __future__ import annotations

import timm
import torch
import torchvision
from torch import nn


def draw(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and norm statistics that keep the scale of features, as trained ones would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.dim() > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
            elif name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2 + name.endswith("weight"))
    return module.eval()


def blank_network(name: str, num_classes: int = 7, **options: object) -> nn.Module:
    """`timm:NAME` or `torchvision:NAME` as the library starts it."""
    provider, _, name = name.partition(":")
    if provider == "timm":
        return timm.create_model(name, num_classes=num_classes, **options)
    return torchvision.models.get_model(name, num_classes=num_classes, **options)


def library_network(name: str, num_classes: int = 7, **options: object) -> nn.Module:
    """`timm:NAME` or `torchvision:NAME` with drawn weights."""
    return draw(blank_network(name, num_classes, **options))
