"""The networks that the distillation literature trains on CIFAR, layer for layer. Not here: tables, ImageNet's networks."""

from __future__ import annotations

from limbeck.models.cifar.names import CIFAR, CIFAR_SPELLINGS, Design, cifar_network, find_cifar
from limbeck.models.cifar.network import CIFAR_MEAN, CIFAR_STD, CifarNetwork

__all__ = [
    "CIFAR",
    "CIFAR_MEAN",
    "CIFAR_SPELLINGS",
    "CIFAR_STD",
    "CifarNetwork",
    "Design",
    "cifar_network",
    "find_cifar",
]
