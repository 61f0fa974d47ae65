"""MnasNet's factorized hierarchical space around a reference table, and the flat space of the same layers.

Not here: the space of factors (`blocks`), and what any point costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limbeck.errors import InputError
from limbeck.models import Row, Table
from limbeck.models.rows import CHOICES
from limbeck.search.reference import checked_kernels, checked_numbers, checked_size, find_blocks, reference_table
from limbeck.search.space import Point, Scalar, Space

__all__ = ["BlockwiseBuilder", "LayerwiseBuilder", "flat_space", "mnasnet_space"]

OPS = ("conv", "sepconv", "mbconv3", "mbconv6")
LAYER = ("op", "kernel", "se", "skip", "width")  # in the order of the decisions


def mnasnet_space(
    reference: str | Table = "mobilenet_v2",
    *,
    num_classes: int = 1000,
    picture_size: int | tuple[int, int] = 224,
    ops: Sequence[str] = OPS,
    kernels: Sequence[int] = (3, 5),
    se_ratios: Sequence[float] = (0.0, 0.25),
    skips: Sequence[str] = ("pool", "identity", "none"),
    widths: Sequence[float] | Sequence[Sequence[int]] = (0.75, 1.0, 1.25),
    depths: Sequence[int] = (-1, 0, 1),
    small_images: bool | None = None,
) -> Space:
    """The factorized hierarchical space: every block chooses one design of layer, its width and how often it comes.

    A block is a run of rows of the reference with the same width and kernel. Its choices, in this order, are `op`, `kernel`
    (side in pixels), `se` (squeeze-excite ratio, 0 = none), `skip`, `width` (output channels) and `depth` (layers more
    or less): 4 * 2 * 2 * 3 * 3 * 3 = 432 designs of a block. Strides, stem, head, activation and the one resolution are
    the reference's. What the reference has is always among the choices; of a block whose rows differ inside, the
    reference point takes the first row.

    Every point builds; what cannot be is repaired by one rule: a regular convolution has no squeeze-excite, a skip is
    left out wherever it does not fit (`identity` needs equal shapes, `pool` equal widths), and a block keeps one layer at
    least. So some points build the same network.

    Args:
        reference: a name of one of our families, or a table (whose strides and resolution are then kept).
        num_classes: K.
        picture_size: side or (height, width) of a named reference's input.
        ops: `conv` (one k x k convolution); `sepconv` (depthwise, then linear 1x1); `mbconvE` and `fusedE` (inverted
            residual, and its fused form, that expand E times).
        kernels: sides, odd.
        se_ratios: squeeze width over the width that enters the block.
        skips: of `identity`, `pool`, `none`.
        widths: factors on every block's width, rounded to the nearest multiple of the table's divisor, ties away from
            the block's own; or one list of channels per block.
        depths: layers more or less.
        small_images: stem without stride, as in `create_model`.

    Raises:
        InputError: a value out of range, or a reference whose blocks this space does not have.

    **Source:** Tan et al. 2019, arXiv 1807.11626, section 4.1; expansions 3 and 6 as in its results. Squeeze-excite as in
    its authors' code, where the reference brings none of its own.
    **Differs:** the pooled skip and the rounding of widths are not published; ours is the input's 3x3 averages at the
    block's stride, and the rounding keeps the three widths three. Skip and squeeze-excite also fit `sepconv`.
    """
    spec = _read("mnasnet", reference, num_classes, picture_size, small_images)
    options = _Options.check("mnasnet", spec, ops, kernels, se_ratios, skips, widths, depths)
    choices: dict[str, tuple[Scalar, ...]] = {}
    own: Point = {}
    for index in range(len(spec.blocks)):
        layer = options.of_block(index)
        choices |= {f"block{index}.{name}": tuple(ids) for name, ids in layer.items()}
        choices[f"block{index}.depth"] = options.depths
        own |= {f"block{index}.{name}": one for name, one in spec.design(index).items()}
        own[f"block{index}.depth"] = 0
    return Space("mnasnet", choices, BlockwiseBuilder(spec), own, _origin("mnasnet_space", spec))


def flat_space(
    reference: str | Table = "mobilenet_v2",
    *,
    num_classes: int = 1000,
    picture_size: int | tuple[int, int] = 224,
    ops: Sequence[str] = OPS,
    kernels: Sequence[int] = (3, 5),
    se_ratios: Sequence[float] = (0.0, 0.25),
    skips: Sequence[str] = ("pool", "identity", "none"),
    widths: Sequence[float] | Sequence[Sequence[int]] = (0.75, 1.0, 1.25),
    depths: Sequence[int] = (-1, 0, 1),
    small_images: bool | None = None,
) -> Space:
    """The space that the factorized one is compared with: every layer chooses for itself.

    It holds every network of `mnasnet_space` of the same arguments, and many more. Each block chooses its depth; each of
    as many layers as the deepest has chooses `op`, `kernel`, `se`, `skip` and `width`. The choices of a layer beyond the
    depth are read by nobody. Arguments, repairs and errors are those of `mnasnet_space`.

    **Source:** the flat per-layer space of arXiv 1807.11626, section 4.1, which it only counts.
    """
    spec = _read("mnasnet_flat", reference, num_classes, picture_size, small_images)
    options = _Options.check("mnasnet_flat", spec, ops, kernels, se_ratios, skips, widths, depths)
    choices: dict[str, tuple[Scalar, ...]] = {}
    own: Point = {}
    for index in range(len(spec.blocks)):
        choices[f"block{index}.depth"], own[f"block{index}.depth"] = options.depths, 0
        for layer in range(spec.depth(index, max(options.depths))):
            name = f"block{index}.layer{layer}"
            choices |= {f"{name}.{choice}": tuple(ids) for choice, ids in options.of_block(index).items()}
            own |= {f"{name}.{choice}": one for choice, one in spec.design(index).items()}
    return Space("mnasnet_flat", choices, LayerwiseBuilder(spec), own, _origin("flat_space", spec))


@dataclass(frozen=True)
class _Skeleton:
    """The reference and its blocks: what every point of both spaces shares; plain data, so that it can be sent away."""

    table: Table
    blocks: tuple[tuple[int, int], ...]

    def rows(self, index: int) -> Sequence[Row]:
        first, end = self.blocks[index]
        return self.table.rows[first:end]

    def depth(self, index: int, more: int) -> int:
        return max(1, sum(row.repeats for row in self.rows(index)) + more)

    def design(self, index: int) -> dict[str, Scalar]:
        """What the reference has here, in the space's words."""
        row = self.rows(index)[0]
        if row.block in ("conv", "separable"):
            op = "conv" if row.block == "conv" else "sepconv"
        elif row.expansion == 1:
            op = "sepconv" if row.block == "inverted" else "conv"
        else:
            op = f"{'mbconv' if row.block == 'inverted' else 'fused'}{row.expansion:.6g}"
        se = float(row.se_ratio)
        return {"op": op, "kernel": row.kernel_size, "se": se, "skip": row.skip, "width": row.out_channels}

    def row(self, index: int, chosen: Mapping[str, Any], *, repeats: int, is_first: bool) -> Row:
        """A row of one design; the stride belongs to the block's first layer."""
        like = self.rows(index)[0]
        block, expansion = _block_of(str(chosen["op"]))
        is_conv = block == "fused" and expansion == 1
        return Row(
            block,
            int(chosen["width"]),
            kernel_size=int(chosen["kernel"]),
            stride=like.stride if is_first else 1,
            repeats=repeats,
            expansion=expansion,
            se_ratio=0.0 if is_conv else float(chosen["se"]),
            activation=like.activation,
            skip=str(chosen["skip"]),
        )

    def with_rows(self, rows: Sequence[Row]) -> Table:
        table = replace(self.table, rows=tuple(rows))
        return table if table == self.table else replace(table, name=f"{table.name}-searched")


