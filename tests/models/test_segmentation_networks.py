"""LR-ASPP and R-ASPP: counts of the papers and libraries, torchvision's weights both ways, stages, files, ONNX."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from drawn_weights import draw
from torch.nn import functional
from torchvision.models import get_model

from limbeck.errors import InputError
from limbeck.losses import LOSSES, kd
from limbeck.models import (
    Row,
    build,
    create_model,
    family_table,
    fill_from,
    fill_library,
    list_models,
    load_network,
    save_network,
    segmenter,
)
from limbeck.models.heads.segmentation import SegmentationDesign, SegmentationNetwork, low_tap
from limbeck.models.heads.tails import dilate_tail, halve_tail

torch.set_num_threads(1)


def torchvisions(num_classes=5):
    name = "lraspp_mobilenet_v3_large"
    return get_model(name, weights=None, weights_backbone=None, num_classes=num_classes)


def small(name="lraspp_mobilenet_v3_small", **options):
    torch.manual_seed(0)
    return create_model(name, **{"num_classes": 4, "width_multiplier": 0.35, "input_size": (64, 96), **options}).eval()


def shape_only(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


# Table 7 of MobileNetV3 at 19 classes: row, network, parameters and MAdds of 1025 x 2049 to the unit, the table's own
# millions and billions (which count 2 to 4 % more than convolutions, for MobileNetV3).
TABLE_7 = [
    (1, "raspp_mobilenet_v2", {"reduce_tail": False}, 2_113_043, 21_233_054_912, 2.11, 21.29),
    (2, "raspp_mobilenet_v2", {}, 1_159_123, 13_632_849_952, 1.15, 13.68),
    (3, "lraspp_mobilenet_v2", {"filters": 256}, 1_030_950, 12_775_593_568, 1.02, 12.83),
    (4, "lraspp_mobilenet_v2", {}, 987_174, 12_523_035_872, 0.98, 12.57),
    (5, "raspp_mobilenet_v3_large", {"reduce_tail": False}, 3_600_963, 18_155_973_384, 3.60, 18.43),
    (6, "raspp_mobilenet_v3_large", {}, 1_762_435, 11_031_499_128, 1.76, 11.24),
    (7, "lraspp_mobilenet_v3_large", {"filters": 256}, 1_632_894, 10_129_626_720, 1.63, 10.33),
    (8, "lraspp_mobilenet_v3_large", {}, 1_507_198, 9_533_209_824, 1.51, 9.74),
    (9, "lraspp_mobilenet_v2_050", {}, 282_598, 3_958_309_024, 0.28, 4.00),
    (11, "lraspp_mobilenet_v3_small", {}, 468_830, 2_780_080_960, 0.47, 2.90),
]


@pytest.mark.parametrize(("row", "name", "options", "params", "macs", "millions", "billions"), TABLE_7)
def test_parameters_and_macs_are_the_papers(row, name, options, params, macs, millions, billions):
    network = shape_only(name, num_classes=19, input_size=(1025, 2049), **options)
    assert network.params() == params
    assert network.macs() == macs
    assert abs(params / 1e6 - millions) <= (0.005 if "v3" in name else 0.011)
    assert macs / 1e9 <= billions <= 1.045 * macs / 1e9


@pytest.mark.parametrize(
    ("name", "options", "billions"),
    [
        ("lraspp_mobilenet_v3_large", {}, 9.37),
        ("lraspp_mobilenet_v3_large", {"output_stride": 32}, 7.45),
        ("lraspp_mobilenet_v3_small", {}, 2.73),
    ],
)
def test_macs_at_cityscapes_own_size(name, options, billions):
    assert round(shape_only(name, num_classes=19, input_size=(1024, 2048), **options).macs() / 1e9, 2) == billions


def test_torchvisions_counts():
    network = shape_only("lraspp_mobilenet_v3_large", num_classes=21, input_size=520, design="torchvision")
    assert network.params() == 3_221_538
    assert network.macs() == 2_086_219_688


@pytest.mark.parametrize("size", [(67, 45)])
def test_torchvisions_weights_give_its_outputs_and_go_back_bit_for_bit(size):
    module = draw(torchvisions())
    network = create_model("lraspp_mobilenet_v3_large", num_classes=5, pretrained=module, input_size=size).eval()
    assert network.filled.not_filled == ()
    assert network.filled.filled == network.params() == sum(value.numel() for value in module.parameters())
    blank = torchvisions()
    fill_library(blank, network)
    assert all(torch.equal(blank.state_dict()[key], value) for key, value in module.state_dict().items())
    with torch.no_grad():
        pictures = torch.rand(2, 3, *size)
        expected, found = module(network.prepare(pictures))["out"], network(pictures)
        assert (found - expected).abs().max() <= 4e-6 * expected.abs().max()
        module, network = module.double(), network.double()
        expected, found = module(network.prepare(pictures.double()))["out"], network(pictures.double())
        assert (found - expected).abs().max() <= 1e-13 * expected.abs().max()
    assert expected.std() > 0.01


def test_torchvisions_file_and_another_number_of_classes(tmp_path):
    module = draw(torchvisions())
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    network = create_model("lraspp_mobilenet_v3_large", num_classes=3, pretrained=tmp_path / "weights.pth")
    classifiers = [f"head.{part}.{kind}" for part in ("low_classifier", "classifier") for kind in ("weight", "bias")]
    assert sorted(network.filled.not_filled) == sorted(classifiers)
    assert torch.equal(network.head.gate.weight, module.classifier.scale[1].weight)
    with pytest.raises(InputError, match="is of design = 'torchvision'"):
        create_model("lraspp_mobilenet_v3_large", num_classes=3, pretrained=module, design="paper")


def test_weights_by_name_are_asked_of_torchvision(monkeypatch):
    from limbeck.models.heads import load

    module, asked = draw(torchvisions(21)), []

    class Published:
        def get_state_dict(self, **_):
            return module.state_dict()

    monkeypatch.setattr(load, "dense_weights_of", lambda name: (asked.append(name), Published())[1])
    network = create_model("lraspp_mobilenet_v3_large", num_classes=21, pretrained=True)
    assert asked == ["lraspp_mobilenet_v3_large"]
    assert network.filled.not_filled == ()
    assert network.origin["weights"] == "torchvision:lraspp_mobilenet_v3_large"
    with pytest.raises(InputError, match="nobody published weights for it"):
        create_model("lraspp_mobilenet_v2", num_classes=21, pretrained=True)


def test_the_exact_strides_dilations_and_widths_of_the_tail():
    def tail(name, **options):
        table = shape_only(name, **options).table
        return [
            (row.stride, row.dilation, plan.hidden_channels, plan.out_channels)
            for row, plans in zip(table.rows, table.blocks()[1:], strict=True)
            for plan in plans
        ][-3:]

    assert tail("lraspp_mobilenet_v3_large") == [(1, 1, 336, 80), (1, 2, 480, 80), (1, 2, 480, 80)]
    assert tail("lraspp_mobilenet_v3_large", output_stride=32) == [(2, 1, 336, 80), (1, 1, 480, 80), (1, 1, 480, 80)]
    full = [(1, 1, 672, 160), (1, 2, 960, 160), (1, 2, 960, 160)]
    assert tail("raspp_mobilenet_v3_large", reduce_tail=False) == full
    theirs = [(1, 2, 672, 160), (1, 2, 960, 160), (1, 2, 960, 160)]
    assert tail("lraspp_mobilenet_v3_large", design="torchvision") == theirs
    assert tail("lraspp_mobilenet_v3_small") == [(1, 1, 144, 48), (1, 2, 288, 48), (1, 2, 288, 48)]
    assert shape_only("lraspp_mobilenet_v3_small").table.head.conv_channels == 288
    assert shape_only("lraspp_mobilenet_v3_large").table.head.conv_channels == 480
    table = dilate_tail(family_table("mobilenet_v2"), 8)
    assert [(row.stride, row.dilation) for row in table.rows[3:]] == [(1, 1), (1, 2), (1, 2), (1, 2), (1, 4), (1, 4)]
    assert [row.repeats for row in table.rows] == [1, 2, 3, 1, 3, 3, 1, 2, 1]


def test_dilation_is_where_timm_has_it_and_computes_the_same():
    table = replace(family_table("mobilenet_v3_large", num_classes=5, input_size=(96, 96)), bn_eps=1e-5)
    dilated = dilate_tail(table, 16)
    features = timm.create_model("mobilenetv3_large_100", features_only=True, output_stride=16)
    theirs = [part for name, part in features.named_modules() if name.endswith("conv_dw")]
    ours = [plan for plans in dilated.blocks()[1:] for plan in plans]
    assert [(part.stride[0], part.dilation[0]) for part in theirs] == [(plan.stride, plan.dilation) for plan in ours]
    module = draw(timm.create_model("mobilenetv3_large_100", num_classes=5))
    for block, like in zip(module.blocks[5], theirs[-3:], strict=True):
        block.conv_dw.stride, block.conv_dw.dilation, block.conv_dw.padding = like.stride, like.dilation, like.padding
    network = build(dilated).eval()
    fill_from(network, module)
    pictures = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected = module(network.prepare(pictures))
        assert (network(pictures) - expected).abs().max() <= 4e-6 * expected.abs().max()


def test_the_finer_map_is_the_depthwise_output_before_squeeze_excite():
    large, little = shape_only("lraspp_mobilenet_v3_large"), shape_only("lraspp_mobilenet_v3_small")
    assert (large.design.low, little.design.low) == ("row5.0.depthwise", "row2.0.depthwise")
    assert (large.head.low_classifier.in_channels, little.head.low_classifier.in_channels) == (120, 88)
    assert shape_only("lraspp_mobilenet_v2").design.low == "row2.2.depthwise"
    network = small("lraspp_mobilenet_v3_large")
    seen = {}
    block = network.backbone.rows[5][0]
    handle = block.squeeze_excite.register_forward_pre_hook(lambda _, given: seen.update(low=given[0]))
    with torch.no_grad():
        found = network.observe(torch.rand(1, 3, 64, 96), ["row5.0.depthwise"]).stages["row5.0.depthwise"]
    handle.remove()
    assert torch.equal(found, seen["low"])
    assert found.shape[2:] == (8, 12)


def slow_lraspp(network, high, low):
    """The head by hand, from its weights."""
    head, design = network.head, network.design
    norm = head.project.norm
    a = torch.einsum("nchw,fc->nfhw", high, head.project.conv.weight[:, :, 0, 0])
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None]
    a = ((a - norm.running_mean[:, None, None]) * scale + norm.bias[:, None, None]).clamp(min=0)
    (h, w), (wh, ww), (sh, sw) = high.shape[2:], design.pool_window, design.pool_stride
    wh, ww = min(wh, h), min(ww, w)
    means = [
        [high[:, :, y : y + wh, x : x + ww].mean((2, 3)) for x in range(0, w - ww + sw, sw)]
        for y in range(0, h - wh + sh, sh)  # the last windows are cut off at the edge
    ]
    pooled = torch.stack([torch.stack(row, -1) for row in means], 2)
    gate = torch.einsum("nchw,fc->nfhw", pooled, head.gate.weight[:, :, 0, 0]) + head.gate.bias[:, None, None]
    gate = functional.interpolate(((gate + 3) / 6).clamp(0, 1), size=(h, w), mode="bilinear", align_corners=True)
    y = functional.interpolate(a * gate, size=low.shape[2:], mode="bilinear", align_corners=True)
    scores = torch.einsum("nchw,kc->nkhw", y, head.classifier.weight[:, :, 0, 0]) + head.classifier.bias[:, None, None]
    low_scores = torch.einsum("nchw,kc->nkhw", low, head.low_classifier.weight[:, :, 0, 0])
    return scores + low_scores + head.low_classifier.bias[:, None, None]


@pytest.mark.parametrize("classify_first", [False, True])
@pytest.mark.parametrize(("window", "strides", "gates"), [((49, 49), (16, 20), (1, 1)), ((5, 5), (2, 3), (3, 4))])
def test_the_head_is_the_papers_formula(window, strides, gates, classify_first):
    table = small().table
    design = SegmentationDesign(
        low=low_tap(table), pool_window=window, pool_stride=strides, classify_first=classify_first
    )
    table = replace(table, input_size=(128, 192))
    network = draw(SegmentationNetwork(table, design)).double().eval()
    pictures = torch.rand(2, 3, 128, 192, dtype=torch.float64)
    with torch.no_grad():
        seen = network.observe(pictures, ["head", design.low, "logits", "context"])
        high, low = seen.stages["head"], seen.stages[design.low]
        assert network.head.pool(high).shape[2:] == gates
        assert (seen.stages["logits"] - slow_lraspp(network, high, low)).abs().max() < 1e-9
    enlarged = functional.interpolate(seen.stages["logits"], size=(128, 192), mode="bilinear", align_corners=True)
    assert torch.equal(seen.out, enlarged)


def test_full_pictures_have_the_released_number_of_gates():
    for stride, gates in ((16, (2, 5)), (32, (3, 9))):
        network = shape_only("lraspp_mobilenet_v3_large", input_size=(1025, 2049), output_stride=stride)
        for more in (1, 0):  # 1024 x 2048 pixels, as Cityscapes has them, lose no gate
            high = torch.empty(1, 480, 1024 // stride + more, 2048 // stride + more, device="meta")
            assert network.head.pool(high).shape[2:] == gates


@pytest.mark.parametrize("size", [(64, 128), (32, 64), (50, 49), (15, 12)])
def test_gates_see_the_whole_map(size):
    head = small("lraspp_mobilenet_v3_large").head
    high = torch.zeros(1, 2, *size, requires_grad=True)
    head.pool(high).sum().backward()
    assert (high.grad > 0).all()


def test_the_finer_map_is_the_same_at_every_output_stride():
    for name, low in [
        ("mobilenet_v3_large", "row5.0.depthwise"),
        ("mobilenet_v3_small", "row2.0.depthwise"),
        ("mobilenet_v2", "row2.2.depthwise"),
    ]:
        found = {shape_only(f"lraspp_{name}", output_stride=stride).design.low for stride in (8, 16, 32)}
        assert found == {low}


@pytest.mark.parametrize(
    ("name", "stride"),
    [*((name, 16) for name in list_models("*raspp_*")), ("lraspp_mobilenet_v3_small", 8), ("raspp_mobilenet_v2", 32)],
)
def test_logits_have_the_size_of_the_pictures(name, stride):
    network = small(name, output_stride=stride)
    with torch.no_grad():
        for size in ((64, 96), (50, 41)):
            out = network(torch.rand(2, 3, *size))
            assert out.shape == (2, 4, *size)
        seen = network.observe(torch.rand(1, 3, 64, 96), network.stage_names)
    assert seen.stages["head"].shape[2:] == (64 // stride, 96 // stride)
    assert seen.stages["logits"].shape[:2] == (1, 4)
    assert seen.stages["context"].shape[1] == network.design.filters
    assert list(seen.stages) == list(network.stage_names)
    with torch.no_grad():
        pictures = torch.rand(1, 3, 64, 96)
        assert torch.equal(network.observe(pictures, ["stem"]).out, network(pictures))


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_small", "raspp_mobilenet_v2", "lraspp_mnasnet_a1"])
def test_a_saved_network_comes_back_bit_for_bit(name, tmp_path):
    network = small(name)
    network.train()(torch.rand(4, 3, 64, 96))
    again = load_network(save_network(network.eval(), tmp_path)).eval()
    assert again.architecture() == network.architecture()
    assert list(again.state_dict()) == list(network.state_dict())
    pictures = torch.rand(1, 3, 70, 50)
    with torch.no_grad():
        assert torch.equal(again(pictures), network(pictures))
    same = small(name, pretrained=tmp_path)
    assert same.filled.not_filled == ()
    with torch.no_grad():
        assert torch.equal(same(pictures), network(pictures))


@pytest.mark.parametrize(
    ("name", "options", "fresh"),
    [
        ("lraspp_mobilenet_v2", {"reduce_tail": False}, ()),
        ("lraspp_mobilenet_v2", {}, ("backbone.rows.5", "backbone.rows.6", "backbone.rows.7")),
        ("lraspp_mobilenet_v3_small", {}, ("backbone.rows.8", "backbone.rows.9", "backbone.rows.10", "backbone.conv")),
    ],
)
def test_a_classifiers_weights_fill_the_backbone(name, options, fresh):
    torch.manual_seed(1)
    family = name.removeprefix("lraspp_")
    source = draw(create_model(family, num_classes=7, width_multiplier=0.5, bn_eps=1e-4, small_images=False))
    source.normalise_by((0.4,) * 3, (0.2,) * 3)
    network = small(name, width_multiplier=0.5, pretrained_backbone=source, **options).eval()
    assert network.table.bn_eps == 1e-4
    assert network.normalisation == source.normalisation
    left = {re.sub(r"^(backbone\.(rows\.\d+|conv)|head).*", r"\1", key) for key in network.filled.not_filled}
    assert left == {"head", *fresh}
    if not fresh:  # at the classifier's own strides, the last row gives the same map
        network = small(name, width_multiplier=0.5, pretrained_backbone=source, output_stride=32, **options).eval()
        pictures = torch.rand(1, 3, 64, 96)
        with torch.no_grad():
            expected = source.run(network.prepare(pictures), ["row6"])[1]["row6"]
            assert torch.equal(network.observe(pictures, ["head"]).stages["head"], expected)


def test_any_table_carries_the_heads():
    rows = (
        Row("conv", 8, stride=2),
        Row("separable", 12, stride=2),
        Row("fused", 16, stride=2, expansion=3.0),
        Row("inverted", 16, kernel_size=5, stride=2, expansion=4.0, start_kernel_size=3, repeats=2),
    )
    table = replace(family_table("mobilenet_v3_small", num_classes=3, input_size=(64, 64)), rows=rows, name="searched")
    for head in ("lraspp", "raspp"):
        network = segmenter(table, head, output_stride=16).eval()
        out = network.observe(torch.rand(2, 3, 64, 64), ["head", "stage3"])
        assert out.out.shape == (2, 3, 64, 64)
        assert out.stages["head"].shape[2:] == (4, 4)
    with pytest.raises(InputError, match="no row gives a map of stride 8"):
        segmenter(replace(table, rows=rows[:1]), "lraspp")


def test_halving_keeps_what_a_detector_reads():
    table = family_table("mobilenet_v3_large")
    for keeps, first in ((True, 672), (False, 336)):
        halved = halve_tail(table, keep_first_inside=keeps)
        inner = [plan.hidden_channels for plans in halved.blocks()[13:] for plan in plans]
        assert inner == [first, 480, 480]
        assert halved.head.conv_channels == 480


def test_it_trains_and_per_pixel_losses_apply():
    student, teacher = small(), small("raspp_mobilenet_v2", reduce_tail=False)
    student.train()
    pictures, target = torch.rand(2, 3, 64, 96), torch.randint(0, 4, (2, 64, 96))
    out = student.observe(pictures, ["logits"])
    with torch.no_grad():
        theirs = teacher.observe(pictures, ["logits"])
    rows = [part.movedim(1, -1).flatten(0, 2) for part in (out.out, theirs.out)]
    maps = [part.stages["logits"] for part in (out, theirs)]
    loss = functional.cross_entropy(out.out, target) + kd(*rows)
    loss = loss + LOSSES["cwd"](maps[0].shape[1:], maps[1].shape[1:])(*maps)
    loss.backward()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in student.parameters())


@pytest.mark.parametrize("head", ["lraspp", "raspp"])
def test_the_exported_graph_says_the_same(head, tmp_path):
    rows = (
        Row("conv", 8, stride=2),
        Row("inverted", 8, stride=2, expansion=2.0, se_ratio=0.25),
        Row("inverted", 12, stride=2, expansion=2.0, repeats=2),
    )
    table = replace(family_table("mobilenet_v3_small", num_classes=4, input_size=(64, 96)), rows=rows)
    network = draw(segmenter(table, head, output_stride=8))  # the exporter takes a second for every few layers
    pictures = torch.rand(3, 3, 70, 90)
    path = tmp_path / "network.onnx"
    with torch.no_grad():
        torch.onnx.export(network, (pictures[:2],), str(path), dynamo=True, opset_version=18, verbose=False,
                          external_data=False, dynamic_shapes=({0: torch.export.Dim("batch")},))  # fmt: skip
        expected = network(pictures).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pictures.numpy()})[0]
    assert found.shape == (3, 4, 70, 90)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("lraspp_mobilenet_v2", {"output_strid": 16}, "did you mean 'output_stride'"),
        ("lraspp_mobilenet_v2", {"output_stride": 12}, "output_stride = 12: expected 8, 16, 32"),
        ("lraspp_mobilenet_v2", {"reduce_tail": "no"}, "reduce_tail = 'no': expected true or false"),
        ("raspp_mobilenet_v2", {"keep_first_inside": "x"}, "keep_first_inside = 'x': expected true or false"),
        ("raspp_mobilenet_v2", {"design": 3}, "design = 3: expected text"),
        ("lraspp_mobilenet_v2", {"width_rule": 3}, "unknown width_rule '3'"),
        ("raspp_mobilenet_v2", {"output_stride": 64}, "output_stride = 64: expected 8, 16, 32"),
        ("lraspp_mobilenet_v2", {"dropout": 0.1}, "unknown option 'dropout'"),
        ("raspp_mobilenet_v2", {"design": "torchvision"}, "unknown design 'torchvision'"),
        ("lraspp_mobilenet_v2", {"filters": 0}, "filters must be a whole number"),
        ("lraspp_mobilenet_v2", {"small_images": True}, "small_images is for classifiers"),
        ("lrasp_mobilenet_v2", {}, "did you mean 'lraspp_mobilenet_v2'"),
        ("lraspp_mobilenet_v2", {"pretrained": torch.nn.Linear(2, 2)}, "cannot be filled from a Linear"),
        ("lraspp_mobilenet_v2", {"pretrained": "torchvision:resnet18"}, "another network"),
        ("lraspp_mobilenet_v2", {"pretrained": True, "pretrained_backbone": True}, "drop pretrained_backbone"),
    ],
)
def test_bad_input_is_one_clear_line(name, options, says):
    with pytest.raises(InputError, match=says) as caught:
        create_model(name, num_classes=4, **options)
    assert "\n" not in str(caught.value)
