"""What every search space must do: the conformance suite for a space of your own. The spaces are `limbeck.search`'s."""

from __future__ import annotations

import json
from typing import Any

import torch

from limbeck.models.network import build
from limbeck.models.table import Table
from limbeck.search import Point, Space

__all__ = ["check_space"]


def check_space(space: Space, *, num_classes: int, forward: bool = True) -> None:
    """Hold a space to its rules: every id of every choice builds, by the point alone, and each choice matters.

    A choice need not matter everywhere (a skip does nothing in a block of one layer that changes the width): it must
    around the reference, or around the point that has the last id of everything.

    Args:
        space: the space.
        num_classes: that it was made for.
        forward: also run the networks of the reference and of the first and last point on noise.

    Raises:
        AssertionError: the first rule that it breaks, in words.
    """
    assert isinstance(space, Space), f"a space must be a limbeck.search.Space, not {type(space).__name__}"
    reference, last = dict(space.reference), {name: ids[-1] for name, ids in space.choices.items()}
    for choice, ids in space.choices.items():
        prints = []
        for one in ids:
            point = {**reference, choice: one}
            table = _build(space, point)
            assert table.num_classes == num_classes, f"{choice} = {one!r} gives {table.num_classes} classes"
            restored = json.loads(json.dumps(point))
            assert _build(space, restored).fingerprint() == table.fingerprint(), (
                f"{choice} = {one!r}: the same point built twice, once by way of JSON, gives two tables"
            )
            prints.append(table.fingerprint())
        if len(ids) > 1 and len(set(prints)) == 1:
            there = {_build(space, {**last, choice: one}).fingerprint() for one in ids}
            assert len(there) > 1, f"choice '{choice}' changes nothing around the reference, nor around the last point"
    first: Point = {name: ids[0] for name, ids in space.choices.items()}
    for point in (reference, first, last):
        table = _build(space, point)
        assert table.params() > 0, f"{point} has no parameters"
        if forward:
            network = build(table).eval()
            with torch.no_grad():
                logits = network(torch.rand(1, table.in_channels, *table.input_size))
            assert logits.shape == (1, num_classes), f"{point} gives logits of shape {list(logits.shape)}"


def _build(space: Space, point: dict[str, Any]) -> Table:
    kept = dict(point)
    table = space.build(point)
    assert point == kept, "build() changed the point"
    assert isinstance(table, Table), f"build() must give a Table, not {type(table).__name__}"
    return table
