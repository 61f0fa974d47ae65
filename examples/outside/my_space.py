"""A search space of your own: plain separable networks. In a recipe: `[search] space = "my_space:separable"`.

A space is named choices and one `build(point) -> Table`. It is made from the reference network, the number of classes,
the pictures' size, and `search.options`.
"""

from __future__ import annotations

from typing import Any

from limbeck.models import Row, Table
from limbeck.models.table import Head
from limbeck.search import Point, Space


def separable(
    *, reference: Any, num_classes: int, picture_size: tuple[int, int], widths: list[int] | None = None, **_: Any
) -> Space:
    """Depthwise separable networks of three stages; the reference network only lends its name."""
    sides = tuple(sorted({picture_size[0], max(8, picture_size[0] * 3 // 4)}))
    choices = {
        "input_side": sides,
        "width": tuple(widths or (8, 16, 24)),
        "depth": (1, 2, 3),
        "kernel_size": (3, 5),
    }

    def build(point: Point) -> Table:
        width, kernel_size = int(point["width"]), int(point["kernel_size"])
        rows = tuple(
            Row("separable", width * factor, kernel_size=kernel_size, stride=stride, repeats=int(point["depth"]))
            for factor, stride in ((1, 1), (2, 2), (4, 2))
        )
        return Table(
            name="separable",
            stem=Row("conv", width, stride=1),
            rows=rows,
            head=Head(),
            num_classes=num_classes,
            input_size=(int(point["input_side"]),) * 2,
        )

    smallest = {name: ids[0] for name, ids in choices.items()}
    lent = getattr(reference, "name", str(reference))
    return Space(
        "separable", choices, build, reference={**smallest, "input_side": sides[-1]}, origin={"reference": lent}
    )
