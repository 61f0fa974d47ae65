from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.models import MODELS, Network, Row, Table, build, create_model, family_table, load_network, save_network
from limbeck.models.block_text import read_blocks
from limbeck.models.families import WIDTH_RULES, at_width

torch.set_num_threads(1)

# Parameters and multiply-accumulates at 224, as torch's own counter gives them for timm's and torchvision's networks.
TOTALS = {
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenetv2_035": (1_677_128, 59_285_808),
    "mobilenetv2_050": (1_968_680, 97_131_840),
    "mobilenetv2_075": (2_636_424, 209_069_792),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "mobilenet_v2_140": (6_108_776, 582_195_824),
    "mnasnet_050": (2_218_512, 104_455_968),
    "mnasnet_075": (3_170_208, 215_493_104),
    "mnasnet_b1": (4_383_312, 314_415_872),
    "mnasnet_140": (7_115_728, 588_799_408),
    "mnasnet1_3": (6_282_256, 526_362_432),
    "semnasnet_050": (2_082_006, 103_162_992),
    "semnasnet_075": (2_912_278, 223_448_480),
    "mnasnet_a1": (3_887_038, 311_579_072),
    "semnasnet_140": (6_105_992, 586_317_952),
    "mnasnet_small": (2_030_264, 68_339_184),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "mobilenet_v3_large_075": (3_993_528, 154_560_624),
    "mobilenet_v3_small": (2_542_856, 56_510_400),
    "mobilenet_v3_small_075": (2_041_872, 43_399_344),
    "mobilenetv3_small_050": (1_593_224, 24_188_688),
    "mobilenetv3_rw": (5_479_918, 216_587_936),
    "mobilenet_v3_large_minimal": (3_924_288, 209_136_704),
    "tf_mobilenetv3_small_minimal_100": (2_044_736, 52_288_448),
    "efficientnet_b0": (5_288_548, 385_814_752),
    "efficientnet_lite0": (4_652_008, 385_187_552),
    "mobilenet_v4_conv_small": (3_774_024, 186_005_568),
    "fbnetc_100": (5_572_200, 384_960_160),
    "spnasnet_100": (4_421_616, 333_467_072),
}
# Row by row, as the papers' tables list them: stem, rows, head, classifier.
# fmt: off
ROWS = {
    "mobilenet_v3_large": (
        [464, 464, 3440, 4440, 10328, 20992, 20992, 32080, 34760, 31992, 31992, 214424, 386120, 429224,
         797360, 797360, 155520, 1230080, 1281000],
        [5.419, 5.018, 19.468, 12.870, 9.092, 9.886, 9.886, 11.713, 6.625, 6.095, 6.095, 19.025, 30.915, 21.069,
         16.690, 16.690, 7.526, 1.229, 1.280],
    ),
    "mobilenet_v3_small": (
        [464, 744, 3864, 5416, 13736, 57264, 57264, 21968, 29800, 91848, 294096, 294096, 56448, 590848, 1025000],
        [5.419, 1.255, 5.475, 3.933, 3.034, 4.970, 4.970, 2.665, 3.427, 4.459, 6.290, 6.290, 2.710, 0.590, 1.024],
    ),
    "mnasnet_a1": (
        [928, 896, 13968, 39098, 281680, 316144, 1067244, 473920, 412160, 1281000],
        [10.838, 10.035, 54.943, 28.851, 59.412, 49.656, 53.492, 23.003, 20.070, 1.280],
    ),
    "mnasnet_b1": (
        [928, 896, 11472, 33096, 217680, 209184, 1611456, 605440, 412160, 1281000],
        [10.838, 10.035, 40.342, 28.845, 47.275, 40.097, 86.224, 29.409, 20.070, 1.280],
    ),
    "mnasnet_small": (
        [232, 168, 920, 8704, 71900, 54360, 296452, 129648, 186880, 1281000],
        [2.710, 1.706, 4.290, 9.784, 12.334, 8.251, 12.717, 6.235, 9.032, 1.280],
    ),
}
# fmt: on


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_the_published_ones(name):
    table = family_table(name)
    assert (table.params(), table.macs(224)) == TOTALS[name]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_costs_what_is_published(name):
    costs = list(family_table(name).row_costs((224, 224)).values())
    params, macs = ROWS[name]
    assert [cost.params for cost in costs] == params
    assert [round(cost.macs / 1e6, 3) for cost in costs] == macs


@pytest.mark.parametrize("name", MODELS)
def test_what_a_family_says_of_itself_is_counted(name):
    table, says = MODELS[name](), MODELS[name].__doc__
    assert table.name == name
    assert f"{table.params():,} parameters" in says
    assert f"{table.macs(224) / 1e6:,.1f}M multiply-accumulates at 224" in says


