"""Weights between our tables and the same architecture in timm or torchvision, both ways.

Not here: downloading and names (`load`), files (`storage`), networks of another size (`slice`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.network import TableNetwork, build
from limbeck.models.rows import EXPANDING, Row
from limbeck.models.table import Table

__all__ = ["FillReport", "adopt_conventions", "choose_table", "fill_from", "fill_from_ours", "fill_library"]

WEIGHTED = (nn.Conv2d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
SKIP_FLAGS = ("has_skip", "use_res_connect", "apply_residual")  # of timm's blocks, torchvision's, its MnasNet's


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

    @classmethod
    def of(cls, network: nn.Module, not_filled: Sequence[str] = ()) -> FillReport:
        """The report on a network of which only the parameters `not_filled` kept their fresh values."""
        total = sum(parameter.numel() for parameter in network.parameters())
        return cls(total - sum(network.get_parameter(name).numel() for name in not_filled), total, tuple(not_filled))

    def describe(self) -> str:
        """The report as one line."""
        share = f"{self.filled:,} of {self.total:,} parameters filled ({self.filled / self.total:.1%})"
        return share + (f"; fresh: {', '.join(self.not_filled)}" if self.not_filled else "")


def adopt_conventions(table: Table, library: nn.Module, *, source: str = "weights") -> Table:
    """The table with what belongs to the weights, not to the architecture: batch-norm eps, padding, skips.

    Args:
        table: the architecture that is to be filled.
        library: a timm or torchvision network, or one of our own.
        source: what to call it in messages.

    Raises:
        InputError: it is another architecture.
    """
    if isinstance(library, TableNetwork):
        theirs_table, rows = library.table, list(table.rows)
        if len(theirs_table.rows) == len(rows):
            rows = [replace(row, skip=other.skip) for row, other in zip(rows, theirs_table.rows, strict=True)]
        return replace(table, bn_eps=theirs_table.bn_eps, padding=theirs_table.padding, rows=tuple(rows))
    eps = next((part.eps for part in library.modules() if isinstance(part, nn.BatchNorm2d)), table.bn_eps)
    padding = "same" if any(type(part).__name__ == "Conv2dSame" for part in library.modules()) else "symmetric"
    skips = library_skips(table, library, source)
    rows = [row for i, row in enumerate(table.rows) for row in with_skips(table, i, skips)]
    return replace(table, bn_eps=eps, padding=padding, rows=tuple(rows))


def library_skips(table: Table, library: nn.Module, source: str) -> dict[tuple[int, int], bool]:
    """Whether the library's network adds the input of the block that is ours (row, number in it).

    A block of theirs is the innermost part around its first layer that has the library's flag; layers without such a
    part, like torchvision's first ones, add nothing.
    """
    parts = dict(library.named_modules())
    skips: dict[tuple[int, int], bool] = {}
    for name, _, their_name, _ in pair_layers(shape_only(table), library, source):
        kind, *numbers = name.split(".")
        if kind != "rows" or (place := (int(numbers[0]), int(numbers[1]))) in skips:
            continue
        skips[place] = False
        while their_name and not skips[place]:
            their_name = their_name.rpartition(".")[0]
            flags = [flag for flag in SKIP_FLAGS if hasattr(parts[their_name], flag)]
            if flags:
                skips[place] = bool(getattr(parts[their_name], flags[0]))
                break
    return skips


def with_skips(table: Table, index: int, skips: dict[tuple[int, int], bool]) -> list[Row]:
    """A row of the table that adds its inputs where `skips` says so, in single blocks if one row cannot say it."""
    row, plans = table.rows[index], table.blocks()[index + 1]
    wanted = [skips[index, number] for number in range(row.repeats)]
    if row.block not in EXPANDING or wanted == [plan.skip != "none" for plan in plans]:
        return [row]
    for skip in ("identity", "none"):
        kept = replace(row, skip=skip)
        again = replace(table, rows=(*table.rows[:index], kept, *table.rows[index + 1 :])).blocks()[index + 1]
        if wanted == [plan.skip != "none" for plan in again]:
            return [kept]
    return [
        replace(row, repeats=1, stride=plan.stride, skip="identity" if adds else "none")
        for plan, adds in zip(plans, wanted, strict=True)
    ]


def shape_only(table: Table) -> TableNetwork:
    """The network of a table without memory behind its tensors."""
    with torch.device("meta"):
        return build(table)


def choose_table(tables: Sequence[Table], library: nn.Module, *, source: str = "weights") -> Table:
    """The first of some tables of one family whose layers have the shapes of the library's, or the nearest.

    Raises:
        InputError: the library's network is another architecture.
    """

    def misfits(table: Table) -> int:
        pairs = pair_layers(shape_only(table), library, source)
        return sum(mine.weight.numel() != other.weight.numel() for _, mine, _, other in pairs)

    return min(tables, key=misfits) if len(tables) > 1 else tables[0]


def layers_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Convolutions, norms and dense layers by name, in the order of construction, which all three libraries share."""
    return [(name, part) for name, part in module.named_modules() if isinstance(part, (*WEIGHTED, *NORMS))]


def pair_layers(
    network: TableNetwork, library: nn.Module, source: str
) -> Iterator[tuple[str, nn.Module, str, nn.Module]]:
    """Our layer's name, our layer, their name, theirs; the n-th of ours is the n-th of theirs, and of the same kind.

    Raises:
        InputError: the library's network is not made of the same layers.
    """
    ours, theirs = layers_of(network), layers_of(library)

    def kinds(layers: list[tuple[str, nn.Module]]) -> list[tuple[bool, bool]]:
        return [(isinstance(part, NORMS), getattr(part, "groups", 1) > 1) for _, part in layers]

    if kinds(ours) != kinds(theirs):
        raise InputError(
            f"{source}: is not the architecture of '{network.table.name}' ({len(theirs)} layers, expected {len(ours)})"
        )
    for (name, mine), (their_name, other) in zip(ours, theirs, strict=True):
        yield name, mine, their_name, other


def copy_layer(source: nn.Module, target: nn.Module) -> list[str]:
    """Copy parameters and statistics of equal shapes (a 1x1 convolution is a dense layer).

    Returns:
        Names of what kept its values: the target's tensors of another shape, and the source's that have no place there.
    """
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
    places = {name for name, _ in [*target.named_parameters(), *target.named_buffers()]}
    return left + [name for name, value in values.items() if name not in places and value.any()]


def fill_from(network: TableNetwork, library: nn.Module, *, source: str = "weights") -> FillReport:
    """Copy a library's network into ours, layer by layer, wherever the shapes are the same; the rest stays fresh.

    Args:
        network: best built of `adopt_conventions(table, library)`, or outputs differ although all weights are equal.
        library: a timm or torchvision network of the same architecture.
        source: what to call it in messages.

    Raises:
        InputError: it is another architecture, or has a bias where ours has none.
    """
    not_filled: list[str] = []
    with torch.no_grad():
        for name, mine, _, other in pair_layers(network, library, source):
            own = {key for key, _ in mine.named_parameters()}
            left = copy_layer(other, mine)
            if "bias" in left and "bias" not in own:
                raise InputError(f"{source}: has a bias where '{name}' of '{network.table.name}' has none")
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
        InputError: it is another architecture, a shape differs, or a bias of ours has no place there.
    """
    with torch.no_grad():
        for name, mine, _, other in pair_layers(network, library, target):
            if left := copy_layer(mine, other):
                raise InputError(f"{target}: the shape of '{name}.{left[0]}' differs")
