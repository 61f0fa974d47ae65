import json
import math
import pickle
import random

import numpy as np
import onnxruntime
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from limbeck.errors import InputError
from limbeck.export import export_probe
from limbeck.models import build, create_model
from limbeck.models.table import Head, Row, Table
from limbeck.search import flat_space, mnasnet_space, open_space
from limbeck.testing import check_space

# One block of five that each have room on both sides.
FIVE = Table(
    "five",
    stem=Row("conv", 16, stride=2),
    rows=tuple(Row("inverted", 32 * (i + 1), stride=2 - i % 2, repeats=3, expansion=6.0) for i in range(5)),
    head=Head(),
    num_classes=10,
    input_size=(64, 64),
)


def small(space=mnasnet_space, **more):
    return space("mobilenet_v2", **{"num_classes": 10, "picture_size": 64, **more})


def draw(space, seed):
    chance = random.Random(seed)
    return {name: chance.choice(ids) for name, ids in space.choices.items()}


def block_choices(space, block):
    return {name: ids for name, ids in space.choices.items() if name.startswith(f"block{block}.")}


def test_a_block_has_432_designs_and_five_blocks_432_to_the_fifth():
    space = mnasnet_space("mobilenet_v2")
    for block in range(7):
        assert math.prod(len(ids) for ids in block_choices(space, block).values()) == 432
    assert space.size == 432**7
    assert mnasnet_space(FIVE, num_classes=10).size == 432**5 == 15_045_919_506_432


def test_the_decisions_come_block_by_block_in_the_order_of_the_tokens():
    names = list(mnasnet_space("mobilenet_v2").choices)
    assert names[:6] == [f"block0.{name}" for name in ("op", "kernel", "se", "skip", "width", "depth")]
    assert len(names) == 42


def test_three_widths_of_each_block_are_three_multiples_of_eight():
    space = mnasnet_space("mobilenet_v2")
    assert [space.choices[f"block{i}.width"] for i in range(7)] == [
        (8, 16, 24),
        (16, 24, 32),
        (24, 32, 40),
        (48, 64, 80),
        (72, 96, 120),
        (120, 160, 200),
        (240, 320, 400),
    ]


def test_the_reference_point_builds_the_reference():
    for reference in ("mobilenet_v2", "mnasnet_a1", "mnasnet_b1"):
        expected = create_model(reference, num_classes=10, input_size=64).table
        for make in (mnasnet_space, flat_space):
            table = make(reference, num_classes=10, picture_size=64).build(dict(make(reference).reference))
            assert (table.rows, table.stem, table.head, table.name) == (
                expected.rows,
                expected.stem,
                expected.head,
                expected.name,
            )
            assert (table.params(), table.macs()) == (expected.params(), expected.macs())


def test_published_networks_are_points_of_the_space_around_mobilenet_v2():
    """A1, whose 112 channels no factor gives: as a list of widths."""
    widths = [[16], [24], [40], [80], [96, 112], [160], [320]]
    space = mnasnet_space("mobilenet_v2", widths=widths)
    a1 = create_model("mnasnet_a1", num_classes=1000, input_size=224).table
    designs = [
        ("sepconv", 3, 0.0, "none", 16, 0),
        ("mbconv6", 3, 0.0, "identity", 24, 0),
        ("mbconv3", 5, 0.25, "identity", 40, 0),
        ("mbconv6", 3, 0.0, "identity", 80, 0),
        ("mbconv6", 3, 0.25, "identity", 112, -1),
        ("mbconv6", 5, 0.25, "identity", 160, 0),
        ("mbconv6", 3, 0.0, "identity", 320, 0),
    ]
    names = ("op", "kernel", "se", "skip", "width", "depth")
    point = {
        f"block{i}.{name}": one for i, design in enumerate(designs) for name, one in zip(names, design, strict=True)
    }
    table = space.build(space.check(point))
    # The same rows but for the activation, which is the reference's, and counts that do not depend on it.
    assert table.params() == 3_887_038 == a1.params()
    assert table.macs() == 311_579_072 == a1.macs()


def test_every_layer_of_a_regular_convolution_is_one_convolution():
    space = small()
    point = {**space.reference, "block2.op": "conv", "block2.se": 0.25, "block2.kernel": 5}
    network = build(space.build(point))
    for place, block in enumerate(network.rows[2]):
        convolutions = [one for one in block.modules() if isinstance(one, torch.nn.Conv2d)]
        (only,) = convolutions  # squeeze-excite was dropped
        assert (only.kernel_size, only.groups, only.stride) == ((5, 5), 1, (2, 2) if place == 0 else (1, 1))


def test_skips_are_left_out_where_they_do_not_fit():
    space = small()

    def skips(choice, **changes):
        point = {**space.reference, "block1.skip": choice, **{f"block1.{k}": v for k, v in changes.items()}}
        return [plan.skip for plan in space.build(point).blocks()[2]]

    assert skips("identity") == ["none", "identity"]
    assert skips("pool") == ["none", "pool"]
    assert skips("none") == ["none", "none"]
    # 16 channels enter: at width 16 the strided first layer can add averages, but not the input itself.
    assert skips("identity", width=16) == ["none", "identity"]
    assert skips("pool", width=16) == ["pool", "pool"]


