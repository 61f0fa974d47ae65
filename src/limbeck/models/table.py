"""An architecture as data: rows of blocks, a stem, a head and the conventions they share; JSON both ways.

Not here: tensors. Counting lives in `costs`, building in `network`, the published tables in `families`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.files import fingerprint
from limbeck.models.costs import BlockPlan, Cost, block_cost, head_costs, make_divisible

__all__ = ["ACTIVATIONS", "BLOCKS", "Head", "Row", "Table"]

BLOCKS = ("conv", "separable", "inverted")
ACTIVATIONS = ("relu", "relu6", "hard_swish", "silu", "identity")
CHOICES = {
    "skip": ("identity", "none"),
    "padding": ("symmetric", "same"),
    "se_from": ("expanded", "input"),
    "se_gate": ("hard_sigmoid", "sigmoid"),
    "se_activation": ACTIVATIONS,
    "conv_scaling": ("scaled", "at_least", "fixed"),
}


def check_choice(record: Any, field: str, known: tuple[str, ...], where: str) -> None:
    """Raise InputError unless `record.field` is one of `known`."""
    value = getattr(record, field)
    if value not in known:
        raise unknown_name(field, str(value), known, where=where)


def check_count(record: Any, field: str, where: str, *, lowest: int = 1) -> None:
    """Raise InputError unless `record.field` is a whole number of at least `lowest`."""
    value = getattr(record, field)
    if type(value) is not int or value < lowest:
        raise InputError(f"{where}: {field} must be a whole number of at least {lowest}, got {value!r}")


def check_number(record: Any, field: str, where: str, *, low: float, high: float, open_low: bool = False) -> None:
    """Raise InputError unless `record.field` is a number in [low, high] (or (low, high])."""
    value = getattr(record, field)
    if type(value) not in (int, float) or not (low < value if open_low else low <= value) or not value <= high:
        raise InputError(f"{where}: {field} must be a number between {low} and {high}, got {value!r}")


def from_mapping(kind: type, value: Any, where: str) -> Any:
    """Build a record from a JSON object; a missing or unknown key is an InputError."""
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: expected an object with the fields of a {kind.__name__.lower()}, got {value!r}")
    known = {field.name: field.default is MISSING for field in fields(kind)}
    for key in value:
        if key not in known:
            raise unknown_name("key", str(key), known, where=where)
    for key, is_needed in known.items():
        if is_needed and key not in value:
            raise InputError(f"{where}: the key '{key}' is missing")
    return kind(**value)


@dataclass(frozen=True)
class Row:
    """Some blocks of one design in a row; the first has the stride, the others stride 1.

    Attributes:
        block: `conv` (k x k convolution, norm, activation); `separable` (depthwise then 1x1, norm and activation after
            each: MobileNetV1); `inverted` (1x1 expansion, depthwise, squeeze-excite, linear 1x1 projection:
            MobileNetV2, MnasNet, MobileNetV3; without the expansion layer where `expansion` is 1).
        out_channels: channels that every block of the row gives.
        kernel_size: side of the (depthwise) kernel, odd.
        stride: 1 or 2, of the first block.
        repeats: number of blocks.
        expansion: width inside an `inverted` block over the width that enters it.
        se_ratio: squeeze-excite width over the width it is taken from (`Table.se_from`); 0 = no squeeze-excite.
        activation: `relu`, `relu6`, `hard_swish`, `silu` or `identity`.
        skip: `identity` adds an `inverted` block's input to its output wherever their shapes are equal; `none` never
            does.
    """

    block: str
    out_channels: int
    kernel_size: int = 3
    stride: int = 1
    repeats: int = 1
    expansion: float = 1.0
    se_ratio: float = 0.0
    activation: str = "relu"
    skip: str = "identity"

    def __post_init__(self) -> None:
        where = f"row {self.block!r}"
        check_choice(self, "block", BLOCKS, where)
        check_choice(self, "activation", ACTIVATIONS, where)
        check_choice(self, "skip", CHOICES["skip"], where)
        for field in ("out_channels", "kernel_size", "stride", "repeats"):
            check_count(self, field, where)
        check_number(self, "expansion", where, low=0, high=64, open_low=True)
        check_number(self, "se_ratio", where, low=0, high=4)
        if self.kernel_size % 2 == 0:
            raise InputError(f"{where}: kernel_size must be odd, got {self.kernel_size}")
        if self.stride > 2:
            raise InputError(f"{where}: stride must be 1 or 2, got {self.stride}")
        if self.block != "inverted" and (self.expansion != 1 or self.se_ratio != 0):
            raise InputError(f"{where}: only an 'inverted' row has expansion and se_ratio")


@dataclass(frozen=True)
class Head:
    """What follows the rows: a 1x1 convolution, global average pooling, a feature layer (both optional), classifier.

    Attributes:
        conv_channels: width of the 1x1 convolution (with norm and activation) before pooling; None = none.
        feature_channels: width of the layer (with activation, without norm) between pooling and classifier; None =
            none.
        activation: of both.
        feature_bias: whether the feature layer has a bias.
        conv_scaling: what a width multiplier does to `conv_channels`: `scaled`; `at_least` (never below what is
            written: MobileNetV2); `fixed`. The feature layer is never scaled.
    """

    conv_channels: int | None = None
    feature_channels: int | None = None
    activation: str = "relu"
    feature_bias: bool = True
    conv_scaling: str = "scaled"

    def __post_init__(self) -> None:
        check_choice(self, "activation", ACTIVATIONS, "head")
        if type(self.feature_bias) is not bool:
            raise InputError(f"head: feature_bias must be true or false, got {self.feature_bias!r}")
        check_choice(self, "conv_scaling", CHOICES["conv_scaling"], "head")
        for field in ("conv_channels", "feature_channels"):
            if getattr(self, field) is not None:
                check_count(self, field, "head")


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
        divisor: widths inside blocks, and widths after scaling, are rounded to multiples of this.
        bn_eps: added to the variance in batch norm; belongs to the weights (libraries differ on the same architecture).
        bn_momentum: share of the new batch in the running statistics.
        padding: `symmetric` (k // 2 on every side) or `same` (TensorFlow's: right and bottom get the odd pixel at
            stride 2).
        se_from: `expanded` (MobileNetV3) or `input` (MnasNet): the width that `se_ratio` is a share of.
        se_divisor: squeeze widths are rounded to multiples of this.
        se_gate: `hard_sigmoid` (MobileNetV3) or `sigmoid`.
        se_activation: after the squeeze.
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
        check_number(self, "dropout", where, low=0, high=0.999)
        check_number(self, "bn_eps", where, low=0, high=1, open_low=True)
        check_number(self, "bn_momentum", where, low=0, high=1)
        size = self.input_size
        if not (isinstance(size, tuple) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
            raise InputError(f"{where}: input_size must be (height, width) in pixels, got {self.input_size!r}")

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
        for row in (self.stem, *self.rows):
            plans = []
            for repeat in range(row.repeats):
                plans.append(self.plan(row, channels, row.stride if repeat == 0 else 1))
                channels = row.out_channels
            groups.append(tuple(plans))
        return tuple(groups)

    def plan(self, row: Row, in_channels: int, stride: int) -> BlockPlan:
        """One block of `row`, entered by `in_channels`."""
        expands = row.block == "inverted" and row.expansion != 1
        hidden = make_divisible(in_channels * row.expansion, self.divisor) if expands else in_channels
        squeezed_from = in_channels if self.se_from == "input" else hidden
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
            adds_input=row.block == "inverted"
            and row.skip == "identity"
            and stride == 1
            and in_channels == row.out_channels,
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
                cost = block_cost(plan, height, width)
                params, macs, height, width = params + cost.params, macs + cost.macs, cost.height, cost.width
            costs["stem" if i == 0 else f"row{i - 1}"] = Cost(params, macs, plans[-1].out_channels, height, width)
        head = self.head
        return costs | head_costs(
            self.rows[-1].out_channels,
            head.conv_channels,
            head.feature_channels,
            head.feature_bias,
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

        **Source:** MobileNetV2 and MobileNetV3 (arXiv 1801.04381, 1905.02244, Table 9), with the rounding of their
        published code; the layer after pooling is never scaled. `scale_stem=False` is timm's choice for MobileNetV3
        below 0.75.
        """
        if type(width_multiplier) not in (int, float) or not 0.01 <= width_multiplier <= 100:
            raise InputError(
                f"table '{self.name}': width_multiplier must be a number between 0.01 and 100, got {width_multiplier!r}"
            )
        if width_multiplier == 1:
            return self  # nothing is rounded: a published width need not be a multiple of the divisor

        def scale(channels: int) -> int:
            return make_divisible(channels * width_multiplier, self.divisor)

        conv = self.head.conv_channels
        if conv is not None and self.head.conv_scaling != "fixed":
            conv = max(conv, scale(conv)) if self.head.conv_scaling == "at_least" else scale(conv)
        return replace(
            self,
            stem=replace(self.stem, out_channels=scale(self.stem.out_channels)) if scale_stem else self.stem,
            rows=tuple(replace(row, out_channels=scale(row.out_channels)) for row in self.rows),
            head=replace(self.head, conv_channels=conv),
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


def describe_row(row: Row) -> str:
    """A row in a few words, such as `2x inverted k5 s2 e6 se0.25 hard_swish`."""
    words = [f"{row.repeats}x {row.block} k{row.kernel_size} s{row.stride}"]
    if row.block == "inverted":
        words += (
            [f"e{row.expansion:.4g}"]
            + ([f"se{row.se_ratio:g}"] if row.se_ratio else [])
            + (["noskip"] if row.skip == "none" else [])
        )
    return " ".join([*words, row.activation])
