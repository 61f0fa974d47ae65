"""A smaller (or larger) network that starts from a trained one by cropping its weights.

Not here: weights of the same shape (`weights`), which channels are worth keeping (`limbeck.adapt`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.errors import InputError
from limbeck.models.channels import channel_map
from limbeck.models.network import Network, TableNetwork

__all__ = ["InheritReport", "inherit_weights"]


@dataclass(frozen=True)
class InheritReport:
    """What a network inherited.

    Attributes:
        inherited: parameters with values from the source.
        total: parameters of the target.
        fresh: names of the target's parameters that inherited nothing.
    """

    inherited: int
    total: int
    fresh: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Inherited over total, in [0, 1]."""
        return self.inherited / self.total


def crop_into(place: Tensor, value: Tensor) -> int:
    """Write the overlap of `value` into `place`: first channels, kernel's centre; returns how many values were written.

    A kernel that is larger than its source gets zeros around it, so that it computes what the source did.
    """
    here, there = [], []
    for axis, (mine, theirs) in enumerate(zip(place.shape, value.shape, strict=True)):
        overlap = min(mine, theirs)
        centred = axis >= 2
        here.append(slice(start := (mine - overlap) // 2 if centred else 0, start + overlap))
        there.append(slice(start := (theirs - overlap) // 2 if centred else 0, start + overlap))
    if place.dim() == 4 and place.shape[3] > value.shape[3]:
        place[tuple(here[:2])] = 0
    place[tuple(here)] = value[tuple(there)]
    return place[tuple(here)].numel()


def pair_blocks(source: TableNetwork, target: TableNetwork) -> list[tuple[str, nn.Module, nn.Module]]:
    """(name in the target, source block, target block) for all blocks that correspond.

    Rows correspond by position where both networks have as many; else the blocks of each stage do, in order. A block
    beyond the source's depth has no counterpart.
    """
    if len(source.rows) == len(target.rows):
        runs = [
            (list(theirs), [(f"rows.{i}.{j}", block) for j, block in enumerate(mine)])
            for i, (theirs, mine) in enumerate(zip(source.rows, target.rows, strict=True))
        ]
    else:
        runs = list(
            zip([[block for _, block in run] for run in stage_blocks(source)], stage_blocks(target), strict=False)
        )
    return [(name, theirs, mine) for run, named in runs for theirs, (name, mine) in zip(run, named, strict=False)]


def stage_blocks(network: TableNetwork) -> list[list[tuple[str, nn.Module]]]:
    """Named blocks of each stage, in order."""
    stages, start = [], 0
    for last in network.stage_rows.values():
        stages.append(
            [(f"rows.{i}.{j}", block) for i in range(start, last + 1) for j, block in enumerate(network.rows[i])]
        )
        start = last + 1
    return stages


def choose_channels(value: Tensor, axes: tuple[str | None, ...], keep: Mapping[str, Tensor]) -> Tensor:
    """The kept channels of a tensor whose axes count the widths `axes`."""
    for axis, width in enumerate(axes):
        if width is not None and width in keep:
            value = value.index_select(axis, keep[width])
    return value


def classifier_of(network: Network) -> str:
    """The name of the last dense layer that gives the classes; empty where there is none."""
    dense = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    return next((one for one in reversed(dense) if network.get_submodule(one).out_features == network.num_classes), "")


def inherit_weights(source: Network, target: Network, *, keep: Mapping[str, Tensor] | None = None) -> InheritReport:
    """Fill `target` with the overlap of `source`'s weights: first channels, kernel centres, matching blocks.

    Norm statistics and the normalisation of pictures come along. The classifier is inherited only for as many classes.
    What has no counterpart keeps its fresh values. Build the target with the source's batch-norm eps and padding. Of two
    networks that are not built from tables, what has the same name corresponds.

    Args:
        source: the network whose weights are taken.
        target: filled in place.
        keep: channels of the source to take instead of the first ones: [n] int64 per width, by the names of
            `channels.channel_map(target)`; for networks of the same blocks in the same order.

    Raises:
        InputError: only one of them is built from a table, both are not and have nothing alike, or they take pictures of
            different channels.
    """
    if source.in_channels != target.in_channels:
        raise InputError(
            f"inherit_weights: the source takes {source.in_channels} channels, the target {target.in_channels}"
        )
    left_out = ""
    if isinstance(source, TableNetwork) and isinstance(target, TableNetwork):
        pairs = [("stem", source.stem, target.stem), *pair_blocks(source, target), ("head", source.head, target.head)]
        if source.num_classes == target.num_classes:
            pairs.append(("classifier", source.classifier, target.classifier))
    elif isinstance(source, TableNetwork) or isinstance(target, TableNetwork) or keep:
        raise InputError("inherit_weights: both networks must be built from tables, or neither")
    else:
        pairs = [("", source, target)]
        left_out = classifier_of(target) if source.num_classes != target.num_classes else ""
    axes = channel_map(target).axes if keep else {}
    inherited: dict[str, int] = {}
    with torch.no_grad():
        for prefix, theirs, mine in pairs:
            values = theirs.state_dict()
            parameters = {name for name, _ in mine.named_parameters()}
            for name, place in mine.state_dict().items():
                full = f"{prefix}.{name}".removeprefix(".")
                if name not in values or values[name].dim() != place.dim() or full.rpartition(".")[0] == left_out != "":
                    continue
                value = choose_channels(values[name], axes[full], keep) if keep else values[name]
                written = crop_into(place, value) if place.dim() else int(place.copy_(value).numel())
                if name in parameters:
                    inherited[full] = written
    if not inherited:
        raise InputError("inherit_weights: no parameter of the target has the name of one of the source")
    target.normalise_by(**source.normalisation)
    target.origin = {
        **target.origin,
        "weights": f"cropped from {str(source.origin['weights']).removeprefix('cropped from ')}",
        "licence": source.origin["licence"],
    }
    fresh = tuple(name for name, _ in target.named_parameters() if name not in inherited)
    return InheritReport(sum(inherited.values()), target.params(), fresh)
