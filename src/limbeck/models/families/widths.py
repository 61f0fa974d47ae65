"""What a width multiplier does to a family: the papers' rule, timm's and torchvision's, where they differ.

Not here: the rounding (`costs`), scaling in general (`Table.scaled`).
"""

from __future__ import annotations

from dataclasses import replace

from limbeck.errors import unknown_name
from limbeck.models.costs import make_divisible
from limbeck.models.table import Table

__all__ = ["WIDTH_RULES", "at_width"]

WIDTH_RULES = ("paper", "timm", "torchvision")
# Families whose stem keeps its channels below a width, by the rule; no paper says what narrow MobileNetV4s are.
KEEPS_STEM_BELOW = {
    ("efficientnet_lite", "paper"): float("inf"),
    ("efficientnet_lite", "timm"): float("inf"),
    ("mobilenet_v3", "timm"): 0.75,
    ("mobilenet_v4", "paper"): 1.0,
    ("mobilenet_v4", "timm"): 1.0,
}


def at_width(table: Table, width: float, rule: str = "paper") -> Table:
    """A family's table at a width.

    `paper` scales stem and blocks, works the widths inside blocks out anew, and leaves layers of the head as the table
    says. `timm` is the same but for MobileNetV3, whose stem stays at 16 channels below 0.75. `torchvision` is the same
    but for MobileNetV3, where it scales the written widths inside blocks and the layer after pooling too.

    Args:
        table: as `MODELS` gives it.
        width: multiplier.
        rule: one of `WIDTH_RULES`.

    Raises:
        InputError: an unknown rule, or a width out of range.

    **Source:** MobileNetV3 (arXiv 1905.02244), Table 9, whose counts the paper's rule gives; the libraries' code.
    """
    if rule not in WIDTH_RULES:
        raise unknown_name("width_rule", rule, WIDTH_RULES)
    if rule == "torchvision" and table.name.startswith("mobilenet_v3"):
        return scale_all(table, width)
    limits = [
        limit for (family, whose), limit in KEEPS_STEM_BELOW.items() if table.name.startswith(family) and whose == rule
    ]
    return table.scaled(width, scale_stem=not any(width < limit for limit in limits))


def scale_all(table: Table, width: float) -> Table:
    """Every written width scaled for itself; the last convolution keeps its proportion to the last row."""
    scaled = table.scaled(width)
    if scaled is table:
        return table

    def scale(channels: int) -> int:
        return make_divisible(channels * width, table.divisor)

    rows = tuple(
        replace(row, repeats=1, stride=plan.stride, expansion=scale(plan.hidden_channels) / scale(plan.in_channels))
        for row, plans in zip(scaled.rows, table.blocks()[1:], strict=True)
        for plan in plans
    )
    head = table.head
    conv, features = head.conv_channels, head.feature_channels
    if conv is not None:
        conv = conv * rows[-1].out_channels // table.rows[-1].out_channels
    return replace(
        scaled,
        rows=rows,
        head=replace(head, conv_channels=conv, feature_channels=None if features is None else scale(features)),
    )
