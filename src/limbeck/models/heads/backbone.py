"""A table's stem, rows and last convolution as the body of a dense network, which reads maps inside it by name.

Not here: the heads that read them, and what dense networks change in a table (`tails`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor, nn

from limbeck.errors import InputError, unknown_name
from limbeck.models.blocks import INVERTED_LAYERS, ConvNorm, Inverted, build_block
from limbeck.models.network import Network, TableNetwork
from limbeck.models.table import Table
from limbeck.models.weights import FillReport, copy_layer, layers_of

__all__ = ["Backbone", "DenseNetwork", "expansion_tap", "fill_backbone", "stage_ends", "tap_names", "tap_shape"]


def stage_ends(table: Table) -> dict[str, int]:
    """`stage1`, `stage2` ... -> the last row at each resolution, the finest first."""
    rows = table.rows
    last = [i for i in range(len(rows)) if i + 1 == len(rows) or rows[i + 1].stride > 1]
    return {f"stage{number}": i for number, i in enumerate(last, start=1)}


def tap_names(table: Table) -> list[str]:
    """Every map of a table's body by name: `row3` (of its last block), `row3.0`, and `row3.0.depthwise` inside it."""
    names = []
    for i, row in enumerate(table.rows):
        names.append(f"row{i}")
        for j in range(row.repeats):
            inner = INVERTED_LAYERS if row.block == "inverted" else ()
            names += [f"row{i}.{j}", *(f"row{i}.{j}.{layer}" for layer in inner)]
    return names