def test_a_pooled_skip_adds_the_averages_of_the_input():
    space = small()
    network = build(space.build({**space.reference, "block1.skip": "pool", "block1.width": 16})).eval()
    block = network.rows[1][0]
    inputs = torch.rand(2, 16, 9, 7)
    with torch.no_grad():
        added = block(inputs) - block.project(block.depthwise(block.expand(inputs)))
        for row in range(5):
            for column in range(4):
                around = inputs[:, :, max(0, 2 * row - 1) : 2 * row + 2, max(0, 2 * column - 1) : 2 * column + 2]
                torch.testing.assert_close(added[:, :, row, column], around.mean((2, 3)), atol=1e-5, rtol=1e-4)


def test_a_block_keeps_one_layer():
    space = small()
    for depth, layers in ((-1, 1), (0, 1), (1, 2)):
        assert space.build({**space.reference, "block0.depth": depth}).rows[0].repeats == layers


@pytest.mark.parametrize("make", [mnasnet_space, flat_space])
def test_every_point_gives_a_table_that_returns_from_json_with_counts_of_torch(make):
    torch.set_num_threads(1)
    space = small(make, picture_size=32)
    strides = sum(row.stride == 2 for row in space.build(dict(space.reference)).rows)
    for seed in range(60):
        point = draw(space, seed)
        table = space.build(space.check(json.loads(json.dumps(point))))
        assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table
        assert sum(row.stride == 2 for row in table.rows) == strides
        if seed % 6:
            continue
        network = build(table).eval()
        assert sum(one.numel() for one in network.parameters()) == table.params()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert network(torch.rand(1, 3, 32, 32)).shape == (1, 10)
        assert counter.get_total_flops() == 2 * table.macs()


@pytest.mark.parametrize("make", [mnasnet_space, flat_space])
def test_points_export_and_their_files_answer_as_they_do(make, tmp_path):
    torch.set_num_threads(1)
    space = small(make, picture_size=32)
    points = [draw(space, seed) for seed in range(3)]
    points += [{**dict(space.reference), **{name: ids[0] for name, ids in space.choices.items() if "skip" in name}}]
    for number, point in enumerate(points):
        network = build(space.build(point)).eval()
        artifact = export_probe(network, tmp_path / f"{number}.onnx", sample_size=(32, 32), preprocess="float32")
        session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
        pictures = np.random.default_rng(number).random((2, 3, 32, 32), dtype=np.float32)
        (answered,) = session.run(None, {"pictures": pictures})
        with torch.no_grad():
            expected = network(torch.from_numpy(pictures)).softmax(1).numpy()
        np.testing.assert_allclose(answered, expected, atol=1e-4)


def test_the_flat_space_holds_every_network_of_the_factorized_one():
    blockwise, layerwise = small(), small(flat_space)
    for seed in range(30):
        point = draw(blockwise, seed)
        flat = dict(layerwise.reference)
        for name in flat:
            block, _, choice = name.partition(".")
            flat[name] = point[f"{block}.{choice.rpartition('.')[2]}"]
        assert layerwise.build(layerwise.check(flat)) == blockwise.build(point)
    assert layerwise.size > blockwise.size


def test_layers_of_the_flat_space_choose_for_themselves():
    space = small(flat_space)
    point = {**space.reference, "block2.layer1.op": "conv", "block2.layer1.width": 40, "block2.layer3.kernel": 5}
    rows = space.build(point).rows
    assert [(row.block, row.out_channels, row.stride, row.repeats) for row in rows[2:5]] == [
        ("inverted", 32, 2, 1),
        ("fused", 40, 1, 1),
        ("inverted", 32, 1, 1),
    ]
    assert all(row.kernel_size == 3 for row in rows)  # the fourth layer is beyond the depth
    assert [row.kernel_size for row in space.build({**point, "block2.depth": 1}).rows].count(5) == 1


def test_squeeze_excite_is_that_of_the_papers_code_where_the_reference_has_none():
    space = small()
    table = space.build({**space.reference, "block3.se": 0.25})
    squeezed = [plan.squeeze_channels for plan in table.blocks()[4]]
    assert squeezed == [8, 16, 16, 16]  # a quarter of what enters the block: 32, then 64
    assert table.se_gate == "sigmoid"
    own = create_model("mobilenet_v3_small", num_classes=10, input_size=64).table
    kept = mnasnet_space(own, num_classes=10).build(dict(mnasnet_space(own, num_classes=10).reference))
    assert (kept.se_from, kept.se_gate, kept.se_divisor) == ("expanded", "hard_sigmoid", 8)


