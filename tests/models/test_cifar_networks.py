from __future__ import annotations

import io
import json
import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.models import create_model, list_models, load_network, save_network
from limbeck.models.cifar import CIFAR, CIFAR_MEAN, CIFAR_SPELLINGS, CIFAR_STD, find_cifar
from limbeck.testing import check_network

torch.set_num_threads(1)

# One of each kind of network.
KINDS = [
    "cifar_resnet8",
    "cifar_resnet18",
    "cifar_wrn_16_1",
    "cifar_vgg8",
    "cifar_mobilenet_v1",
    "cifar_mobilenet_v2_half",
    "cifar_shufflenet_v1",
    "cifar_shufflenet_v2",
]


@pytest.mark.parametrize("name", KINDS)
def test_networks_keep_the_protocol(name):
    torch.manual_seed(0)
    network = create_model(name, num_classes=7)
    check_network(network)
    assert network.input_size == (32, 32)
    assert (network.normalisation["mean"], network.normalisation["std"]) == (list(CIFAR_MEAN), list(CIFAR_STD))
    check_network(create_model(name, num_classes=3, in_channels=1, input_size=(32, 48)), in_channels=1)


def test_stages_have_the_resolutions_that_the_literature_compares():
    sides = {}
    for name in CIFAR:
        with torch.device("meta"):
            network = CIFAR[name].build(name, num_classes=9, input_size=(32, 32), in_channels=3, dropout=0.0).eval()
            seen = network.observe(torch.rand(2, 3, 32, 32), network.stage_names)
        assert seen.out.shape == (2, 9)
        assert seen.stages["pool"].dim() == 2
        sides[name] = [feature.shape[-1] for stage, feature in seen.stages.items() if stage.startswith("stage")]
    three = [name for name in CIFAR if len(sides[name]) == 3]
    assert {tuple(sides[name]) for name in three if "shufflenet" not in name} == {(32, 16, 8)}
    assert sides["cifar_shufflenet_v1"] == sides["cifar_shufflenet_v2"] == [16, 8, 4]
    assert sides["cifar_resnet18"] == sides["cifar_resnet50"] == [32, 16, 8, 4]
    assert sides["cifar_vgg8"] == sides["cifar_vgg19"] == [16, 8, 4, 4]
    assert sides["cifar_mobilenet_v2_half"] == [16, 8, 4, 2]
    assert sides["cifar_mobilenet_v1"] == [32, 16, 8, 4, 2]


def test_vgg_pools_once_more_on_larger_pictures():
    network = create_model("cifar_vgg8", num_classes=200, input_size=64).eval()
    stages = network.observe(torch.rand(1, 3, 64, 64), ["stage3", "stage4"]).stages
    assert [stage.shape[-1] for stage in stages.values()] == [8, 4]


@pytest.mark.parametrize("name", [name for name in KINDS if name != "cifar_mobilenet_v1"])
def test_stages_before_the_activation_come_at_no_cost_to_the_statistics(name):
    network = create_model(name, num_classes=4).train()
    pictures, start = torch.rand(4, 3, 32, 32), {key: value.clone() for key, value in network.state_dict().items()}
    plain = network(pictures)
    after = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(start)
    stages = [*network.stage_names, *network.further_stage_names()]
    seen = network.observe(pictures, stages)
    assert torch.equal(seen.out, plain)
    assert all(torch.equal(value, after[key]) for key, value in network.state_dict().items())
    for stage in network.further_stage_names():
        feature, preact = seen.stages[stage.removesuffix(".preact")], seen.stages[stage]
        assert preact.shape == feature.shape
        assert preact.min() < 0
        if name in ("cifar_resnet8", "cifar_resnet18", "cifar_vgg8", "cifar_shufflenet_v1"):
            assert torch.equal(preact.relu(), feature)
    assert list(network.observe(pictures, ["stage2.preact"]).stages) == ["stage2.preact"]


@pytest.mark.parametrize("name", ["cifar_resnet8", "cifar_wrn_16_1", "cifar_shufflenet_v2"])
def test_observing_compiles_into_one_graph(name):
    network = create_model(name, num_classes=4).eval()
    stages = ("stage1", "stage2.preact", "pool")

    def step(pictures):
        seen = network.observe(pictures, stages)
        return seen.out, [seen.stages[stage] for stage in stages]

    pictures = torch.rand(2, 3, 32, 32)
    (out, maps), (expected, others) = torch.compile(step, backend="eager", fullgraph=True)(pictures), step(pictures)
    assert torch.equal(out, expected)
    assert all(map(torch.equal, maps, others))


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_network_comes_back_bit_for_bit(name, tmp_path):
    network = create_model(name, num_classes=5, dropout=0.2, input_size=(32, 40))
    network.train()(torch.rand(4, 3, 32, 40))
    network.normalise_by((0.1, 0.2, 1 / 3), (0.3, 0.4, 1 / 7), "bicubic")
    again = load_network(save_network(network, tmp_path))
    pictures = torch.rand(2, 3, 36, 40)
    assert torch.equal(network.eval()(pictures), again.eval()(pictures))
    assert again.architecture() == network.architecture() == json.loads(json.dumps(network.architecture()))
    other = create_model(name, num_classes=6, input_size=(32, 40), pretrained=tmp_path)
    assert len(other.filled.not_filled) == 2
    assert other.normalisation == network.normalisation


