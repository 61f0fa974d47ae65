from __future__ import annotations

import io
import math

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.models import TableNetwork, build, create_model, family_table
from limbeck.models.blocks import SamePadConv2d, initialise

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "name", ["mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_large_035", "mobilenet_v3_small"]
)
@pytest.mark.parametrize("side", [32, 64])
def test_observing_changes_nothing_and_names_each_resolution(name, side):
    network = create_model(name, num_classes=6, input_size=side).eval()
    pictures = torch.rand(3, 3, side, side)
    seen = network.observe(pictures, [*network.stage_names, "row0"])
    assert torch.equal(seen.out, network(pictures))
    assert seen.out.shape == (3, 6)
    assert list(seen.stages) == [*network.stage_names, "row0"]
    stages = [value for key, value in seen.stages.items() if key.startswith("stage")]
    sides = [stage.shape[-1] for stage in stages]
    assert sides == sorted(set(sides), reverse=True)
    assert sides[-1] == seen.stages["head"].shape[-1] == 4
    assert torch.allclose(network.classifier(seen.stages["pool"]), seen.out)


def test_stages_of_mobilenet_v3_large_at_224():
    network = create_model("mobilenet_v3_large", num_classes=2).eval()
    stages = network.observe(torch.rand(1, 3, 224, 224), network.stage_names).stages
    assert {name: tuple(stage.shape[1:]) for name, stage in stages.items()} == {
        "stem": (16, 112, 112),
        "stage1": (16, 112, 112),
        "stage2": (24, 56, 56),
        "stage3": (40, 28, 28),
        "stage4": (112, 14, 14),
        "stage5": (160, 7, 7),
        "head": (960, 7, 7),
        "pool": (1280,),
    }


def test_an_unknown_stage_is_named_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown stage 'stage9'; did you mean 'stage\d'"):
        create_model("mobilenet_v3_small", num_classes=2, input_size=32).observe(torch.rand(1, 3, 32, 32), ["stage9"])


def test_pictures_of_any_size_are_resized_and_normalised():
    network = create_model("mobilenet_v3_small", num_classes=4, input_size=(32, 48)).eval()
    pictures = torch.rand(2, 3, 50, 60)
    resized = nn.functional.interpolate(pictures, size=(32, 48), mode="bilinear", align_corners=False)
    assert torch.equal(network(pictures), network(resized))
    assert torch.equal(network.prepare(resized), (resized - network.mean) / network.std)
    network.normalise_by((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert torch.equal(network.prepare(resized), resized)
    with pytest.raises(InputError, match="3 values each"):
        network.normalise_by((0.5,), (0.5,))


@pytest.mark.parametrize("name", ["mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small_050"])
def test_layer_groups_hold_every_parameter_once_from_input_to_head(name):
    network = create_model(name, num_classes=4, input_size=32)
    groups = network.layer_groups()
    flat = [parameter for group in groups for parameter in group]
    assert sorted(flat) == sorted(name for name, _ in network.named_parameters())
    assert groups[0][0] == "stem.conv.weight"
    assert groups[1][0].startswith("rows.0.")
    assert groups[-1] == ["classifier.weight", "classifier.bias"]
    assert len(groups) == len(network.table.rows) + 3 - (network.head.conv is None and network.head.features is None)


def test_fresh_weights_follow_the_stated_distributions():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(64, 128, 3), nn.Conv2d(512, 512, 5, groups=512), nn.Linear(400, 10), nn.BatchNorm2d(4)
    )
    initialise(module)
    assert module[0].weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert module[1].weight.std().item() == pytest.approx(math.sqrt(2 / 25), rel=0.03)
    assert module[2].weight.abs().max().item() == pytest.approx(1 / math.sqrt(400), rel=0.01)
    assert all(part.bias.abs().max() == 0 for part in module)


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(8, 9), (13, 4), (1, 2)])
def test_same_padding_puts_the_odd_pixel_right_and_below(kernel, size):
    conv = SamePadConv2d(2, 3, kernel, stride=2, bias=False)
    picture = torch.rand(1, 2, *size)
    out = conv(picture)
    assert out.shape[2:] == tuple(-(-side // 2) for side in size)
    total = [max((-(-side // 2) - 1) * 2 + kernel - side, 0) for side in size]
    padded = np.pad(picture.numpy(), [(0, 0), (0, 0), *[(pad // 2, pad - pad // 2) for pad in total]])
    value = (padded[0, :, :kernel, :kernel] * conv.weight[1].detach().numpy()).sum()
    assert out[0, 1, 0, 0].item() == pytest.approx(value, abs=1e-5)


def test_training_learns_and_updates_every_parameter():
    torch.manual_seed(0)
    network = create_model("mobilenet_v3_small_050", num_classes=2, input_size=32, dropout=0.0)
    pictures, target = torch.rand(8, 3, 32, 32), torch.arange(8) % 2
    pictures[target == 1] *= 0.3
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(network(pictures), target)
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        assert all(parameter.grad is not None for parameter in network.parameters())
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(("side", "resizes"), [(32, False), (40, True)])
def test_both_exporters_give_a_graph_of_any_batch_that_agrees(side, resizes):
    network = build(family_table("mobilenet_v3_small_050", num_classes=5, input_size=(32, 32))).eval()
    sample = torch.rand(2, 3, side, side)
    batch = {0: torch.export.Dim("batch")}
    modern = torch.onnx.export(network, (sample,), dynamo=True, dynamic_shapes=(batch,), verbose=False).model_proto
    file = io.BytesIO()
    torch.onnx.export(
        network, (sample,), file, dynamo=False, opset_version=18, input_names=["x"], dynamic_axes={"x": {0: "batch"}}
    )
    pictures = torch.rand(5, 3, side, side)
    with torch.no_grad():
        expected = network(pictures).numpy()
    for model in (modern, onnx.load_from_string(file.getvalue())):
        assert ("Resize" in operators(model)) is resizes
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found = session.run(None, {session.get_inputs()[0].name: pictures.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_deep_copy_and_a_state_dict_carry_everything_trained():
    network = create_model("mobilenet_v2_035", num_classes=3, input_size=32).eval()
    other = create_model("mobilenet_v2_035", num_classes=3, input_size=32).eval()
    assert isinstance(other, TableNetwork)
    other.load_state_dict(network.state_dict())
    pictures = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(pictures), other(pictures))
    assert "mean" not in network.state_dict()
