from __future__ import annotations

import sys
import urllib.error

import pytest
import torch
import torchvision
from drawn_weights import draw
from torch import nn

from limbeck.errors import InputError
from limbeck.models import create_model, list_models, load_network, save_network, tap
from limbeck.models.library import ModuleNetwork, TimmNetwork

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "name",
    ["timm:resnet18", "timm:deit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224", "timm:mobilenetv3_small_050"],
)
def test_timm_networks_are_observed_without_changing_them(name):
    network = create_model(name, num_classes=4).eval()
    assert isinstance(network, TimmNetwork)
    pictures = torch.rand(2, 3, 230, 224)
    with torch.no_grad():
        seen = network.observe(pictures, network.stage_names)
        assert torch.equal(seen.out, network(pictures))
        assert torch.allclose(seen.out, network.module(network.prepare(pictures)), atol=1e-6)
        assert torch.allclose(network.module.get_classifier()(seen.stages["pool"]), seen.out, atol=1e-5)
    for stage in network.stage_names[:-1]:
        assert seen.stages[stage].dim() == 4
        assert seen.stages[stage].shape[2] == seen.stages[stage].shape[3] < 224
    flat = [parameter for group in network.layer_groups() for parameter in group]
    assert sorted(flat) == sorted(parameter for parameter, _ in network.named_parameters())
    assert any("head" in name or "classifier" in name or "fc" in name for name in network.layer_groups()[-1])


def test_class_tokens_and_single_stages_of_a_transformer():
    network = create_model("timm:deit_tiny_patch16_224", num_classes=4).eval()
    with torch.no_grad():
        seen = network.observe(torch.rand(1, 3, 224, 224), ["stage3", "stage3.class", "stage12"]).stages
    assert [tuple(seen[name].shape) for name in seen] == [(1, 192, 14, 14), (1, 192), (1, 192, 14, 14)]
    with pytest.raises(InputError, match="unknown stage 'stage13'"):
        network.observe(torch.rand(1, 3, 224, 224), ["stage13"])


def test_a_fixed_transformer_is_built_for_the_asked_size():
    network = create_model("timm:vit_tiny_patch16_224", num_classes=3, input_size=64).eval()
    seen = network.observe(torch.rand(1, 3, 30, 30), ["stage1"])
    assert seen.stages["stage1"].shape == (1, 192, 4, 4)
    assert network.macs() > 0


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", (512, 7, 7)),
        ("mobilenet_v3_small", (576, 7, 7)),
        ("swin_t", (768, 7, 7)),
        ("vit_b_32", (768, 7, 7)),
    ],
)
def test_torchvision_networks_are_observed_without_changing_them(name, last):
    network = create_model(f"torchvision:{name}", num_classes=4).eval()
    assert isinstance(network, ModuleNetwork)
    pictures = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        seen = network.observe(pictures, network.stage_names)
        assert torch.equal(seen.out, network.module(network.prepare(pictures)))
    assert tuple(seen.stages[network.stage_names[-2]].shape[1:]) == last
    assert network.stage_names[-1] == "pool"
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())
    flat = [parameter for group in network.layer_groups() for parameter in group]
    assert sorted(flat) == sorted(parameter for parameter, _ in network.named_parameters())


def test_torchvision_parts_by_their_own_names():
    network = create_model("torchvision:resnet18", num_classes=4).eval()
    seen = network.observe(torch.rand(1, 3, 64, 64), ["layer2.0", "stage3"]).stages
    assert seen["layer2.0"].shape == seen["stage3"].shape == (1, 128, 28, 28)
    with pytest.raises(InputError, match=r"did you mean 'layer2.1'"):
        network.observe(torch.rand(1, 3, 64, 64), ["layer2.l"])


