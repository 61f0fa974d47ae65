import json
import math
import pickle
import random
import sys

import pytest
import torch

from limbeck.errors import InputError
from limbeck.models import build, create_model
from limbeck.models.table import Table
from limbeck.search import SPACES, Space, mobilenet_blocks, open_space

REFERENCES = (
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "mnasnet_a1",
    "mobilenet_v4_conv_small",
    "mobilenet_v4_conv_medium",
)


def draw(space, seed):
    chance = random.Random(seed)
    return {name: chance.choice(ids) for name, ids in space.choices.items()}


def made(reference="mobilenet_v3_small", **more):
    return mobilenet_blocks(reference, **{"num_classes": 10, "picture_size": 64, **more})


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("size", [32, 64, (96, 160)])
def test_the_reference_point_builds_the_reference(reference, size):
    space = made(reference, picture_size=size)
    table = create_model(reference, num_classes=10, input_size=size).table
    assert space.build(space.reference) == table
    assert space.build(space.reference).to_json() == table.to_json()


@pytest.mark.parametrize("reference", REFERENCES)
def test_every_point_gives_a_table_that_counts_and_returns_from_json(reference):
    space = made(reference)
    for seed in range(100):
        table = space.build(draw(space, seed))
        assert table.params() > 0
        assert table.macs() > 0
        assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table
        assert sum(row.stride == 2 for row in table.rows) == sum(
            row.stride == 2 for row in space.build(space.reference).rows
        )


@pytest.mark.parametrize("reference", ["mobilenet_v1", "mobilenet_v3_small", "mnasnet_a1", "mobilenet_v4_conv_medium"])
def test_points_build_networks_that_run_and_have_the_counted_parameters(reference):
    torch.set_num_threads(1)
    space = made(reference, picture_size=32)
    for seed in range(4):
        table = space.build(draw(space, seed))
        network = build(table).eval()
        assert sum(one.numel() for one in network.parameters()) == table.params()
        assert network(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_extreme_points_build():
    space = made(widths=(0.05, 4.0), depths=(-9, 9), kernels=(1, 31), expansions=(0.01, 8.0), input_sizes=(8, 512))
    for pick in (min, max):
        table = space.build({name: pick(ids) for name, ids in space.choices.items()})
        assert table.params() > 0
        assert all(row.expansion >= 1 for row in table.rows)
        assert table.macs() > 0


def test_each_choice_changes_what_it_says_and_nothing_else():
    space = made()
    reference = space.build(space.reference)

    def rows(name, value):
        return space.build({**space.reference, name: value}).rows

    # Block 2 of MobileNetV3-Small: three layers of 40 channels, kernel 5; the next one has 48.
    assert [row.out_channels for row in rows("block2.width", 0.5)] == [16, 24, 24, 24, 24, 24, 48, 48, 96, 96, 96]
    assert [row.kernel_size for row in rows("block2.kernel", 3)] == [3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5]
    assert len(rows("block2.depth", -1)) == 10
    assert rows("block2.depth", -1) == reference.rows[:5] + reference.rows[6:]
    assert sum(row.repeats for row in rows("block2.depth", 1)) == 12
    halved = rows("block2.expansion", 0.5)
    assert [row.expansion for row in halved[3:6]] == [row.expansion / 2 for row in reference.rows[3:6]]
    assert halved[:3] + halved[6:] == reference.rows[:3] + reference.rows[6:]
    smaller = space.build({**space.reference, "input_size": 32})
    assert (smaller.input_size, smaller.rows) == ((32, 32), reference.rows)


def test_the_longer_side_follows_in_proportion():
    space = made(picture_size=(96, 160), input_sizes=(48, 96))
    assert space.build({**space.reference, "input_size": 48}).input_size == (48, 80)
    assert space.build(space.reference).input_size == (96, 160)


def test_no_two_ids_of_a_choice_build_the_same():
    for reference in REFERENCES:
        space = made(reference, widths=(0.5, 0.75, 0.9, 0.95, 1.0, 1.05))
        for name, ids in space.choices.items():
            built = {space.build({**space.reference, name: one}).fingerprint() for one in ids}
            assert len(built) == len(ids), (reference, name)


def test_the_size_is_the_number_of_points():
    space = Space("s", {"a": (1, 2, 3), "b": ("x", "y")}, dict, {"a": 1, "b": "x"})
    assert space.size == 6
    assert made().size == math.prod(len(ids) for ids in made().choices.values())


def test_a_point_returns_from_json_and_is_checked():
    space = made()
    point = draw(space, 1)
    assert space.check(json.loads(json.dumps(point))) == point
    assert list(space.check(dict(reversed(point.items())))) == list(space.choices)
    with pytest.raises(InputError, match=r"did you mean 'block2\.width'"):
        space.check({**point, "block2.widht": 1.0})
    with pytest.raises(InputError, match=r"choice 'block2.width' is missing"):
        space.check({name: one for name, one in point.items() if name != "block2.width"})
    with pytest.raises(InputError, match=r"block2.kernel = 7 is none of 3, 5"):
        space.check({**point, "block2.kernel": 7})
    with pytest.raises(InputError, match="is none of"):
        space.check({**point, "block2.width": True})  # equal to 1.0 in Python, but no width


@pytest.mark.parametrize(
    ("choices", "reference", "told"),
    [
        ({}, {}, "has no choices"),
        ({"a": ()}, {}, "'a' has no ids"),
        ({"a": (1, (2, 3))}, {"a": 1}, "not a scalar"),
        ({"a": (1, 1.0)}, {"a": 1}, "repeats an id"),
        ({"a": (1, 2)}, {"a": 3}, "its reference: a = 3"),
    ],
)
def test_a_space_that_cannot_be_is_refused(choices, reference, told):
    with pytest.raises(InputError, match=told):
        Space("s", choices, dict, reference)


def test_a_space_can_be_sent_to_another_process():
    space = made()
    again = pickle.loads(pickle.dumps(space))
    point = draw(space, 3)
    assert again.build(point) == space.build(point)
    assert again.fingerprint == space.fingerprint


def test_the_fingerprint_tells_spaces_apart():
    assert made().fingerprint == made().fingerprint
    others = [made(num_classes=11), made(picture_size=96), made("mobilenet_v2"), made(kernels=(3, 5, 7))]
    assert len({made().fingerprint, *(one.fingerprint for one in others)}) == 5


def test_a_table_is_a_reference_too():
    table = create_model("mobilenet_v2", num_classes=7, input_size=64, width_multiplier=0.5).table
    space = mobilenet_blocks(table, num_classes=7, picture_size=64)
    assert space.build(space.reference) == table


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (0,)}, "widths must be numbers from 0.01"),
        ({"widths": ()}, "widths must be a list"),
        ({"widths": 0.5}, "widths must be a list"),
        ({"depths": (0.5,)}, "depths must be whole numbers"),
        ({"kernels": (4,)}, "kernels must be odd, got 4"),
        ({"input_sizes": ("64",)}, "input_sizes must be whole numbers"),
        ({"picture_size": 0}, "picture_size must be"),
        ({"reference": "timm:resnet18"}, "has no table to change"),
        ({"reference": "mobilenet_v4"}, "unknown model 'mobilenet_v4'; did you mean"),
    ],
)
def test_wrong_options_are_told_in_one_line(options, told):
    with pytest.raises(InputError, match=told) as caught:
        made(**options)
    assert "\n" not in str(caught.value)


