"""SSDLite: counts of the papers and of torchvision, its weights both ways, anchors, chosen boxes, files, ONNX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from drawn_weights import draw
from torch import nn
from torchvision.models import get_model
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from limbeck.errors import InputError
from limbeck.models import (
    Row,
    choose_boxes,
    create_model,
    detector,
    family_table,
    fill_library,
    list_models,
    load_network,
    save_network,
)
from limbeck.models.heads import AnchorOutputs, SoftmaxAnchorOutputs, decode_boxes, encode_boxes, make_anchors

torch.set_num_threads(1)


def torchvisions(num_classes=5):
    name = "ssdlite320_mobilenet_v3_large"
    return get_model(name, weights=None, weights_backbone=None, num_classes=num_classes)


def shape_only(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def small(name="ssdlite_mobilenet_v3_small", **options):
    torch.manual_seed(0)
    shape = {"num_classes": 4, "width_multiplier": 0.35, "input_size": 96}
    return create_model(name, **{**shape, **options}).eval()


# Tables 6 of MobileNetV3 and its authors' COCO counts at 90 classes: network, all parameters, those without norms, MAdds
# at 320 to the unit; the table's millions (without norms) and billions.
TABLE_6 = [
    ("ssdlite_mobilenet_v3_large", {"reduce_tail": False}, 5_006_735, 4_966_591, 613_143_104, 4.97, 0.62),
    ("ssdlite_mobilenet_v3_large", {}, 3_248_255, 3_215_311, 506_563_904, 3.22, 0.51),
    ("ssdlite_mobilenet_v3_small", {"reduce_tail": False}, 2_518_271, 2_493_487, 210_417_856, 2.49, 0.21),
    ("ssdlite_mobilenet_v3_small", {}, 1_785_743, 1_765_279, 162_303_424, 1.77, 0.16),
    ("ssdlite_mobilenet_v2", {}, 4_500_543, 4_449_791, 804_397_504, 4.3, 0.80),
    ("ssdlite_mobilenet_v2_050", {}, 1_562_111, 1_536_527, 272_348_896, 1.54, 0.27),
    ("ssdlite_mobilenet_v2_035", {}, 947_709, 929_531, 166_713_786, 0.93, 0.16),
    ("ssdlite_mnasnet_a1", {}, 4_912_181, 4_861_669, 837_819_232, 4.88, 0.84),
    ("ssdlite_mnasnet_a1_050", {}, 1_690_173, 1_664_541, 290_408_224, 1.68, 0.29),
    ("ssdlite_mnasnet_a1_035", {}, 1_032_335, 1_014_029, 177_387_738, 1.02, 0.18),
]


@pytest.mark.parametrize(("name", "options", "params", "without_norms", "macs", "millions", "billions"), TABLE_6)
def test_parameters_and_macs_are_the_papers(name, options, params, without_norms, macs, millions, billions):
    network = shape_only(name, num_classes=90, **options)
    norms = [value for part in network.modules() if isinstance(part, nn.BatchNorm2d) for value in part.parameters()]
    assert network.input_size == (320, 320)
    assert network.params() == params
    assert params - sum(value.numel() for value in norms) == without_norms
    assert network.macs() == macs
    close = 0.0051 if "v3" in name else 0.021 if "mnasnet" in name or "_0" in name else 0.16
    assert abs(without_norms / 1e6 - millions) <= close
    assert abs(macs / 1e9 - billions) <= 0.0071


def test_torchvisions_count():
    assert shape_only("ssdlite320_mobilenet_v3_large", num_classes=90).params() == 3_440_060


def test_torchvisions_weights_give_its_outputs_and_go_back_bit_for_bit():
    module = draw(torchvisions())
    network = create_model("ssdlite_mobilenet_v3_large", num_classes=4, pretrained=module).eval()
    assert network.filled.not_filled == ()
    assert network.filled.filled == network.params() == sum(value.numel() for value in module.parameters())
    assert network.normalisation["mean"] == network.normalisation["std"] == [0.5] * 3
    blank = torchvisions()
    fill_library(blank, network)
    assert all(torch.equal(blank.state_dict()[key], value) for key, value in module.state_dict().items())
    pictures = torch.rand(2, 3, 320, 320)
    with torch.no_grad():
        batch, _ = module.transform(list(pictures))
        maps = list(module.backbone(batch.tensors).values())
        expected, anchors = module.head(maps), module.anchor_generator(batch, maps)
        found = network.observe(pictures, network.head_stages)
    for mine, other in zip(found.out[:2], (expected["cls_logits"], expected["bbox_regression"]), strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 4e-6 * other.abs().max()
    assert (found.out.anchors - anchors[0] / 320).abs().max() < 1e-6
    for mine, other in zip(found.stages.values(), maps, strict=True):
        assert (mine - other).abs().max() <= 4e-6 * other.abs().max()


def test_chosen_boxes_are_torchvisions():
    module = torchvisions()
    anchors = make_anchors([(6, 6), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)], "torchvision")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, len(anchors), 5, generator=generator) * 2
    deltas = torch.randn(2, len(anchors), 4, generator=generator) * 2
    said = {"cls_logits": logits, "bbox_regression": deltas}
    expected = module.postprocess_detections(said, [anchors * 320] * 2, [(320, 320)] * 2)
    found = choose_boxes(SoftmaxAnchorOutputs(logits, deltas, anchors), iou_threshold=0.55, limit=300)
    for mine, other in zip(found, expected, strict=True):
        assert len(mine.boxes) == len(other["boxes"]) > 10
        assert torch.equal(mine.labels + 1, other["labels"])
        assert (mine.scores - other["scores"]).abs().max() < 1e-6
        assert (mine.boxes * 320 - other["boxes"]).abs().max() < 1e-3


def test_torchvisions_file_and_a_backbone(tmp_path):
    module = draw(torchvisions())
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    network = create_model("ssdlite_mobilenet_v3_large", num_classes=6, pretrained=tmp_path / "weights.pth")
    assert network.filled.not_filled
    assert all(key.startswith("classes.") and ".1." in key for key in network.filled.not_filled)
    source = draw(create_model("mobilenet_v2_035", num_classes=3))
    network = small("ssdlite_mobilenet_v2", pretrained_backbone=source)
    assert {key.split(".")[0] for key in network.filled.not_filled} == {"backbone", "further", "classes", "boxes"}
    assert all(key.startswith("backbone.conv") for key in network.filled.not_filled if key.startswith("backbone"))
    assert torch.equal(network.backbone.rows[6][0].expand.conv.weight, source.rows[6][0].expand.conv.weight)


def test_the_taps_and_widths_are_the_papers():
    large, little = shape_only("ssdlite_mobilenet_v3_large"), shape_only("ssdlite_mobilenet_v3_small")
    assert (large.design.fine, little.design.fine) == ("row12.0.expand", "row8.0.expand")
    assert large.map_sizes() == [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    for network, fine, last in ((large, 672, 480), (little, 288, 288)):
        assert [part[0].conv.in_channels for part in network.classes] == [fine, last, 512, 256, 256, 128]
    network = small(input_size=(96, 64))
    block, seen = network.backbone.rows[8][0], {}
    handle = block.depthwise.register_forward_pre_hook(lambda _, given: seen.update(fine=given[0]))
    with torch.no_grad():
        maps = network.observe(torch.rand(1, 3, 96, 64), network.stage_names).stages
    handle.remove()
    assert torch.equal(maps["map1"], seen["fine"])
    assert torch.equal(maps["map2"], maps["head"])
    assert [tuple(maps[name].shape[2:]) for name in network.head_stages] == network.map_sizes()
    assert network.map_sizes()[:2] == [(6, 4), (3, 2)]


def test_the_papers_anchors():
    anchors = make_anchors([(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]).double()
    assert len(anchors) == 3 * 400 + 6 * (100 + 25 + 9 + 4 + 1)
    centre, sides = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    assert np.allclose(sides[:3], [[0.1, 0.1], [0.2 * 2**0.5, 0.2 / 2**0.5], [0.2 / 2**0.5, 0.2 * 2**0.5]])
    assert np.allclose(centre[3:6], [[0.075, 0.025]] * 3)  # the second position of the first row
    last = [(0.95, 0.95)] + [(0.95 * r**0.5, 0.95 / r**0.5) for r in (2, 0.5, 3, 1 / 3)] + [(0.95**0.5,) * 2]
    assert np.allclose(sides[-6:], last)
    assert np.allclose(centre[-6:], 0.5)
    second = sides[1200:1206]
    assert np.allclose(second[0], 0.35)
    assert np.allclose(second[5], (0.35 * 0.5) ** 0.5)


def test_boxes_are_coded_as_torchvision_does_and_back():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(50, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat([corner, corner + 0.01 + torch.rand(50, 2, generator=generator, dtype=torch.float64)], 1)
    anchors = boxes[torch.randperm(50, generator=generator)]
    theirs = BoxCoder((10.0, 10.0, 5.0, 5.0))
    offsets = encode_boxes(boxes, anchors)
    assert (offsets - theirs.encode_single(boxes, anchors)).abs().max() < 1e-12
    assert (decode_boxes(offsets, anchors) - boxes).abs().max() < 1e-12
    wild = torch.randn(50, 4, generator=generator, dtype=torch.float64) * 30
    assert torch.allclose(decode_boxes(wild, anchors), theirs.decode_single(wild, anchors), rtol=1e-12)
    assert torch.isfinite(decode_boxes(wild * 1e4, anchors)).all()


def slow_choice(scores, boxes, threshold, overlap, limit):
    """Greedy suppression class by class, then the surest of all."""
    kept = []
    for label in range(scores.shape[1]):
        order = [i for i in np.argsort(-scores[:, label], kind="stable") if scores[i, label] > threshold]
        own = []
        for i in order:
            if all(box_iou(boxes[i : i + 1], boxes[j : j + 1]).item() <= overlap for j in own):
                own.append(i)
        kept += [(scores[i, label], label, i) for i in own]
    return sorted(kept, reverse=True)[:limit]


@pytest.mark.parametrize("limit", [5, 100])
def test_boxes_are_chosen_class_by_class(limit):
    generator = torch.Generator().manual_seed(3)
    anchors = make_anchors([(4, 4), (2, 2)])
    logits = torch.randn(2, len(anchors), 4, generator=generator) * 2
    deltas = torch.randn(2, len(anchors), 4, generator=generator)
    found = choose_boxes(AnchorOutputs(logits, deltas, anchors), score_threshold=0.4, iou_threshold=0.5, limit=limit)
    for n, mine in enumerate(found):
        boxes = decode_boxes(deltas[n], anchors).clamp(0, 1)
        expected = slow_choice(logits[n, :, 1:].sigmoid().numpy(), boxes, 0.4, 0.5, limit)
        assert len(expected) == len(mine.labels) > 3
        assert mine.labels.tolist() == [label for _, label, _ in expected]
        assert np.allclose(mine.scores, [score for score, _, _ in expected])
        assert torch.equal(mine.boxes, boxes[[i for _, _, i in expected]])
    nothing = choose_boxes(AnchorOutputs(logits - 50, deltas, anchors))
    assert [tuple(one.boxes.shape) for one in nothing] == [(0, 4)] * 2


@pytest.mark.parametrize("name", list_models("ssdlite*"))
def test_outputs_of_every_listed_detector(name):
    network = small(name)
    with torch.no_grad():
        out = network(torch.rand(2, 3, 70, 50))
    count = len(out.anchors)
    assert (out.class_logits.shape, out.box_deltas.shape) == ((2, count, 5), (2, count, 4))
    per_position = [6 if name.startswith("ssdlite320") else 3, 6, 6, 6, 6, 6]
    assert count == sum(a * h * w for a, (h, w) in zip(per_position, network.map_sizes(), strict=True))
    shares = out.class_logits.sigmoid().mean()
    assert abs(shares - (0.5 if name.startswith("ssdlite320") else 0.01)) < 0.02


def test_a_saved_network_comes_back_bit_for_bit(tmp_path):
    network = small("ssdlite_mobilenet_v2", reduce_tail=True)
    network.train()(torch.rand(4, 3, 96, 96))
    again = load_network(save_network(network.eval(), tmp_path)).eval()
    assert again.architecture() == network.architecture()
    pictures = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(again(pictures), network(pictures), strict=True))
    assert torch.equal(again.anchors, network.anchors)


def test_outputs_say_what_their_logits_mean():
    pictures = torch.rand(2, 3, 96, 96)
    network = small()
    assert network(pictures).scores == "sigmoid"
    own = network.__class__(network.table, replace(network.design, scores="softmax"))(pictures)
    assert own.scores == own.take(slice(1)).scores == "softmax"
    assert torch.equal(own.class_scores(), own.class_logits.softmax(-1)[..., 1:])
    assert own.take(slice(1)).class_logits.shape[0] == 1


def tiny():
    rows = (
        Row("conv", 8, stride=2),
        Row("inverted", 8, stride=2, expansion=2.0, se_ratio=0.25),
        Row("inverted", 12, stride=2, expansion=3.0, repeats=2),
    )
    table = replace(
        family_table("mobilenet_v3_small", num_classes=3, input_size=(64, 64), small_images=False),
        rows=rows,
        name="searched",
    )
    return draw(detector(table, width=0.1))


def test_any_table_carries_the_head_and_trains():
    from limbeck.models.heads import Boxes
    from limbeck.tasks.box_losses import focal_loss

    network = tiny()
    assert network.design.fine == "row2.0.expand"
    assert network.map_sizes()[:3] == [(8, 8), (4, 4), (2, 2)]
    torch.manual_seed(0)
    network = detector(network.table, reduce_tail=False, width=0.1).train()
    truth = [Boxes(torch.tensor([[0.1, 0.2, 0.6, 0.7]]), torch.tensor([2]))] * 2
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[:, :, 12:45, 6:39] = 1
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        loss = focal_loss(network(pictures), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    found = choose_boxes(network(pictures))[0]
    assert found.labels[0] == 2
    assert box_iou(found.boxes[:1], truth[0].boxes).item() > 0.7


def test_the_exported_graph_says_the_same(tmp_path):
    network, path = tiny(), tmp_path / "network.onnx"
    pictures = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        torch.onnx.export(network, (pictures[:2],), str(path), dynamo=True, opset_version=18, verbose=False,
                          external_data=False, dynamic_shapes=({0: torch.export.Dim("batch")},))  # fmt: skip
        expected = network(pictures)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pictures.numpy()})
    for mine, other in zip(found, expected, strict=True):
        assert mine.shape == tuple(other.shape)
        assert np.abs(mine - other.numpy()).max() <= 1e-4 * other.abs().max()


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("ssdlite_mobilenet_v2", {"output_stride": 16}, "unknown option 'output_stride'"),
        ("ssdlite_mobilenet_v2", {"design": "paperr"}, "did you mean 'paper'"),
        ("ssdlite_mobilenet_v2", {"small_images": True}, "small_images is for classifiers"),
        ("ssdlit_mobilenet_v2", {}, "did you mean 'ssdlite_mobilenet_v2'"),
        ("ssdlite_mobilenet_v2", {"pretrained": True}, "nobody published weights for it"),
    ],
)
def test_bad_input_is_one_clear_line(name, options, says):
    with pytest.raises(InputError, match=says) as caught:
        create_model(name, num_classes=4, **options)
    assert "\n" not in str(caught.value)


def test_bad_settings_of_choosing_are_told():
    out = small()(torch.rand(1, 3, 96, 96))
    with pytest.raises(InputError, match="limit above 0"):
        choose_boxes(out, limit=0)