def test_networks_with_a_size_of_their_own():
    medium, d1, d1_320 = (family_table(n) for n in ("mobilenetv4_conv_medium", "mnasnet_d1", "mnasnet_d1_320"))
    assert (medium.params(), medium.macs(256)) == (9_715_512, 1_080_244_224)
    assert (medium.input_size, d1.input_size, d1_320.input_size) == ((256, 256), (224, 224), (320, 320))
    assert create_model("mnasnet_d1_320", num_classes=2, width_multiplier=0.25).input_size == (320, 320)
    for table, params, backbone, side, macs in (
        (d1, 3_638_404, 1_945_244, 224, 946.4),
        (d1_320, 6_932_240, 5_239_080, 320, 3645.7),
        (d1_320, 6_932_240, 5_239_080, 224, 1786.4),
    ):
        costs = table.row_costs((side, side))
        without_head = [cost for place, cost in costs.items() if place not in ("head.conv", "classifier")]
        assert (table.params(), sum(cost.params for cost in without_head)) == (params, backbone)
        assert round(sum(cost.macs for cost in without_head) / 1e6, 1) == macs
    assert d1.blocks()[3][0].hidden_channels == 9 * 36  # nothing is rounded


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("mnasnet_a1", [6, 10, 10, 20, 28, 28, 40, 40]),
        ("mobilenet_v3_large", [24, 32, 32, 120, 168, 168, 240, 240]),
        ("mobilenet_v3_rw", [18, 30, 30, 120, 168, 168, 240, 240]),
    ],
)
def test_squeeze_widths(name, widths):
    plans = [plan for plans in family_table(name).blocks() for plan in plans]
    assert [plan.squeeze_channels for plan in plans if plan.squeeze_channels] == widths


@pytest.mark.parametrize(
    ("width", "macs", "params"), [(0.35, 39.5, 2.13), (0.5, 69.2, 2.69), (0.75, 154.6, 3.99), (1.25, 355.2, 7.55)]
)
def test_width_rule_reproduces_the_paper_for_large(width, macs, params):
    table = family_table("mobilenet_v3_large", width_multiplier=width)
    assert round(table.macs() / 1e6, 1) == macs
    assert round(table.params() / 1e6, 2) == params
    assert table.head.feature_channels == 1280


@pytest.mark.parametrize(
    ("width", "macs", "params"), [(0.35, 12.8, 1.36), (0.5, 21.1, 1.59), (0.75, 43.4, 2.04), (1.25, 91.2, 3.65)]
)
def test_width_rule_reproduces_the_paper_for_small(width, macs, params):
    table = family_table("mobilenet_v3_small", width_multiplier=width)
    assert (round(table.macs() / 1e6, 1), round(table.params() / 1e6, 2)) == (macs, params)


def test_the_libraries_rules_where_they_differ():
    large, small = MODELS["mobilenet_v3_large"](), MODELS["mobilenet_v3_small"]()
    wide = at_width(large, 0.75, "torchvision")
    assert (round(wide.params() / 1e6, 2), round(wide.macs() / 1e6, 1)) == (3.38, 140.0)
    assert at_width(small, 0.5, "timm").macs() == 24_188_688
    assert family_table("mobilenet_v3_small_050", width_rule="timm") == replace(
        family_table("mobilenetv3_small_050", bn_eps=1e-3), name="mobilenet_v3_small_050"
    )
    assert family_table("mobilenet_v3_small_050").stem.out_channels == 8
    for rule in WIDTH_RULES:
        assert at_width(large, 1.0, rule) is large
        for family in ("mobilenet_v2", "mnasnet_a1", "mnasnet_b1", "efficientnet_b0"):
            assert at_width(MODELS[family](), 0.75, rule) == MODELS[family]().scaled(0.75)
    assert family_table("efficientnet_lite0", width_multiplier=0.5).stem.out_channels == 32
    with pytest.raises(InputError, match="did you mean 'timm'"):
        family_table("mobilenet_v3_small_050", width_rule="tim")
    with pytest.raises(InputError, match="did you mean 'width_rule'"):
        family_table("mobilenet_v3_small_050", width_ruled="timm")


@pytest.mark.parametrize(("side", "large", "small"), [(256, 281.7, 73.2), (192, 160.2, 42.1), (96, 43.1, 12.1)])
def test_macs_follow_the_resolution(side, large, small):
    assert round(MODELS["mobilenet_v3_large"]().macs(side) / 1e6, 1) == large
    assert round(MODELS["mobilenet_v3_small"]().macs((side, side)) / 1e6, 1) == small


@pytest.mark.parametrize("name", MODELS)
def test_every_family_is_what_its_table_says_and_comes_back_from_disk(name, tmp_path):
    table = family_table(name, num_classes=3, input_size=(64, 48), width_multiplier=0.25, small_images=False)
    network = build(table)
    assert table.params() == sum(parameter.numel() for parameter in network.parameters())
    assert table.macs() == Network.macs(network)
    again = load_network(save_network(network, tmp_path)).eval()
    pictures = torch.rand(2, 3, 64, 48)
    assert torch.equal(again(pictures), network.eval()(pictures))
    seen = network.observe(pictures, network.stage_names)
    assert torch.allclose(network.classifier(seen.stages["pool"]), seen.out)