def torchscript_graph(network, sample):
    file = io.BytesIO()
    torch.onnx.export(
        network, (sample,), file, dynamo=False, opset_version=18, input_names=["x"], dynamic_axes={"x": {0: "batch"}}
    )
    return file.getvalue()


def dynamo_graph(network, sample):
    batch = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(network, (sample,), dynamo=True, dynamic_shapes=(batch,), verbose=False)
    return program.model_proto.SerializeToString()


@pytest.mark.parametrize(
    ("name", "export"),
    [
        *((name, torchscript_graph) for name in KINDS),
        ("cifar_wrn_16_1", dynamo_graph),
        ("cifar_shufflenet_v1", dynamo_graph),
    ],
)
def test_an_exported_graph_of_any_batch_agrees(name, export):
    network = create_model(name, num_classes=5).eval()
    pictures = torch.rand(5, 3, 32, 32)
    with torch.no_grad():
        expected = network(pictures).numpy()
    session = onnxruntime.InferenceSession(export(network, pictures[:2]), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pictures.numpy()})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_layer_groups_hold_every_parameter_once_from_input_to_classifier(name):
    network = create_model(name, num_classes=4)
    groups = network.layer_groups()
    assert [key for group in groups for key in group] == [key for key, _ in network.named_parameters()]
    assert 5 < len(groups) < 30
    assert network.get_parameter(groups[-1][0]).shape[0] == 4


def test_layer_groups_are_blocks():
    groups = create_model("cifar_wrn_16_1", num_classes=4).layer_groups()
    assert [group[0].removesuffix(".weight") for group in groups][:3] == [
        "conv1",
        "block1.layer.0.bn1",
        "block1.layer.1.bn1",
    ]
    assert len(create_model("cifar_vgg13", num_classes=4).layer_groups()) == 6


def test_fresh_weights_are_those_of_the_published_code():
    torch.manual_seed(0)
    half = create_model("cifar_mobilenet_v2_half", num_classes=100)
    assert half.blocks[6][0].conv[3].weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 480)), rel=0.05)
    assert half.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.02)
    deep = create_model("cifar_resnet18", num_classes=100)
    assert deep.layer4[1].conv2.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.02)
    wide = create_model("cifar_wrn_16_2", num_classes=100)
    assert wide.fc.bias.abs().max() == 0 < deep.fc.bias.abs().max()
    assert all(part.weight.min() == 1 for part in deep.modules() if isinstance(part, nn.BatchNorm2d))


def test_the_literatures_spellings_give_the_same_networks():
    for spelling, name in CIFAR_SPELLINGS.items():
        assert find_cifar(spelling) == find_cifar(name) == name
    network = create_model("resnet8x4", num_classes=10)
    assert network.name == "cifar_resnet8x4"
    assert find_cifar("resnet50") is None  # ImageNet's
    assert find_cifar("vgg13") is None
    assert set(list_models("cifar_*")) == set(CIFAR)
    assert set(CIFAR_SPELLINGS) <= set(list_models())


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cifar_resnet21", {}, "unknown model 'cifar_resnet21'; did you mean 'cifar_resnet"),
        ("cifar_resnet20", {"bn_eps": 1e-3}, "unknown option 'bn_eps'"),
        ("cifar_resnet20", {"dropout": 1.0}, "dropout must be"),
        ("cifar_resnet20", {"width_multiplier": 0.5}, "of one width"),
        ("cifar_resnet20", {"small_images": False}, "for small pictures"),
        ("cifar_resnet20", {"pretrained": True}, "takes the path of a checkpoint"),
        ("resnet20", {"pretrained": "timm:resnet18"}, "takes the path of a checkpoint"),
        ("cifar_vgg8", {"pretrained": "nowhere.pth"}, "no such file"),
        ("cifar_vgg8", {"num_classes": 0}, "num_classes must be"),
        ("cifar_vgg8", {"input_size": 0}, "input_size must be"),
        ("cifar_mobilenet_v1", {"bn_eps": 1e-3}, "unknown option 'bn_eps'"),
    ],
)
def test_bad_names_and_options_are_told_in_one_line(name, options, says):
    with pytest.raises(InputError, match=says) as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)
