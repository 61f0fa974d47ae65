"""Networks that give the places of points: any classifier's body with a dense layer of 2L outputs, x and y in turn.

Such a network is one of its family in every respect (saved, searched, adapted, distilled and exported as it); what is its own
is how many outputs it has and where they start. Not here: the families (`families`), losses of points (`losses`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.load import create_model
from limbeck.models.network import Network, build
from limbeck.models.table import Table

__all__ = ["create_landmarker", "start_at"]

MIDDLE = 0.5


def create_landmarker(
    model: str | Table,
    points: int,
    *,
    mean_shape: Tensor | Sequence[Sequence[float]] | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> Network:
    """A network of pictures in [0, 1] -> [N, 2L] coordinates, x and y in turn, as shares of the picture; nothing bounds them.

    Args:
        model: a name as `create_model` takes it, or a table, published or searched.
        points: L.
        mean_shape: [L, 2] shares of the picture that the network says before it has learned; None = the middle.
        dropout: before the dense layer; Fard and Mahoor have none in MobileNetV2 and 0.5 in EfficientNets.
        options: as `create_model` takes them (`pretrained`, `input_size`, ...); none for a table.

    Raises:
        InputError: as `create_model`; no points, or a shape of another number of them.

    **Source:** the student and teachers of Fard and Mahoor, arXiv 2111.07047 and its code.

    Example:
        >>> network = create_landmarker("mobilenet_v2", 68)
        >>> network.params(), network(torch.zeros(1, 3, 64, 64)).shape
        (2398088, torch.Size([1, 136]))
    """
    if type(points) is not int or points < 1:
        raise InputError(f"landmarks: points must be a whole number of at least 1, got {points!r}")
    if isinstance(model, Table):
        if options:
            raise InputError(f"landmarks: a table is what it is; drop {', '.join(options)}")
        network: Network = build(replace(model, num_classes=2 * points, dropout=dropout))
    else:
        network = create_model(model, num_classes=2 * points, dropout=dropout, **options)
    start_at(network, mean_shape)
    return network


def start_at(network: Network, mean_shape: Tensor | Sequence[Sequence[float]] | None = None) -> None:
    """Let the biases of the last dense layer be a shape, so that training starts there.

    Args:
        network: with 2L outputs.
        mean_shape: [L, 2] shares of the picture; None = the middle of it.

    Raises:
        InputError: the network does not end in such a layer, or the shape has another number of points.
    """
    dense = [part for part in network.modules() if isinstance(part, nn.Linear)]
    last = dense[-1] if dense else None
    if last is None or last.out_features != network.num_classes or last.bias is None or network.num_classes % 2:
        raise InputError(
            f"landmarks: needs a network that ends in a dense layer of x and y of each point; this one gives "
            f"{network.num_classes} outputs"
        )
    start = torch.full((network.num_classes,), MIDDLE) if mean_shape is None else torch.as_tensor(mean_shape).flatten()
    if len(start) != network.num_classes or not bool(start.isfinite().all()):
        raise InputError(
            f"landmarks: the mean shape must be {network.num_classes // 2} known points, got {len(start) // 2}"
        )
    with torch.no_grad():
        last.bias.copy_(start)
