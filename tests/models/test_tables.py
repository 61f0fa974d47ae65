from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from limbeck.errors import InputError
from limbeck.models import MODELS, SIGNALS, Head, Network, Row, Table, build, family_table, list_models
from limbeck.models.cifar import find_cifar
from limbeck.models.heads import find_dense

torch.set_num_threads(1)


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
    universal = Table(
        name="universal",
        stem=Row("conv", 12, stride=2),
        rows=(
            Row("fused", 18, stride=2, repeats=2, expansion=2.5, se_ratio=0.25),
            Row("fused", 18, kernel_size=5, repeats=2, se_ratio=0.5, activation="silu"),
            Row("inverted", 18, stride=2, start_kernel_size=5, kernel_size=0, expansion=9.0, skip="pool"),
            Row("inverted", 18, repeats=2, start_kernel_size=3, kernel_size=5, expansion=2.0, skip="pool"),
            Row("inverted", 20, kernel_size=0, repeats=2, expansion=3.0, se_ratio=0.25),
            Row("inverted", 20, kernel_size=0),
            Row("inverted", 20, expands_at_one=True, repeats=2),
        ),
        head=Head(conv_channels=30, feature_channels=40, feature_bias=False, feature_norm=True),
        num_classes=7,
        input_size=(45, 70),
        inner_divisor=4,
        se_activation="block",
    )
    tables = [odd, replace(odd, padding="same"), odd.scaled(1.5), odd.for_small_images(3)]
    tables += [universal, replace(universal, padding="same"), universal.scaled(0.5)]
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


@pytest.mark.parametrize("table", some_tables()[:11], ids=lambda table: f"{table.name}-{table.input_size}")
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
        (broken(rows=[{"block": "separable", "out_channels": 8, "se_ratio": 0.25}]), "only an 'inverted' or 'fused'"),
        (broken(rows=[{"block": "conv", "out_channels": 8, "skip": "pool"}]), "a pooled skip"),
        (broken(rows=[{"block": "fused", "out_channels": 8, "start_kernel_size": 3}]), "only an 'inverted' row"),
        (broken(rows=[{"block": "fused", "out_channels": 8, "kernel_size": 0}]), "kernel_size must be"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "start_kernel_size": 2}]), "must be odd"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "kernel_size": 0, "stride": 2}]), "a stride of 2 needs"),
        (broken(rows=[{"block": "inverted", "out_channels": 8, "expands_at_one": 1}]), "must be true or false"),
        (broken(inner_divisor=0), "inner_divisor must be"),
        (broken(head={"feature_norm": "yes"}), "feature_norm must be true or false"),
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
        elsewhere = find_cifar(name) or find_dense(name) or name in SIGNALS
        assert elsewhere or family_table(name, num_classes=3).name == name
    assert list_models("mobilenet_v3_small_[0-9]*") == [
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
        ("resnet20", {}, "model 'resnet20': is not built from a table"),
        ("mobilenet_v2_000", {}, "unknown model"),
        ("mobilenet_v2", {"bn_epsilon": 1}, "did you mean 'bn_eps'"),
        ("mobilenet_v2_140", {"width_multiplier": 2.0}, "says its width already"),
        ("mobilenet_v2", {"width_multiplier": 0}, "width_multiplier must be"),
    ],
)
def test_bad_names_and_options(name, options, says):
    with pytest.raises(InputError, match=says):
        family_table(name, **options)