def tap_shape(table: Table, name: str) -> tuple[int, int, int]:
    """(channels, height, width) at `input_size` of a map that `tap_names` lists.

    Raises:
        InputError: there is none of that name.
    """
    if name not in tap_names(table):
        raise unknown_name("map", name, tap_names(table), where=f"table '{table.name}'")
    row, *place = name.removeprefix("row").split(".")
    number = int(place[0]) if place else table.rows[int(row)].repeats - 1
    height, width = table.input_size
    for i, plans in enumerate(table.blocks()):
        for j, plan in enumerate(plans):
            before, after = (height, width), (-(-height // plan.stride), -(-width // plan.stride))
            if (i, j) != (int(row) + 1, number):
                height, width = after
                continue
            layer = place[1] if len(place) > 1 else "project"
            channels = {"start": plan.in_channels, "project": plan.out_channels}.get(layer, plan.hidden_channels)
            strides_later = layer in ("start", "expand") and plan.kernel_size > 0
            return (channels, *(before if strides_later else after))
    raise AssertionError(name)


def expansion_tap(table: Table, row: int) -> str:
    """The map after the expansion of a row's first block, before its stride; what enters the row where none expands."""
    if table.rows[row].block == "inverted" and not table.rows[row].start_kernel_size:
        return f"row{row}.0.expand"
    if row == 0:
        raise InputError(
            f"table '{table.name}': the row of its last stride is the first, so that no map lies before it"
        )
    return f"row{row - 1}"


class Backbone(nn.Module):
    """Stem, rows and, where the table's head has one, the last convolution; parts are named as in `TableNetwork`."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        head = table.head
        (stem,), *rows = table.blocks()
        self.stem = build_block(stem, table)
        self.rows = nn.ModuleList(nn.ModuleList(build_block(plan, table) for plan in plans) for plans in rows)
        channels = table.rows[-1].out_channels
        self.conv = ConvNorm(channels, head.conv_channels, 1, 1, head.activation, table) if head.conv_channels else None
        self.out_channels = head.conv_channels or channels

    def forward(self, prepared: Tensor, wanted: Collection[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """Normalised pictures -> the last map, and those of `stem` and `tap_names` that are wanted."""
        seen: dict[str, Tensor] = {}

        def keep(place: str, value: Tensor) -> None:
            if place in wanted:  # only what is read is kept alive
                seen[place] = value

        x = self.stem(prepared)
        keep("stem", x)
        for i, row in enumerate(self.rows):
            for j, block in enumerate(row):
                prefix = f"row{i}.{j}."
                inner: dict[str, Any] = {name.removeprefix(prefix): None for name in wanted if name.startswith(prefix)}
                x = block.show(x, inner) if isinstance(block, Inverted) else block(x)
                seen |= {prefix + layer: value for layer, value in inner.items()}
                keep(f"row{i}.{j}", x)
            keep(f"row{i}", x)
        return (x if self.conv is None else self.conv(x)), seen


class DenseNetwork(Network):
    """What networks that say something of every place have in common: a `Backbone` whose maps a head reads.

    Stages: `stem`; `stage1`, `stage2` ... = the last output at each resolution of the rows; `head` = the backbone's last
    map; then the head's own. Finer: `row3`, `row3.0` and `row3.0.depthwise` (maps of rows, blocks, and inside blocks).

    Args:
        table: the backbone, its strides, dilations and widths as they shall be; what follows its last convolution is
            not built.
        owns: as `Network` takes them; `num_classes`, `input_size` and `in_channels` are the table's.
    """

    table: Table
    head_stages: tuple[str, ...] = ()

    def __init__(self, table: Table, **owns: Any) -> None:
        super().__init__(
            num_classes=table.num_classes, input_size=table.input_size, in_channels=table.in_channels, **owns
        )
        self.table = table
        self.backbone = Backbone(table)
        self.stage_rows = stage_ends(table)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """`stem`, `stage1` ... , `head`, and the head's own."""
        return ("stem", *self.stage_rows, "head", *self.head_stages)

    @property
    def ends_in_convolution(self) -> bool:
        """Whether the backbone has a convolution after its rows."""
        return self.backbone.conv is not None

    def further_stage_names(self) -> tuple[str, ...]:
        """The maps of rows, of blocks, and inside blocks."""
        return tuple(tap_names(self.table))

    def read(
        self, prepared: Tensor, stages: Sequence[str], taps: Sequence[str]
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Run the backbone: its last map, the asked stages of it by name, and the maps that the head reads."""
        places = {
            name: f"row{self.stage_rows[name]}" if name in self.stage_rows else name
            for name in stages
            if name != "head" and name not in self.head_stages
        }
        last, seen = self.backbone(prepared, {*places.values(), *taps})
        found = {name: seen[place] for name, place in places.items()}
        return last, found | ({"head": last} if "head" in stages else {}), {name: seen[name] for name in taps}

    def layer_of(self, parameter: str) -> str:
        """Stem, each row, last convolution, then each part of the head."""
        pieces = parameter.split(".")
        if pieces[0] != "backbone":
            return pieces[0]
        return ".".join(pieces[: 3 if pieces[1] == "rows" else 2])


def fill_backbone(network: DenseNetwork, classifier: TableNetwork) -> FillReport:
    """Copy a classifier's stem, rows and last convolution into a dense network of the same family, block by block.

    What has another shape (halved widths) and the head stay fresh.

    Raises:
        InputError: they have not as many blocks.
    """
    body, own = network.backbone, classifier.head.conv
    mine = [body.stem, *(block for row in body.rows for block in row)]
    theirs = [classifier.stem, *(block for row in classifier.rows for block in row)]
    if len(mine) != len(theirs):
        raise InputError(f"backbone: '{classifier.table.name}' has {len(theirs)} blocks, expected {len(mine)}")
    pairs = list(zip(mine, theirs, strict=True)) + ([(body.conv, own)] if body.conv is not None and own else [])
    filled: set[int] = set()
    for block, source in pairs:
        known = dict(layers_of(source))
        for name, layer in layers_of(block):
            left = copy_layer(known[name], layer) if name in known else [key for key, _ in layer.named_parameters()]
            filled |= {id(value) for key, value in layer.named_parameters() if key not in left}
    network.normalise_by(**classifier.normalisation)
    network.origin = {**network.origin, "weights": f"backbone: {classifier.origin['weights']}"}
    network.origin["licence"] = classifier.origin["licence"]
    return FillReport.of(network, [name for name, value in network.named_parameters() if id(value) not in filled])
