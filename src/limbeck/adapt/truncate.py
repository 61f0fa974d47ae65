"""A trained network with fewer channels: those whose filters are largest stay. Not here: how many (`proposals`)."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.errors import InputError
from limbeck.models import Table, TableNetwork, build, inherit_weights
from limbeck.models.channels import channel_map

__all__ = ["largest_channels", "regroup", "truncate"]


def largest_channels(source: TableNetwork, sizes: dict[str, int]) -> dict[str, Tensor]:
    """The channels of a network whose filters have the largest L2 norm, for every width that shrinks.

    A channel that several convolutions make, because their outputs are added, has the norm of all its filters together.
    Equal norms: the first channel stays. Depthwise filters and the gates of squeeze-excite follow the channels that
    enter them and have no say.

    Args:
        source: the trained network.
        sizes: channels to keep, by the names of `limbeck.models.channels.channel_map`.

    Returns:
        Per width that shrinks: [n] int64, ascending.

    **Source:** NetAdapt (arXiv 1804.03230, section 3.3): filters of largest L2 norm stay. That tied layers are judged
    together is ours; MobileNetV3 does not say which channels it truncates.
    """
    channels = channel_map(source)
    state = source.state_dict()
    kept = {}
    for width, size in channels.sizes.items():
        if sizes[width] == size:
            continue
        squares = sum(state[name].double().flatten(1).square().sum(1) for name in channels.makers[width])
        assert isinstance(squares, Tensor)  # every width has a maker
        kept[width] = squares.argsort(descending=True, stable=True)[: sizes[width]].sort().values
    return kept


def truncate(source: TableNetwork, table: Table) -> TableNetwork:
    """Build the network of `table` and fill it with the channels of `source` whose filters are largest.

    Args:
        source: the trained network.
        table: the same blocks in the same order, with equal or fewer channels.

    Raises:
        InputError: the table has other blocks, or more channels somewhere.
    """
    with torch.random.fork_rng(devices=[]):  # every fresh weight is overwritten
        target = build(table, origin=dict(source.origin))
    here, there = channel_map(target), channel_map(source)
    if list(here.sizes) != list(there.sizes) or len(target.rows) != len(source.rows):
        raise InputError(f"truncate: table '{table.name}' has other blocks than the source '{source.table.name}'")
    for width, size in here.sizes.items():
        if size > there.sizes[width]:
            raise InputError(
                f"truncate: {width} of table '{table.name}' has {size} channels, the source {there.sizes[width]}"
            )
    report = inherit_weights(source, target, keep=largest_channels(source, here.sizes))
    if report.inherited != target.params():
        raise InputError(f"truncate: table '{table.name}' and the source differ in more than channels: {report.fresh}")
    return target.train(source.training)


def regroup(source: TableNetwork, table: Table) -> TableNetwork:
    """The same network under a table that has the same blocks in other rows (`split_rows`, `join_rows`).

    Raises:
        InputError: the table describes another network.
    """
    with torch.random.fork_rng(devices=[]):
        target = build(table)
    if [plan for row in table.blocks() for plan in row] != [plan for row in source.table.blocks() for plan in row]:
        raise InputError(f"regroup: table '{table.name}' describes another network than its source")
    inherit_weights(source, target)
    target.origin = dict(source.origin)
    return target.train(source.training)