def test_probing_leaves_the_mode_and_the_statistics():
    network = create_model("torchvision:resnet18", num_classes=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert len(network.stage_names) == 6
    assert network.macs() == 1_814_073_344 - 512 * 996  # torch's count for 1000 classes, less the smaller classifier
    assert all(part.training for part in network.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_tap_removes_its_hooks_even_after_an_error():
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with tap(module, ["0", "2.input"]) as seen:
        module(torch.ones(4, 2))
    assert torch.equal(seen["2.input"], module[1](seen["0"]))
    with pytest.raises(ZeroDivisionError), tap(module, ["0"]):
        raise ZeroDivisionError
    with pytest.raises(InputError, match="unknown part '3'"), tap(module, ["0", "3"]):
        pass
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


OUTSIDE = """
from torch import nn
from limbeck.models import Head, Row, Table

def small(num_classes, width=4):
    body = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 8, 3, 2, 1), nn.ReLU())
    net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
    net.mean, net.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return net

def table(num_classes, input_size):
    return Table("mine", Row("conv", 8, stride=2), (Row("inverted", 8),), Head(), num_classes, input_size=input_size)

def wrong(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))

def fails(num_classes):
    return nn.Linear(5, num_classes)

def nothing():
    return 3
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(OUTSIDE)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("my_models", None)


@pytest.mark.usefixtures("outside")
def test_anyones_module_becomes_a_network_and_survives_saving(tmp_path):
    network = create_model("my_models:small", num_classes=5, input_size=16, width=6).eval()
    pictures = torch.rand(3, 3, 16, 16)
    assert torch.equal(network(pictures), network.module(pictures))
    seen = network.observe(pictures, network.stage_names).stages
    assert {name: tuple(value.shape[1:]) for name, value in seen.items()} == {
        "stage1": (6, 8, 8),
        "stage2": (8, 4, 4),
        "pool": (8,),
    }
    again = load_network(save_network(network, tmp_path / "saved")).eval()
    assert torch.equal(again(pictures), network(pictures))
    assert again.normalisation["mean"] == [0.0, 0.0, 0.0]


@pytest.mark.usefixtures("outside")
def test_anyones_table_becomes_a_network():
    network = create_model("my_models:table", num_classes=5, input_size=16)
    assert network.table.name == "mine"
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 5)


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("my_models:wrong", {}, r"gives \[1, 3\] for one picture, expected \[1, 5\]"),
        ("my_models:fails", {}, "fails on a picture of 3x16x16"),
        ("my_models:nothing", {}, "gave a int, expected a network"),
        ("my_models:small", {"depth": 3}, "cannot be built with"),
        ("my_models:nosuch", {}, "module 'my_models' has no 'nosuch'"),
        ("no_module_of_this_name:net", {}, "cannot import"),
    ],
)
def test_outside_networks_that_do_not_fit_are_told_in_one_line(name, options, says):
    with pytest.raises(InputError, match=says) as caught:
        create_model(name, num_classes=5, input_size=16, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("timm:resnet19", {}, "unknown timm model 'resnet19'; did you mean 'resnet18'"),
        ("timm:resnet18.nosuch_in1k", {}, "unknown timm weights"),
        ("torchvision:resnet19", {}, "did you mean 'resnet18'"),
        ("mobilnet_v2", {}, "did you mean 'mobilenet_v2"),
        ("keras:resnet", {"width_multiplier": 1.0}, "cannot import 'keras'"),
        ("a b:c", {}, "unknown model 'a b:c'"),
        ("timm:resnet18", {"nosuch": 3}, "timm:resnet18: cannot be built with"),
        ("torchvision:resnet18", {"nosuch": 3}, "torchvision:resnet18: cannot be built with"),
        ("torchvision:resnet18", {"in_channels": 1}, "3 channels only"),
        ("timm:resnet18", {"width_multiplier": 0.5}, "are for our own families"),
        ("timm:resnet18", {"pretrained": "timm:resnet34"}, "is another network"),
        ("timm:resnet18", {"pretrained": "torchvision:resnet18"}, "of the same network, or a path"),
        ("mobilenet_v2", {"num_classes": 0}, "num_classes must be"),
        ("mobilenet_v2", {"input_size": 0}, "input_size must be"),
        ("mobilenet_v2", {"input_size": (3, 4, 5)}, "input_size must be"),
        ("mobilenet_v2_110", {"pretrained": True}, "nobody published weights for a width of 1.1"),
    ],
)
def test_bad_requests_are_told_in_one_line(name, options, says):
    with pytest.raises(InputError, match=says) as caught:
        create_model(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "pretrained"),
    [
        ("timm:resnet18", True),
        ("timm:resnet18", "timm:resnet18.a1_in1k"),
        ("mobilenet_v3_small", True),
        ("mobilenet_v3_small", "timm:mobilenetv3_small_100"),
        ("mobilenet_v3_small", "torchvision:mobilenet_v3_small"),
        ("torchvision:resnet18", True),
    ],
)
def test_without_a_network_to_download_from_it_is_one_line(name, pretrained, monkeypatch, tmp_path):
    import huggingface_hub.constants

    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(InputError, match="the pretrained weights cannot be had") as caught:
        create_model(name, pretrained=pretrained)
    assert "\n" not in str(caught.value)


def test_downloaded_torchvision_weights_keep_all_but_another_classifier(monkeypatch):
    state = draw(torchvision.models.resnet18()).state_dict()
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", lambda *_args, **_kwargs: dict(state))
    network = create_model("torchvision:resnet18", num_classes=4, pretrained=True)
    assert torch.equal(network.module.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert network.origin["weights"] == "torchvision:resnet18.IMAGENET1K_V1"
    full = create_model("torchvision:resnet18", pretrained=True)
    assert torch.equal(full.module.fc.weight, state["fc.weight"])


def test_lists_of_names():
    assert "timm:resnet18" in list_models("timm:resnet1*")
    assert "torchvision:resnet18" in list_models("torchvision:resnet*")
    assert "mobilenet_v3_large_075" in list_models()
    assert list_models("nosuch*") == []