def test_what_the_reference_has_is_among_the_choices():
    space = mnasnet_space("mobilenet_v2", ops=["mbconv3"], kernels=[5], skips=["none"], widths=[1.5], depths=[1])
    assert space.choices["block0.op"] == ("mbconv3", "sepconv")
    assert space.choices["block1.op"] == ("mbconv3", "mbconv6")
    assert space.choices["block1.kernel"] == (3, 5)
    assert space.choices["block1.skip"] == ("none", "identity")
    assert space.choices["block1.width"] == (24, 40)  # 36 is a tie: away from the block's own
    assert space.choices["block1.depth"] == (0, 1)


def test_further_designs_of_larger_spaces():
    space = small(ops=["mbconv9", "fused4"], kernels=[7])
    rows = space.build({**space.reference, "block1.op": "fused4", "block2.op": "mbconv9", "block2.kernel": 7}).rows
    assert (rows[1].block, rows[1].expansion) == ("fused", 4.0)
    assert (rows[2].block, rows[2].expansion, rows[2].kernel_size) == ("inverted", 9.0, 7)


def test_both_open_by_name_and_can_be_sent_away():
    for name, make in (("mnasnet", mnasnet_space), ("mnasnet_flat", flat_space)):
        space = open_space(name, reference="mobilenet_v2", num_classes=10, picture_size=64, kernels=[3, 5])
        assert space.fingerprint == small(make).fingerprint
        again = pickle.loads(pickle.dumps(space))
        assert again.build(draw(space, 4)) == space.build(draw(space, 4))
    assert small().fingerprint != small(flat_space).fingerprint
    assert small().fingerprint != small(num_classes=11).fingerprint


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ops": ["mbconv"]}, r"ops has 'mbconv'; expected conv, sepconv, mbconvE"),
        ({"ops": ["mbconv1"]}, "ops has 'mbconv1'"),
        ({"ops": "conv"}, "ops must be a list of words, got 'conv'"),
        ({"ops": []}, "ops must be a list of words"),
        ({"ops": [["conv"]]}, r"ops has '\['conv'\]'"),
        ({"skips": ["add"]}, "skips has 'add'; expected some of identity, pool, none"),
        ({"kernels": [4]}, "kernels must be odd, got 4"),
        ({"se_ratios": [-1]}, "se_ratios must be numbers from 0 to 4"),
        ({"widths": [0]}, "widths must be numbers from 0.01"),
        ({"widths": 1.0}, "widths must be a list of numbers"),
        ({"widths": [[16], [24]]}, r"widths has 2 lists for 7 blocks \(16, 24, 32"),
        ({"widths": [[0.5]] * 7}, "widths must be whole numbers from 1"),
        ({"depths": [0.5]}, "depths must be whole numbers"),
        ({"picture_size": 0}, "picture_size must be"),
        ({"reference": "mobilenet_v4_conv_small"}, "is of a kind that this space does not have"),
        ({"reference": "timm:resnet18"}, "has no table to change"),
    ],
)
@pytest.mark.parametrize("make", [mnasnet_space, flat_space])
def test_wrong_options_are_told_in_one_line(make, options, told):
    with pytest.raises(InputError, match=told) as caught:
        make(**{"reference": "mobilenet_v2", "num_classes": 10, "picture_size": 64, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [mnasnet_space, flat_space])
def test_both_keep_the_rules_of_spaces(make):
    check_space(small(make, picture_size=32), num_classes=10)


@pytest.mark.parametrize("make", [mnasnet_space, flat_space])
def test_extremes_and_illegal_combinations_are_repaired_build_and_export(make, tmp_path):
    """The first and the last id of everything, and what cannot be: squeeze-excite in convolutions, skips across widths,
    a depth below one layer. Each answers in ONNX Runtime as it does here, and builds the same from JSON.
    """
    torch.set_num_threads(1)
    space = small(make, picture_size=32)
    corners = [{name: ids[end] for name, ids in space.choices.items()} for end in (0, -1)]
    wished = {"op": "conv", "se": 0.25, "skip": "identity", "depth": -1}
    illegal = {name: wished.get(name.rpartition(".")[2], one) for name, one in space.reference.items()}
    for number, point in enumerate([*corners, illegal]):
        table = space.build(space.check(json.loads(json.dumps(point))))
        assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table
        plans = [plan for row in table.blocks()[1:] for plan in row]
        assert all(row.repeats >= 1 for row in table.rows)
        for plan in plans:
            assert plan.skip != "identity" or (plan.in_channels == plan.out_channels and plan.stride == 1)
            assert plan.skip != "pool" or plan.in_channels == plan.out_channels
            assert plan.expands or plan.block not in ("conv", "fused") or plan.squeeze_channels == 0
        network = build(table).eval()
        artifact = export_probe(network, tmp_path / f"{number}.onnx", sample_size=(32, 32), preprocess="float32")
        session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
        pictures = np.random.default_rng(number).random((1, 3, 32, 32), dtype=np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(pictures)).softmax(1).numpy()
        np.testing.assert_allclose(session.run(None, {"pictures": pictures})[0], expected, atol=1e-4)
    assert {plan.squeeze_channels for plan in plans} == {0}  # of the illegal one: convolutions all
    assert any(plan.skip == "none" for plan in plans)