def opened(name, **options):
    return open_space(name, reference="mobilenet_v2", num_classes=5, picture_size=32, **options)


def test_spaces_open_by_name_with_their_options():
    assert list(SPACES) == ["mobilenet_blocks", "mnasnet", "mnasnet_flat"]
    space = opened("mobilenet_blocks", kernels=[3], widths=[1])
    assert space.build(space.reference).num_classes == 5
    assert {len(ids) for name, ids in space.choices.items() if name.endswith(("kernel", "width"))} == {1}
    with pytest.raises(InputError, match="did you mean 'kernels'"):
        opened("mobilenet_blocks", kernel=[3])
    with pytest.raises(InputError, match="unknown space 'mobilenet_block'; did you mean 'mobilenet_blocks'"):
        opened("mobilenet_block")


def test_spaces_come_from_outside(tmp_path, monkeypatch):
    (tmp_path / "my_own_space.py").write_text(
        "from limbeck.search import Space\n"
        "def make(*, num_classes, levels=3):\n"
        "    return Space('mine', {'a': tuple(range(levels))}, dict, {'a': 0}, {'classes': num_classes})\n"
        "ready = Space('ready', {'a': (1, 2)}, dict, {'a': 1})\n"
        "def wrong(): return 3\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    try:
        assert opened("my_own_space:make", levels=4).size == 4
        assert opened("my_own_space:ready").name == "ready"
        with pytest.raises(InputError, match="did you mean 'levels'"):
            opened("my_own_space:make", level=4)
        with pytest.raises(InputError, match="takes no options, got 'levels'"):
            opened("my_own_space:ready", levels=4)
        with pytest.raises(InputError, match="returned a int, not a Space"):
            opened("my_own_space:wrong")
        with pytest.raises(InputError, match="is a int, not a Space or a function"):
            opened("my_own_space:number")
        with pytest.raises(InputError, match="has no 'missing'"):
            opened("my_own_space:missing")
    finally:
        sys.modules.pop("my_own_space", None)
