"""The pieces that tables are made of: `Row` (blocks of one design) and `Head`, with the checks of their values.

Not here: whole networks (`table`), counting (`costs`), rows from other notations (`block_text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from limbeck.errors import InputError, unknown_name

__all__ = ["ACTIVATIONS", "BLOCKS", "CHOICES", "EXPANDING", "Head", "Row", "describe_row", "from_mapping"]

BLOCKS = ("conv", "separable", "inverted", "fused")
EXPANDING = ("inverted", "fused")  # the blocks with an expansion, squeeze-excite and a skip
ACTIVATIONS = ("relu", "relu6", "hard_swish", "silu", "identity")
SCALINGS = ("scaled", "at_least", "fixed")
CHOICES = {
    "skip": ("identity", "pool", "none"),
    "padding": ("symmetric", "same"),
    "se_from": ("expanded", "input"),
    "se_gate": ("hard_sigmoid", "sigmoid"),
    "se_activation": (*ACTIVATIONS, "block"),
    "conv_scaling": SCALINGS,
    "feature_scaling": SCALINGS,
}


def check_choice(record: Any, field: str, known: tuple[str, ...], where: str) -> None:
    """Raise InputError unless `record.field` is one of `known`."""
    value = getattr(record, field)
    if value not in known:
        raise unknown_name(field, str(value), known, where=where)


def check_flag(record: Any, field: str, where: str) -> None:
    """Raise InputError unless `record.field` is a truth value."""
    if type(getattr(record, field)) is not bool:
        raise InputError(f"{where}: {field} must be true or false, got {getattr(record, field)!r}")


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

    The published names in this language: MBConv of MnasNet and MobileNetV3 = `inverted`; its SepConv = `inverted` with
    expansion 1; the universal inverted bottleneck of MobileNetV4 = `inverted` with `start_kernel_size` (ExtraDW), also
    with `kernel_size` 0 (ConvNext), or with neither kernel (FFN); fused MBConv = `fused`; a regular convolution with a
    skip = `fused` with expansion 1.

    Attributes:
        block: `conv` (k x k convolution, norm, activation); `separable` (depthwise then 1x1, norm and activation after
            each: MobileNetV1); `inverted` (1x1 expansion, depthwise, squeeze-excite, linear 1x1 projection; without the
            expansion layer where `expansion` is 1); `fused` (k x k expansion, squeeze-excite, linear 1x1 projection;
            squeeze-excite, then one k x k convolution with activation, where `expansion` is 1).
        out_channels: channels that every block of the row gives.
        kernel_size: side of the (depthwise) kernel, odd; 0 = an `inverted` block without its depthwise layer.
        stride: 1 or 2, of the first block.
        repeats: number of blocks.
        expansion: width inside an `inverted` or `fused` block over the width that enters it.
        se_ratio: squeeze-excite width over the width it is taken from (`Table.se_from`); 0 = no squeeze-excite.
        activation: `relu`, `relu6`, `hard_swish`, `silu` or `identity`.
        skip: of `inverted` and `fused` blocks: `identity` adds the input to the output wherever their shapes are equal;
            `pool` adds the input's 3x3 averages, taken at the block's stride, wherever the widths are equal; `none`
            adds nothing. The other blocks never add their input.
        start_kernel_size: side of a further depthwise kernel (norm, no activation) before the expansion of an
            `inverted` block, odd; it has the stride where `kernel_size` is 0. 0 = none.
        expands_at_one: whether there is an expansion layer even where `expansion` is 1 (FBNet).
        dilation: distance of the taps of every kernel above 1x1, in pixels of its input; 1 = a plain convolution.
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
    start_kernel_size: int = 0
    expands_at_one: bool = False
    dilation: int = 1

    def __post_init__(self) -> None:
        where = f"row {self.block!r}"
        check_choice(self, "block", BLOCKS, where)
        check_choice(self, "activation", ACTIVATIONS, where)
        check_choice(self, "skip", CHOICES["skip"], where)
        for field in ("out_channels", "stride", "repeats", "dilation"):
            check_count(self, field, where)
        check_count(self, "kernel_size", where, lowest=0 if self.block == "inverted" else 1)
        check_count(self, "start_kernel_size", where, lowest=0)
        check_number(self, "expansion", where, low=0, high=64, open_low=True)
        check_number(self, "se_ratio", where, low=0, high=4)
        check_flag(self, "expands_at_one", where)
        for field in ("kernel_size", "start_kernel_size"):
            if (side := getattr(self, field)) and side % 2 == 0:
                raise InputError(f"{where}: {field} must be odd, got {side}")
        if self.stride > 2:
            raise InputError(f"{where}: stride must be 1 or 2, got {self.stride}")
        if self.block not in EXPANDING and (self.expansion != 1 or self.se_ratio != 0 or self.skip == "pool"):
            raise InputError(f"{where}: only an 'inverted' or 'fused' row has expansion, se_ratio and a pooled skip")
        if self.block != "inverted" and (self.start_kernel_size or self.expands_at_one):
            raise InputError(f"{where}: only an 'inverted' row has start_kernel_size and expands_at_one")
        if self.stride > 1 and not self.kernel_size and not self.start_kernel_size:
            raise InputError(f"{where}: a stride of {self.stride} needs kernel_size or start_kernel_size")


@dataclass(frozen=True)
class Head:
    """What follows the rows: a 1x1 convolution, global average pooling, a feature layer (both optional), classifier.

    Attributes:
        conv_channels: width of the 1x1 convolution (with norm and activation) before pooling; None = none.
        feature_channels: width of the layer (with activation) between pooling and classifier; None = none.
        activation: of both.
        feature_bias: whether the feature layer has a bias.
        conv_scaling: what a width multiplier does to `conv_channels`: `scaled`; `at_least` (never below what is
            written: MobileNetV2); `fixed`.
        feature_norm: whether a norm follows the feature layer (MobileNetV4).
        feature_scaling: what a width multiplier does to `feature_channels`, as above.
    """

    conv_channels: int | None = None
    feature_channels: int | None = None
    activation: str = "relu"
    feature_bias: bool = True
    conv_scaling: str = "scaled"
    feature_norm: bool = False
    feature_scaling: str = "fixed"

    def __post_init__(self) -> None:
        check_choice(self, "activation", ACTIVATIONS, "head")
        for field in ("feature_bias", "feature_norm"):
            check_flag(self, field, "head")
        for field in ("conv_scaling", "feature_scaling"):
            check_choice(self, field, CHOICES[field], "head")
        for field in ("conv_channels", "feature_channels"):
            if getattr(self, field) is not None:
                check_count(self, field, "head")


def describe_row(row: Row) -> str:
    """A row in a few words, such as `2x inverted k5 s2 e6 se0.25 hard_swish`."""
    words = [f"{row.repeats}x {row.block} k{row.kernel_size} s{row.stride}"]
    if row.start_kernel_size:
        words.insert(1, f"start{row.start_kernel_size}")
    if row.dilation > 1:
        words.append(f"d{row.dilation}")
    if row.block in EXPANDING:
        words += (
            [f"e{row.expansion:.4g}"]
            + ([f"se{row.se_ratio:g}"] if row.se_ratio else [])
            + ({"none": ["noskip"], "pool": ["poolskip"]}.get(row.skip, []))
        )
    return " ".join([*words, row.activation])
