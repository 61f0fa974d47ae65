from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from limbeck.errors import InputError
from limbeck.models import MODELS, Head, Network, Row, Table, build, family_table, list_models

torch.set_num_threads(1)

# Parameters and multiply-accumulates at 224, as published or as torch's own counter gives for the libraries' networks.
TOTALS = {
    "mobilenet_v1": (4_231_976, 568_740_352),
    "mobilenetv2_035": (1_677_128, 59_285_808),
    "mobilenetv2_050": (1_968_680, 97_131_840),
    "mobilenetv2_075": (2_636_424, 209_069_792),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "mobilenet_v2_140": (6_108_776, 582_195_824),
    "mobilenet_v3_large": (5_483_032, 216_589_760),
    "mobilenet_v3_large_075": (3_993_528, 154_560_624),
    "mobilenet_v3_small": (2_542_856, 56_510_400),
    "mobilenet_v3_small_075": (2_041_872, 43_399_344),
    "mobilenetv3_small_050": (1_593_224, 24_188_688),
}
LARGE_ROWS = [464, 464, 3440, 4440, 10328, 20992, 20992, 32080, 34760, 31992, 31992, 214424, 386120, 429224]
LARGE_ROWS += [797360, 797360, 155520, 1230080, 1281000]
LARGE_MACS = [5.419, 5.018, 19.468, 12.870, 9.092, 9.886, 9.886, 11.713, 6.625, 6.095, 6.095, 19.025, 30.915, 21.069]
LARGE_MACS += [16.690, 16.690, 7.526, 1.229, 1.280]
SMALL_ROWS = [464, 744, 3864, 5416, 13736, 57264, 57264, 21968, 29800, 91848, 294096, 294096, 56448, 590848, 1025000]
SMALL_MACS = [5.419, 1.255, 5.475, 3.933, 3.034, 4.970, 4.970, 2.665, 3.427, 4.459, 6.290, 6.290, 2.710, 0.590, 1.024]


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_the_published_ones(name):
    table = family_table(name)
    assert (table.params(), table.macs(224)) == TOTALS[name]


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("mobilenet_v3_large", LARGE_ROWS, LARGE_MACS), ("mobilenet_v3_small", SMALL_ROWS, SMALL_MACS)],
)
def test_every_row_of_mobilenet_v3(name, params, macs):
    costs = list(family_table(name).row_costs((224, 224)).values())
    assert [cost.params for cost in costs] == params
    assert [round(cost.macs / 1e6, 3) for cost in costs] == macs


@pytest.mark.parametrize(
    ("width", "macs", "params"), [(0.35, 39.5, 2.13), (0.5, 69.2, 2.69), (0.75, 154.6, 3.99), (1.25, 355.2, 7.55)]
)
def test_width_rule_reproduces_the_paper_for_large(width, macs, params):
    table = MODELS["mobilenet_v3_large"]().scaled(width)
    assert round(table.macs() / 1e6, 1) == macs
    assert round(table.params() / 1e6, 2) == params
    assert table.head.feature_channels == 1280


@pytest.mark.parametrize(("width", "macs", "params"), [(0.35, 12.8, 1.36), (0.5, 21.1, 1.59), (0.75, 43.4, 2.04)])
def test_width_rule_reproduces_the_paper_for_small(width, macs, params):
    table = MODELS["mobilenet_v3_small"]().scaled(width)
    assert (round(table.macs() / 1e6, 1), round(table.params() / 1e6, 2)) == (macs, params)


@pytest.mark.parametrize(("side", "large", "small"), [(256, 281.7, 73.2), (192, 160.2, 42.1), (96, 43.1, 12.1)])
def test_macs_follow_the_resolution(side, large, small):
    assert round(MODELS["mobilenet_v3_large"]().macs(side) / 1e6, 1) == large
    assert round(MODELS["mobilenet_v3_small"]().macs((side, side)) / 1e6, 1) == small


def some_tables() -> list[Table]:
    odd = Table(
        name="odd",
        stem=Row("conv", 12, kernel_size=5, stride=2, activation="silu"),
        rows=(
            Row("inverted", 16, expansion=2.3, kernel_size=7, repeats=2, se_ratio=0.3, activation="hard_swish"),
            Row("conv", 20, stride=2, repeats=2),
            Row("separable", 24, kernel_size=5, stride=2, activation="relu6"),
            Row("inverted", 24, expansion=3.0, skip="none", se_ratio=0.25, activation="silu"),
        ),
        head=Head(feature_channels=40, feature_bias=False, activation="silu"),
        num_classes=7,
        in_channels=4,
        input_size=(45, 70),
        divisor=1,
        se_from="input",
        se_divisor=1,
        se_gate="sigmoid",
    )
    tables = [odd, replace(odd, padding="same"), odd.scaled(1.5), odd.for_small_images(3)]
    for name in ("mobilenet_v1_025", "mobilenet_v2_075", "mobilenet_v3_large_050", "mobilenet_v3_small"):
        tables += [
            family_table(name, num_classes=10, input_size=(32, 32)),
            family_table(name, num_classes=10, input_size=(64, 48)),
            family_table(name, num_classes=5, input_size=(75, 90), padding="same"),
        ]
    return tables


