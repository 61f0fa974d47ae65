"""An architecture as data: a stem, rows of blocks, a head and the conventions they share; JSON both ways.

Not here: tensors. Rows and heads live in `rows`, counting in `costs`, building in `network`, the published tables in
`families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from limbeck.errors import InputError
from limbeck.files import fingerprint
from limbeck.models.costs import BlockPlan, Cost, block_cost, head_costs, make_divisible
from limbeck.models.rows import (
    CHOICES,
    EXPANDING,
    Head,
    Row,
    check_choice,
    check_count,
    check_number,
    describe_row,
    from_mapping,
)

__all__ = ["Head", "Row", "Table"]


@dataclass(frozen=True)
class Table:
    """A whole classification network as data.

    Attributes:
        name: for people; not part of `fingerprint()`.
        stem: the first row, a `conv` of one block.
        rows: the body.
        head: from the last feature map to the classes.
        num_classes: K.
        in_channels: of the picture.
        input_size: (height, width) in pixels that the network works at.
        dropout: probability, before the classifier.
        drop_path: share of pictures for which training leaves a block out and passes on only its skip: `drop_path` * i / n
            of block i (from 0) of n, where it has a skip. A network at work has all its blocks.
        divisor: widths after scaling are rounded to multiples of this.
        bn_eps: added to the variance in batch norm; belongs to the weights (libraries differ on the same architecture).
        bn_momentum: share of the new batch in the running statistics.
        padding: `symmetric` (k // 2 on every side) or `same` (TensorFlow's: right and bottom get the odd pixel at
            stride 2).
        se_from: `expanded` (MobileNetV3) or `input` (MnasNet): the width that `se_ratio` is a share of.
        se_divisor: squeeze widths are rounded to multiples of this.
        se_gate: `hard_sigmoid` (MobileNetV3) or `sigmoid`.
        se_activation: after the squeeze; `block` = that of the block.
        inner_divisor: widths inside blocks are rounded to multiples of this; None = `divisor`.
        dims: 2 = pictures; 1 = signals: kernels are 1 x k, strides go along time, `input_size` is (1, samples).
    """

    name: str
    stem: Row
    rows: tuple[Row, ...]
    head: Head
    num_classes: int = 1000
    in_channels: int = 3
    input_size: tuple[int, int] = (224, 224)
    dropout: float = 0.0
    divisor: int = 8
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    padding: str = "symmetric"
    se_from: str = "expanded"
    se_divisor: int = 8
    se_gate: str = "hard_sigmoid"
    se_activation: str = "relu"
    inner_divisor: int | None = None
    drop_path: float = 0.0
    dims: int = 2

    def __post_init__(self) -> None:
        where = f"table '{self.name}'"
        if not isinstance(self.name, str):
            raise InputError(f"table: name must be text, got {self.name!r}")
        if self.stem.block != "conv" or self.stem.repeats != 1:
            raise InputError(f"{where}: the stem must be one 'conv' block")
        if not self.rows:
            raise InputError(f"{where}: there are no rows")
        for field in ("padding", "se_from", "se_gate", "se_activation"):
            check_choice(self, field, CHOICES[field], where)
        for field in ("num_classes", "in_channels", "divisor", "se_divisor"):
            check_count(self, field, where)
        if self.inner_divisor is not None:
            check_count(self, "inner_divisor", where)
        check_number(self, "dropout", where, low=0, high=0.999)
        check_number(self, "drop_path", where, low=0, high=0.999)
        check_number(self, "bn_eps", where, low=0, high=1, open_low=True)
        check_number(self, "bn_momentum", where, low=0, high=1)
        size = self.input_size
        if not (isinstance(size, tuple) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
            raise InputError(f"{where}: input_size must be (height, width) in pixels, got {self.input_size!r}")
        if type(self.dims) is not int or self.dims not in (1, 2) or (self.dims == 1 and size[0] != 1):
            raise InputError(
                f"{where}: dims must be 2, or 1 with an input_size of (1, samples); got {self.dims!r}, {size}"
            )

    def to_json(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        value = asdict(self)
        value["input_size"] = list(self.input_size)
        value["rows"] = [asdict(row) for row in self.rows]
        return value

    @classmethod
    def from_json(cls, value: Any, *, where: str = "table") -> Table:
        """Read what `to_json` wrote.

        Raises:
            InputError: a key is unknown or missing, or a value is out of range.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("rows"), list | tuple):
            raise InputError(f"{where}: expected an object with 'name', 'stem', 'rows' and 'head'")
        known = dict(value)
        known["rows"] = tuple(from_mapping(Row, row, f"{where}.rows[{i}]") for i, row in enumerate(value["rows"]))
        for key, kind in (("stem", Row), ("head", Head)):
            if key in known:
                known[key] = from_mapping(kind, known[key], f"{where}.{key}")
        if isinstance(known.get("input_size"), list):
            known["input_size"] = tuple(known["input_size"])
        return from_mapping(cls, known, where)

    def fingerprint(self) -> str:
        """Hash of everything but the name: equal for networks of equal structure."""
        return fingerprint({**self.to_json(), "name": ""})

    def blocks(self) -> tuple[tuple[BlockPlan, ...], ...]:
        """Every block with all its widths worked out: the stem alone in the first tuple, then one tuple per row."""
        groups, channels = [], self.in_channels
        number, count = -1, sum(row.repeats for row in self.rows)  # the stem is before the first block
        for row in (self.stem, *self.rows):
            plans = []
            for repeat in range(row.repeats):
                plan = self.plan(row, channels, row.stride if repeat == 0 else 1)
                share = 0.0 if plan.skip == "none" else self.drop_path * number / count
                plans.append(replace(plan, drop_path=share) if share else plan)
                channels, number = row.out_channels, number + 1
            groups.append(tuple(plans))
        return tuple(groups)

    def plan(self, row: Row, in_channels: int, stride: int) -> BlockPlan:
        """One block of `row`, entered by `in_channels`."""
        expands = row.block in EXPANDING and (row.expansion != 1 or row.expands_at_one)
        divisor = self.inner_divisor or self.divisor
        hidden = make_divisible(in_channels * row.expansion, divisor) if expands else in_channels
        squeezed_from = in_channels if self.se_from == "input" else hidden
        can_skip = row.block in EXPANDING and in_channels == row.out_channels and (stride == 1 or row.skip == "pool")
        return BlockPlan(
            block=row.block,
            in_channels=in_channels,
            hidden_channels=hidden,
            squeeze_channels=make_divisible(squeezed_from * row.se_ratio, self.se_divisor) if row.se_ratio else 0,
            out_channels=row.out_channels,
            kernel_size=row.kernel_size,
            stride=stride,
            activation=row.activation,
            expands=expands,
            skip=row.skip if can_skip else "none",
            start_kernel_size=row.start_kernel_size,
            dilation=row.dilation,
        )

    def row_costs(self, size: tuple[int, int] | None = None) -> dict[str, Cost]:
        """Parameters, multiply-accumulates, shape of `stem`, `row0` ..., `head.conv`, `head.features`, `classifier`.

        Args:
            size: (height, width) of the picture; None = `input_size`.
        """
        height, width = size or self.input_size
        costs: dict[str, Cost] = {}
        for i, plans in enumerate(self.blocks()):
            params = macs = 0
            for plan in plans:
                cost = block_cost(plan, height, width, self.dims)
                params, macs, height, width = params + cost.params, macs + cost.macs, cost.height, cost.width
            costs["stem" if i == 0 else f"row{i - 1}"] = Cost(params, macs, plans[-1].out_channels, height, width)
        head = self.head
        return costs | head_costs(
            self.rows[-1].out_channels,
            head.conv_channels,
            head.feature_channels,
            head.feature_bias,
            head.feature_norm,
            self.num_classes,
            height,
            width,
        )

    def shapes(self, size: tuple[int, int] | None = None) -> dict[str, tuple[int, int, int]]:
        """(channels, height, width) that each entry of `row_costs` puts out."""
        return {name: (cost.channels, cost.height, cost.width) for name, cost in self.row_costs(size).items()}

    def macs(self, size: tuple[int, int] | int | None = None) -> int:
        """Multiply-accumulates of one picture: convolutions and linear layers only (1 MAC = 2 FLOP)."""
        return sum(cost.macs for cost in self.row_costs((size, size) if isinstance(size, int) else size).values())

    def params(self) -> int:
        """Trainable parameters, norm scales and shifts included, norm statistics not."""
        return sum(cost.params for cost in self.row_costs().values())

    def scaled(self, width_multiplier: float, *, scale_stem: bool = True) -> Table:
        """The table with all widths multiplied and rounded to `divisor`; inner widths follow from the scaled ones.

        The head's layers follow `Head.conv_scaling` and `Head.feature_scaling`; `scale_stem=False` keeps the stem.
        What libraries do otherwise is in `families.widths`.

        **Source:** MobileNetV2 and MobileNetV3 (arXiv 1801.04381, 1905.02244, Table 9), with the rounding of their
        published code.
        """
        if type(width_multiplier) not in (int, float) or not 0.01 <= width_multiplier <= 100:
            raise InputError(
                f"table '{self.name}': width_multiplier must be a number between 0.01 and 100, got {width_multiplier!r}"
            )
        if width_multiplier == 1:
            return self  # nothing is rounded: a published width need not be a multiple of the divisor

        def scale(channels: int) -> int:
            return make_divisible(channels * width_multiplier, self.divisor)

        def scale_layer(channels: int | None, how: str) -> int | None:
            if channels is None or how == "fixed":
                return channels
            return max(channels, scale(channels)) if how == "at_least" else scale(channels)

        head = self.head
        return replace(
            self,
            stem=replace(self.stem, out_channels=scale(self.stem.out_channels)) if scale_stem else self.stem,
            rows=tuple(replace(row, out_channels=scale(row.out_channels)) for row in self.rows),
            head=replace(
                head,
                conv_channels=scale_layer(head.conv_channels, head.conv_scaling),
                feature_channels=scale_layer(head.feature_channels, head.feature_scaling),
            ),
        )

    def for_small_images(self, strides: int = 2) -> Table:
        """The table with its first `strides` strides of 2 (stem first) turned to 1, for pictures of about 32 pixels."""
        layers = [self.stem, *self.rows]
        twos = [i for i, row in enumerate(layers) if row.stride == 2][:strides]
        layers = [replace(row, stride=1) if i in twos else row for i, row in enumerate(layers)]
        return replace(self, stem=layers[0], rows=tuple(layers[1:]))

    def rows_text(self) -> str:
        """One readable line per row, with output shape, parameters and million multiply-accumulates."""
        lines = [f"{self.name} at {self.input_size[0]}x{self.input_size[1]}"]
        costs, layers = self.row_costs(), {"stem": self.stem} | {f"row{i}": row for i, row in enumerate(self.rows)}
        for name, cost in costs.items():
            what = (
                describe_row(layers[name])
                if name in layers
                else {"classifier": f"{self.num_classes} classes"}.get(name, "1x1")
            )
            shape = f"{cost.channels}x{cost.height}x{cost.width}"
            lines.append(f"{name:13} {what:44} -> {shape:12} {cost.params:>10,} params {cost.macs / 1e6:>9.3f}M MACs")
        lines.append(f"{'total':13} {'':44}    {'':12} {self.params():>10,} params {self.macs() / 1e6:>9.3f}M MACs")
        return "\n".join(lines)