def test_a_pooled_skip_adds_the_averages_around_each_place():
    row = Row("inverted", 8, stride=2, expansion=2.0, skip="pool")
    table = Table("pooled", Row("conv", 8), (row,), family_table("mobilenet_v1").head, num_classes=2, input_size=(7, 6))
    block = build(table).eval().rows[0][0]
    bare = build(replace(table, rows=(replace(row, skip="none"),))).eval().rows[0][0]
    bare.load_state_dict(block.state_dict())
    features = torch.rand(1, 8, 7, 6)
    added = block(features) - bare(features)
    assert added.shape == (1, 8, 4, 3)
    assert torch.allclose(added[0, :, 0, 0], features[0, :, :2, :2].mean((1, 2)), atol=1e-6)
    assert torch.allclose(added[0, :, 1, 1], features[0, :, 1:4, 1:4].mean((1, 2)), atol=1e-6)


def test_universal_and_fused_blocks_are_made_of_the_layers_that_they_name():
    def layers(row: Row) -> list[tuple[int, int, int, str]]:
        network = build(Table("one", Row("conv", 8), (row,), family_table("mobilenet_v1").head))
        found = [part for part in network.rows[0][0].modules() if isinstance(part, nn.Conv2d)]
        return [(conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.groups) for conv in found]

    extra = Row("inverted", 16, 5, 2, expansion=4.0, start_kernel_size=3)
    assert layers(extra) == [(8, 3, 1, 8), (32, 1, 1, 1), (32, 5, 2, 32), (16, 1, 1, 1)]
    assert layers(replace(extra, kernel_size=0)) == [(8, 3, 2, 8), (32, 1, 1, 1), (16, 1, 1, 1)]
    assert layers(replace(extra, kernel_size=0, start_kernel_size=0, stride=1)) == [(32, 1, 1, 1), (16, 1, 1, 1)]
    assert layers(Row("fused", 16, 5, 2, expansion=4.0)) == [(32, 5, 2, 1), (16, 1, 1, 1)]
    assert layers(Row("fused", 8, 5)) == [(8, 5, 1, 1)]
    assert layers(Row("inverted", 8, expands_at_one=True)) == [(8, 1, 1, 1), (8, 3, 1, 8), (8, 1, 1, 1)]


def test_blocks_are_read_from_the_authors_strings():
    first, second = read_blocks(["r1_k3_s11_e1_i32_o16_noskip", "r3_k5_s22_e3_i16_o40_se0.25"], activation="relu6")
    assert first == Row("inverted", 16, activation="relu6", skip="none")
    assert second == Row("inverted", 40, 5, 2, 3, 3.0, 0.25, "relu6")
    assert read_blocks(["o16_i8_e1_s11_k3_r1"], entering=8) == (Row("inverted", 16),)
    assert read_blocks(["r1_k3_s11_e1_i16_o8"], entering=8)[0].skip == "none"  # the authors compare what is written


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("r1_k3_s11_e1_i32", r"lacks o \(output filters\)"),
        ("r1_k3_s11_e1_i32_o16_x9", "cannot read 'x9'"),
        ("r1_k3_s11_e1_i32_o16_o16", "cannot read 'o16'"),
        ("r1_k3_s12_e1_i32_o16", "strides must be s11 or s22"),
        ("r1_k3_s1_e1_i32_o16", "strides must be s11 or s22"),
        ("r1.5_k3_s11_e1_i32_o16", "invalid literal"),
        ("r1_k4_s11_e1_i32_o16", "kernel_size must be odd"),
        ("r1_k3_s11_e6_i16_o16", "takes 16 filters, and is given 32"),
    ],
)
def test_other_notations_are_told_in_one_line(block, says):
    with pytest.raises(InputError, match=says) as caught:
        read_blocks([block], entering=32)
    assert "\n" not in str(caught.value)


OLD = json.loads((Path(__file__).parent / "old_architectures.json").read_text())


@pytest.mark.parametrize("name", OLD)
def test_networks_saved_before_the_language_grew_still_load(name, tmp_path):
    """Descriptions written by an earlier version, with the digest of their tensors' names and shapes."""
    import hashlib

    table = Table.from_json(OLD[name]["architecture"]["table"])
    network = build(table)
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    assert hashlib.sha256(json.dumps(shapes).encode()).hexdigest() == OLD[name]["tensors"]
    assert (table.params(), table.macs()) == (OLD[name]["params"], OLD[name]["macs"])
    save_network(network, tmp_path)
    (tmp_path / "architecture.json").write_text(json.dumps(OLD[name]["architecture"]))
    pictures = torch.rand(1, 3, *table.input_size)
    loaded = load_network(tmp_path).eval()
    network.normalise_by(**loaded.normalisation)
    assert torch.equal(loaded(pictures), network.eval()(pictures))