@pytest.mark.parametrize("table", some_tables(), ids=lambda table: f"{table.name}-{table.input_size}-{table.padding}")
def test_counts_from_data_equal_those_of_the_built_network(table):
    network = build(table)
    assert table.params() == sum(parameter.numel() for parameter in network.parameters())
    assert table.macs() == Network.macs(network)  # torch's flop counter on a real forward pass, halved
    assert network.params() == table.params()
    assert network.macs() == table.macs()


@pytest.mark.parametrize("table", some_tables()[:8], ids=lambda table: f"{table.name}-{table.input_size}")
def test_shapes_are_those_of_the_network(table):
    network = build(table).eval()
    names = [f"row{i}" for i in range(len(table.rows))]
    seen = network.observe(torch.rand(2, table.in_channels, *table.input_size), ["stem", *names]).stages
    shapes = table.shapes()
    assert {name: tuple(seen[name].shape[1:]) for name in seen} == {name: shapes[name] for name in ["stem", *names]}


@pytest.mark.parametrize("table", some_tables(), ids=lambda table: f"{table.name}-{table.input_size}-{table.padding}")
def test_json_both_ways(table):
    again = Table.from_json(json.loads(json.dumps(table.to_json(), allow_nan=False)))
    assert again == table
    assert again.fingerprint() == table.fingerprint()


def test_fingerprint_sees_structure_and_not_the_name():
    table = family_table("mobilenet_v3_small")
    assert replace(table, name="x").fingerprint() == table.fingerprint()
    assert replace(table, bn_eps=1e-4).fingerprint() != table.fingerprint()
    assert table.scaled(0.75).fingerprint() != table.fingerprint()


def test_small_images_drop_the_first_strides():
    small = family_table("mobilenet_v2", input_size=(32, 32))
    assert [row.stride for row in (small.stem, *small.rows)] == [1, 1, 1, 2, 2, 1, 2, 1]
    assert small.shapes()["row6"] == (320, 4, 4)
    assert family_table("mobilenet_v2", input_size=(64, 64)).shapes()["row6"] == (320, 4, 4)
    assert family_table("mobilenet_v2", input_size=(65, 65)).stem.stride == 2
    assert family_table("mobilenet_v2", input_size=(32, 32), small_images=False).shapes()["row6"] == (320, 1, 1)
    assert family_table("mobilenet_v3_small", input_size=(96, 96), small_images=True).rows[0].stride == 1


def mnasnet_a1() -> Table:
    rows = (
        (1, 3, 1, 16, 1, 0.0),
        (6, 3, 2, 24, 2, 0.0),
        (3, 5, 2, 40, 3, 0.25),
        (6, 3, 2, 80, 4, 0.0),
        (6, 3, 1, 112, 2, 0.25),
        (6, 5, 2, 160, 3, 0.25),
        (6, 3, 1, 320, 1, 0.0),
    )
    return Table(
        "mnasnet_a1",
        Row("conv", 32, stride=2),
        tuple(
            Row("inverted", out, k, s, n, float(e), se, skip="none" if e == 1 else "identity")
            for e, k, s, out, n, se in rows
        ),
        Head(conv_channels=1280, conv_scaling="fixed"),
        se_from="input",
        se_divisor=1,
        se_gate="sigmoid",
    )


def efficientnet_b0() -> Table:
    rows = (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )
    return Table(
        "efficientnet_b0",
        Row("conv", 32, stride=2, activation="silu"),
        tuple(Row("inverted", out, k, s, n, float(e), 0.25, "silu") for e, k, s, out, n in rows),
        Head(conv_channels=1280, activation="silu"),
        se_from="input",
        se_divisor=1,
        se_gate="sigmoid",
        se_activation="silu",
    )


def minimalistic(name: str) -> Table:
    table = MODELS[name]()
    rows = tuple(replace(row, kernel_size=3, se_ratio=0.0, activation="relu") for row in table.rows)
    return replace(
        table, stem=replace(table.stem, activation="relu"), rows=rows, head=replace(table.head, activation="relu")
    )