@dataclass(frozen=True)
class BlockwiseBuilder:
    """Builds the table of a point of `mnasnet_space`; plain data, so that it can be sent to another process."""

    skeleton: _Skeleton

    def __call__(self, point: Point) -> Table:
        """One row per block."""
        rows = []
        for index in range(len(self.skeleton.blocks)):
            chosen = {name: point[f"block{index}.{name}"] for name in LAYER}
            repeats = self.skeleton.depth(index, int(point[f"block{index}.depth"]))
            rows.append(self.skeleton.row(index, chosen, repeats=repeats, is_first=True))
        return self.skeleton.with_rows(rows)


@dataclass(frozen=True)
class LayerwiseBuilder:
    """Builds the table of a point of `flat_space`; plain data, so that it can be sent to another process."""

    skeleton: _Skeleton

    def __call__(self, point: Point) -> Table:
        """A row per run of equal layers, so that what both spaces can say has the same table."""
        rows: list[Row] = []
        for index in range(len(self.skeleton.blocks)):
            for layer in range(self.skeleton.depth(index, int(point[f"block{index}.depth"]))):
                chosen = {name: point[f"block{index}.layer{layer}.{name}"] for name in LAYER}
                row = self.skeleton.row(index, chosen, repeats=1, is_first=layer == 0)
                if layer > 0 and replace(rows[-1], stride=1, repeats=1) == row:
                    rows[-1] = replace(rows[-1], repeats=rows[-1].repeats + 1)
                else:
                    rows.append(row)
        return self.skeleton.with_rows(rows)


