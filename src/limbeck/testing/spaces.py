"""What every search space must do: the conformance suite for a space of your own. The spaces are `limbeck.search`'s."""

from __future__ import annotations

import json
from typing import Any

import torch

from limbeck.files import fingerprint
from limbeck.models.network import Network
from limbeck.models.table import Table
from limbeck.search import Point, Space

__all__ = ["check_space"]


def check_space(space: Space, *, num_classes: int, forward: bool = True) -> None:
    """Hold a space to its rules: every id of every choice builds, by the point alone, and each choice matters.

    A choice need not matter everywhere (a skip does nothing in a block of one layer that changes the width): it must
    around the reference, or around the point that has the last id of everything. Of modules it matters if it changes
    their parts in words, the shapes of their parameters, or what they cost.

    Args:
        space: the space; one that builds modules as `open_space` gives it.
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
            built = _build(space, point)
            assert built.num_classes == num_classes, f"{choice} = {one!r} gives {built.num_classes} classes"
            restored = json.loads(json.dumps(point))
            assert _print(_build(space, restored)) == _print(built), (
                f"{choice} = {one!r}: the same point built twice, once by way of JSON, gives two networks"
            )
            prints.append(_print(built))
        if len(ids) > 1 and len(set(prints)) == 1:
            there = {_print(_build(space, {**last, choice: one})) for one in ids}
            assert len(there) > 1, f"choice '{choice}' changes nothing around the reference, nor around the last point"
    first: Point = {name: ids[0] for name, ids in space.choices.items()}
    for point in (reference, first, last):
        assert _build(space, point).params() > 0, f"{point} has no parameters"
        if forward:
            network = space.network(point).eval()
            with torch.no_grad():
                logits = network(torch.rand(1, *network.sample_shape))
            assert logits.shape == (1, num_classes), f"{point} gives logits of shape {list(logits.shape)}"


def _build(space: Space, point: dict[str, Any]) -> Table | Network:
    kept = dict(point)
    built = space.build(point)
    assert point == kept, "build() changed the point"
    assert isinstance(built, Table | torch.nn.Module), (
        f"build() must give a Table or a torch module, not {type(built).__name__}"
    )
    return built if isinstance(built, Table) else space.candidate(point)


def _print(built: Table | Network) -> str:
    if isinstance(built, Table):
        return built.fingerprint()
    shapes = {name: list(value.shape) for name, value in built.named_parameters()}
    return fingerprint([repr(built), shapes, built.input_size, built.macs()])