@pytest.mark.parametrize(
    ("table", "params", "macs"),
    [
        (mnasnet_a1(), 3_887_038, 311_579_072),
        (mnasnet_a1().scaled(0.75), 2_912_278, 223_448_480),
        (mnasnet_a1().scaled(1.4), 6_105_992, 586_317_952),
        (efficientnet_b0(), 5_288_548, 385_814_752),
        (minimalistic("mobilenet_v3_large"), 3_924_288, 209_136_704),
        (minimalistic("mobilenet_v3_small"), 2_044_736, 52_288_448),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_language_carries_other_families(table, params, macs):
    assert (table.params(), table.macs(224)) == (params, macs)


def test_text_has_a_line_per_row():
    lines = family_table("mobilenet_v3_large").rows_text().splitlines()
    assert len(lines) == 1 + 1 + 15 + 3 + 1
    assert "inverted k5 s2 e3 se0.25 relu" in lines[5]
    assert "10,328 params" in lines[5]
    assert "5,483,032 params" in lines[-1]


def broken(**change: object) -> dict:
    return {**family_table("mobilenet_v2").to_json(), **change}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3, "expected an object"),
        ({"rows": 3}, "expected an object"),
        (broken(colour="red"), "unknown key 'colour'"),
        (broken(bn_epz=1e-3), "did you mean 'bn_eps'"),
        (broken(rows=[]), "no rows"),
        (broken(rows=[3]), r"rows\[0\]: expected an object"),
        (broken(rows=[{"block": "inverted"}]), "the key 'out_channels' is missing"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "kernel": 3}]), "did you mean 'kernel_size'"),
        (broken(rows=[{"block": "invertd", "out_channels": 8}]), "did you mean 'inverted'"),
        (broken(rows=[{"block": "inverted", "out_channels": 0}]), "out_channels must be a whole number"),
        (broken(rows=[{"block": "inverted", "out_channels": True}]), "out_channels must be a whole number"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "kernel_size": 4}]), "kernel_size must be odd"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "stride": 3}]), "stride must be 1 or 2"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "expansion": float("nan")}]), "expansion must be"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "expansion": "6"}]), "expansion must be"),
        (broken(rows=[{"block": "separable", "out_channels": 8, "se_ratio": 0.25}]), "only an 'inverted' row"),
        (broken(padding="valid"), "unknown padding 'valid'"),
        (broken(bn_eps=0), "bn_eps must be"),
        (broken(dropout=1.5), "dropout must be"),
        (broken(input_size=[224]), "input_size must be"),
        (broken(input_size=224), "input_size must be"),
        (broken(num_classes="10"), "num_classes must be"),
        (broken(head={"conv_channels": -1}), "conv_channels must be"),
        (broken(stem={"block": "inverted", "out_channels": 8}), "the stem must be one 'conv' block"),
        ({key: value for key, value in broken().items() if key != "stem"}, "the key 'stem' is missing"),
    ],
)
def test_bad_json_is_one_clear_line(value, says):
    with pytest.raises(InputError, match=says) as caught:
        Table.from_json(value, where="architecture.json")
    assert "\n" not in str(caught.value)


def test_every_listed_name_gives_a_table():
    for name in list_models():
        assert family_table(name, num_classes=3).name == name
    assert list_models("mobilenet_v3_small*") == [
        "mobilenet_v3_small",
        "mobilenet_v3_small_035",
        "mobilenet_v3_small_050",
        "mobilenet_v3_small_075",
        "mobilenet_v3_small_125",
    ]
    assert family_table("mobilenet_v2_110").params() == MODELS["mobilenet_v2"]().scaled(1.1).params()
    assert family_table("mobilenet_v2", width_multiplier=1.4) == replace(
        family_table("mobilenet_v2_140"), name="mobilenet_v2"
    )


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("mobilenet_v4", {}, "unknown model 'mobilenet_v4'; did you mean"),
        ("mobilenet_v2_1400", {}, "unknown model"),
        ("mobilenet_v2_000", {}, "unknown model"),
        ("mobilenet_v2", {"bn_epsilon": 1}, "did you mean 'bn_eps'"),
        ("mobilenet_v2_140", {"width_multiplier": 2.0}, "says its width already"),
        ("mobilenet_v2", {"width_multiplier": 0}, "width_multiplier must be"),
    ],
)
def test_bad_names_and_options(name, options, says):
    with pytest.raises(InputError, match=says):
        family_table(name, **options)
