"""Weights between our tables and the same architecture in timm or torchvision, both ways.

Not here: downloading and names (`load`), files (`storage`), networks of another size (`slice`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.network import TableNetwork
from limbeck.models.table import Table

__all__ = ["FillReport", "adopt_conventions", "fill_from", "fill_from_ours", "fill_library"]


@dataclass(frozen=True)
class FillReport:
    """What pretrained weights filled.

    Attributes:
        filled: parameters that have the weights' values.
        total: parameters of the network.
        not_filled: names of the parameters that keep their fresh values, since their shapes differ.
    """

    filled: int
    total: int
    not_filled: tuple[str, ...] = ()

    def describe(self) -> str:
        """The report as one line."""
        share = f"{self.filled:,} of {self.total:,} parameters filled ({self.filled / self.total:.1%})"
        return share + (f"; fresh: {', '.join(self.not_filled)}" if self.not_filled else "")


def adopt_conventions(table: Table, library: nn.Module) -> Table:
    """The table with what belongs to the weights, not to the architecture: batch-norm eps, padding, skips.

    Args:
        table: the architecture that is to be filled.
        library: a timm or torchvision network, or one of our own.
    """
    if isinstance(library, TableNetwork):
        theirs_table, rows = library.table, list(table.rows)
        if len(theirs_table.rows) == len(rows):
            rows = [replace(row, skip=other.skip) for row, other in zip(rows, theirs_table.rows, strict=True)]
        return replace(table, bn_eps=theirs_table.bn_eps, padding=theirs_table.padding, rows=tuple(rows))
    norms = [part for part in library.modules() if isinstance(part, nn.BatchNorm2d)]
    padding = "same" if any(type(part).__name__ == "Conv2dSame" for part in library.modules()) else "symmetric"
    skips = library_skips(library)
    plans = [plan for row in table.blocks()[1:] for plan in row]
    rows = list(table.rows)
    if len(skips) == len(plans):  # else the library has a block of another kind among them and says nothing of ours
        start = 0
        for i, row in enumerate(table.rows):
            theirs = skips[start : start + row.repeats]
            ours = [plan.adds_input for plan in plans[start : start + row.repeats]]
            start += row.repeats
            if row.block == "inverted" and theirs != ours:
                rows[i] = replace(row, skip="identity" if any(theirs) else "none")
    return replace(table, bn_eps=norms[0].eps if norms else table.bn_eps, padding=padding, rows=tuple(rows))


def library_skips(library: nn.Module) -> list[bool]:
    """Whether each depthwise block of a timm or torchvision network adds its input, in order."""
    return [
        bool(getattr(part, attribute))
        for part in library.modules()
        for attribute in ("has_skip", "use_res_connect")
        if hasattr(part, attribute) and any(getattr(layer, "groups", 1) > 1 for layer in part.modules())
    ]


def layers_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Convolutions, norms and dense layers by name, in the order of construction, which all three libraries share."""
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    return [(name, part) for name, part in module.named_modules() if isinstance(part, kinds)]


def pair_layers(network: TableNetwork, library: nn.Module, source: str) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Our layer's name, our layer, theirs.

    Raises:
        InputError: the library's network is not made of the same layers.
    """
    ours, theirs = layers_of(network), layers_of(library)

    def kinds(layers: list[tuple[str, nn.Module]]) -> list[tuple[bool, bool]]:
        return [(isinstance(part, nn.BatchNorm2d), getattr(part, "groups", 1) > 1) for _, part in layers]

    if kinds(ours) != kinds(theirs):
        raise InputError(
            f"{source}: is not the architecture of '{network.table.name}' ({len(theirs)} layers, expected {len(ours)})"
        )
    for (name, mine), (_, other) in zip(ours, theirs, strict=True):
        yield name, mine, other


def copy_layer(source: nn.Module, target: nn.Module) -> list[str]:
    """Copy parameters and statistics of equal shapes (a 1x1 convolution is a dense layer); names of those left."""
    values: dict[str, Tensor] = {**dict(source.named_parameters()), **dict(source.named_buffers())}
    left = []
    for name, place in [*target.named_parameters(), *target.named_buffers()]:
        value = values.get(name)
        same = value is not None and value.squeeze().shape == place.squeeze().shape and value.numel() == place.numel()
        if same:
            place.data.copy_(value.reshape(place.shape))
        elif name == "bias" and value is None:
            place.data.zero_()  # a layer without bias is one whose bias is zero
        else:
            left.append(name)
    return left


def fill_from(network: TableNetwork, library: nn.Module, *, source: str = "weights") -> FillReport:
    """Copy a library's network into ours, layer by layer, wherever the shapes are the same; the rest stays fresh.

    Args:
        network: best built of `adopt_conventions(table, library)`, or outputs differ although all weights are equal.
        library: a timm or torchvision network of the same architecture.
        source: what to call it in messages.

    Raises:
        InputError: it is another architecture.
    """
    not_filled: list[str] = []
    with torch.no_grad():
        for name, mine, other in pair_layers(network, library, source):
            own = {key for key, _ in mine.named_parameters()}
            left = copy_layer(other, mine)
            not_filled += [f"{name}.{key}" for key in left if key in own]
    total = network.params()
    fresh = sum(network.get_parameter(name).numel() for name in not_filled)
    return FillReport(total - fresh, total, tuple(not_filled))


def fill_from_ours(network: TableNetwork, other: TableNetwork, *, source: str = "weights") -> FillReport:
    """Copy another network of ours, tensor by tensor of equal name and shape; the rest stays fresh."""
    values, not_filled = other.state_dict(), []
    with torch.no_grad():
        for name, place in network.state_dict().items():
            if name in values and values[name].shape == place.shape:
                place.copy_(values[name])
            else:
                not_filled.append(name)
    total = network.params()
    fresh = tuple(name for name, _ in network.named_parameters() if name in not_filled)
    return FillReport(total - sum(network.get_parameter(name).numel() for name in fresh), total, fresh)


def fill_library(library: nn.Module, network: TableNetwork, *, target: str = "library network") -> None:
    """Copy our weights into a library's network of the same architecture, classifier included.

    Raises:
        InputError: it is another architecture, or a shape differs.
    """
    with torch.no_grad():
        for name, mine, other in pair_layers(network, library, target):
            if left := copy_layer(mine, other):
                raise InputError(f"{target}: the shape of '{name}.{left[0]}' differs")