@dataclass(frozen=True)
class _Options:
    """The checked ids; each block adds what its reference has."""

    spec: _Skeleton
    layer: dict[str, list[Any]]
    widths: list[list[int]]  # of each block
    depths: tuple[int, ...]

    @classmethod
    def check(
        cls, name: str, spec: _Skeleton, ops: Any, kernels: Any, se_ratios: Any, skips: Any, widths: Any, depths: Any
    ) -> _Options:
        where = f"space '{name}'"
        for op in (checked_ops := _checked_words(where, "ops", ops)):
            try:
                _block_of(op)
            except ValueError:
                raise InputError(
                    f"{where}: ops has '{op}'; expected conv, sepconv, mbconvE or fusedE with an expansion E such as mbconv6"
                ) from None
        checked_skips = _checked_words(where, "skips", skips)
        if wrong := [one for one in checked_skips if one not in CHOICES["skip"]]:
            raise InputError(f"{where}: skips has '{wrong[0]}'; expected some of {', '.join(CHOICES['skip'])}")
        ratios = [float(one) for one in checked_numbers(where, "se_ratios", se_ratios, low=0, high=4)]
        layers = checked_numbers(where, "depths", depths, low=-64, high=64, whole=True)
        sides = checked_kernels(where, kernels)
        layer: dict[str, list[Any]] = {"op": checked_ops, "kernel": sides, "se": ratios, "skip": checked_skips}
        return cls(spec, layer, _checked_widths(where, spec, widths), tuple(sorted({0, *layers})))

    def of_block(self, index: int) -> dict[str, list[Any]]:
        own = self.spec.design(index)
        ids = {**self.layer, "width": self.widths[index]}
        extended = {name: values if own[name] in values else [*values, own[name]] for name, values in ids.items()}
        return {
            name: sorted(values) if name in ("kernel", "se", "width") else values for name, values in extended.items()
        }


def _read(
    name: str, reference: str | Table, num_classes: int, picture_size: Any, small_images: bool | None
) -> _Skeleton:
    where = f"space '{name}'"
    table = reference_table(where, reference, num_classes, checked_size(where, picture_size), small_images)
    for index, row in enumerate(table.rows):
        if not row.kernel_size or row.start_kernel_size or row.expands_at_one or row.dilation > 1:
            raise InputError(
                f"{where}: row {index} of '{table.name}' is of a kind that this space does not have (no kernel, a second "
                "depthwise layer, an expansion of 1 that is a layer, or dilation); mobilenet_v2 fits"
            )
    if all(row.se_ratio == 0 for row in table.rows):
        table = replace(table, se_from="input", se_divisor=1, se_gate="sigmoid")
    return _Skeleton(table, find_blocks(table))


def _origin(builder: str, spec: _Skeleton) -> dict[str, Any]:
    return {"builder": f"limbeck.search:{builder}", "reference": spec.table.to_json()}


def _block_of(op: str) -> tuple[str, float]:
    """The block of a row and its expansion; a fused block without an expansion is one plain convolution with a skip.

    Raises:
        ValueError: it is no op.
    """
    if op in ("conv", "sepconv"):
        return ("fused" if op == "conv" else "inverted"), 1.0
    for word, block in (("mbconv", "inverted"), ("fused", "fused")):
        if op.startswith(word) and 1 < (expansion := float(op.removeprefix(word))) <= 64:
            return block, expansion
    raise ValueError(op)


def _checked_words(where: str, name: str, values: Any) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError(f"{where}: {name} must be a list of words, got {values!r}")
    return list(dict.fromkeys(str(one) for one in values))


def _checked_widths(where: str, spec: _Skeleton, widths: Any) -> list[list[int]]:
    own = [rows[0].out_channels for rows in map(spec.rows, range(len(spec.blocks)))]
    is_per_block = isinstance(widths, Sequence) and bool(widths) and all(isinstance(one, Sequence) for one in widths)
    if is_per_block and not isinstance(widths, str):
        if len(widths) != len(own):
            raise InputError(f"{where}: widths has {len(widths)} lists for {len(own)} blocks ({_shown(own)} channels)")
        lists = (checked_numbers(where, "widths", one, low=1, high=65536, whole=True) for one in widths)
        return [sorted(one) for one in lists]
    factors = checked_numbers(where, "widths", widths, low=0.01, high=8.0)
    return [list(_scaled(channels, factors, spec.table.divisor)) for channels in own]


def _scaled(channels: int, factors: Sequence[float], divisor: int) -> Iterator[int]:
    """The distinct widths, smallest first; a published width that is no multiple of the divisor stays itself at 1."""
    found = set()
    for factor in factors:
        steps, rest = divmod(channels * factor, divisor)
        is_up = rest > divisor / 2 or (rest == divisor / 2 and factor > 1)
        found.add(channels if factor == 1 else int(max(1, steps + is_up)) * divisor)
    yield from sorted(found)


def _shown(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
