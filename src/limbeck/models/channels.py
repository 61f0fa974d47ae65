"""Which width each axis of each weight counts, so that channels can be chosen along the whole graph at once.

Not here: which channels are kept (`limbeck.adapt`), copying them (`slice`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from limbeck.models.costs import BlockPlan
from limbeck.models.network import TableNetwork
from limbeck.models.table import Table

__all__ = ["ChannelMap", "channel_map", "tied_blocks"]


@dataclass(frozen=True)
class ChannelMap:
    """The widths of a network built from a table, by name.

    `block0` (the stem), `block1` ... are what blocks put out, numbered through all rows; blocks that add to each other
    share the name of the first of them. `block3.hidden` and `block3.squeeze` lie inside a block.

    Attributes:
        sizes: width -> channels.
        axes: parameter or buffer -> the width that each of its axes counts; None where it counts none of these.
        makers: width -> the dense convolutions whose filters make its channels.
    """

    sizes: dict[str, int]
    axes: dict[str, tuple[str | None, ...]]
    makers: dict[str, tuple[str, ...]]


def tied_blocks(table: Table) -> tuple[tuple[int, ...], ...]:
    """Blocks that must put out equally many channels because one adds to the other, numbered from the stem (0)."""
    groups: list[list[int]] = []
    for number, plan in enumerate(plan for plans in table.blocks() for plan in plans):
        if plan.skip == "none":
            groups.append([number])
        else:
            groups[-1].append(number)
    return tuple(tuple(group) for group in groups)


def channel_map(network: TableNetwork) -> ChannelMap:
    """Name every width of a network and find where it is counted."""
    table = network.table
    out_names = {block: f"block{group[0]}" for group in tied_blocks(table) for block in group}
    plans = [plan for group in table.blocks() for plan in group]
    blocks = ["stem", *(f"rows.{i}.{j}" for i, row in enumerate(table.rows) for j in range(row.repeats))]
    sizes: dict[str, int] = {}
    layers: dict[str, tuple[str | None, str | None]] = {}  # layer -> widths that it gives and takes
    entering: str | None = None
    for number, (plan, prefix) in enumerate(zip(plans, blocks, strict=True)):
        own = {"hidden": f"block{number}.hidden", "squeeze": f"block{number}.squeeze"}
        leaving = out_names[number]
        sizes[leaving] = plan.out_channels
        if plan.expands:
            sizes[own["hidden"]] = plan.hidden_channels
        if plan.squeeze_channels:
            sizes[own["squeeze"]] = plan.squeeze_channels
        for layer, widths in _layers_of(plan, entering, own, leaving).items():
            layers[f"{prefix}.{layer}" if layer else prefix] = widths
        entering = leaving
    head_takes = "classifier" if network.head.features is None else "head.features"
    layers["head.conv" if network.head.conv is not None else head_takes] = (None, entering)
    axes, makers = _axes(network, layers)
    return ChannelMap(sizes, axes, makers)


def _layers_of(
    plan: BlockPlan, entering: str | None, own: dict[str, str], leaving: str
) -> dict[str, tuple[str | None, str | None]]:
    """(width given, width taken) of each layer of a block; a depthwise layer takes none."""
    if plan.block == "conv":
        return {"": (leaving, entering)}
    inside = own["hidden"] if plan.expands else entering
    layers: dict[str, tuple[str | None, str | None]] = {"project": (leaving, inside)}
    if plan.expands:
        layers["expand"] = (inside, entering)
    if plan.start_kernel_size:
        layers["start"] = (entering, None)
    if plan.block != "fused":
        layers["depthwise"] = (inside, None)
    if plan.squeeze_channels:
        layers["squeeze_excite.reduce"] = (own["squeeze"], inside)
        layers["squeeze_excite.expand"] = (inside, own["squeeze"])
    return layers


def _axes(
    network: nn.Module, layers: dict[str, tuple[str | None, str | None]]
) -> tuple[dict[str, tuple[str | None, ...]], dict[str, tuple[str, ...]]]:
    axes: dict[str, tuple[str | None, ...]] = {}
    makers: dict[str, tuple[str, ...]] = {}
    for name, value in network.state_dict().items():
        layer = name.rpartition(".")[0]
        while layer and layer not in layers:
            layer = layer.rpartition(".")[0]
        if layer not in layers or value.dim() == 0:
            axes[name] = (None,) * value.dim()
            continue
        given, taken = layers[layer]
        is_dense = value.dim() > 1
        axes[name] = (given, taken, None, None)[: value.dim()]
        is_gate = layer.endswith("squeeze_excite.expand")
        is_depthwise = layer.rpartition(".")[2] in ("depthwise", "start")
        if given is not None and is_dense and not is_gate and not is_depthwise:
            makers[given] = (*makers.get(given, ()), name)
    return axes, makers
