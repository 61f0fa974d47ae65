"""Where an early exit sits by a network's name: at the layer where USKD's authors put it, as that very tensor."""

from __future__ import annotations

import pytest
import torch

from limbeck.errors import InputError
from limbeck.models import create_model, load_network, save_network, tap

torch.set_num_threads(1)


def pictures(side: int) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def first_token(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[:, 0]


def channels_first(feature: torch.Tensor) -> torch.Tensor:
    return feature.permute(0, 3, 1, 2)


def as_it_is(feature: torch.Tensor) -> torch.Tensor:
    return feature


@pytest.mark.parametrize(
    ("name", "side", "stage", "shape", "part", "form"),
    [
        ("timm:resnet18", 64, "stage4", (256, 4, 4), "layer3", as_it_is),
        ("timm:mobilenetv1_100", 64, "stage4", (512, 4, 4), "blocks.3", as_it_is),
        ("timm:mobilenetv2_100", 64, "stage5", (320, 2, 2), "blocks.6", as_it_is),
        ("timm:regnetx_016", 64, "stage4", (408, 4, 4), "s3", as_it_is),
        ("timm:deit_tiny", 224, "stage6.class", (192,), "blocks.5", first_token),
        ("timm:swin_tiny", 224, "stage3", (384, 14, 14), "layers.2", channels_first),
        ("torchvision:resnet18", 64, "stage4", (256, 4, 4), "layer3", as_it_is),
        ("torchvision:mobilenet_v2", 64, "features.17", (320, 2, 2), "features.17", as_it_is),
        ("torchvision:shufflenet_v2_x1_0", 64, "stage4.3", (464, 2, 2), "stage4", as_it_is),
        ("torchvision:vit_b_16", 32, "stage6.class", (768,), "encoder.layers.encoder_layer_5", first_token),
    ],
)
def test_the_exit_is_where_the_authors_put_it(name, side, stage, shape, part, form):
    network = create_model(name, num_classes=4, input_size=side).eval()
    assert network.exit_stage == stage
    inputs = pictures(side)
    with torch.no_grad(), tap(network.module, [part]) as seen:
        shown = network.observe(inputs, (stage,)).stages[stage]
    assert tuple(shown.shape[1:]) == shape
    assert torch.equal(shown, form(seen[part]))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenet_v1", 512),
        ("mobilenet_v2", 320),
        ("mobilenetv2_100", 320),
        ("mobilenet_v3_large", 160),
        ("resnet20", 32),
        ("resnet56", 32),
        ("cifar_resnet18", 256),
        ("vgg8", 512),
    ],
)
def test_the_exit_of_our_own_networks(name, channels):
    network = create_model(name, num_classes=4, input_size=32).eval()
    with torch.no_grad():
        shown = network.observe(pictures(32), (network.exit_stage,)).stages[network.exit_stage]
    assert shown.dim() == 4
    assert shown.shape[1] == channels


def test_tokens_without_a_class_token_are_a_map_half_way():
    small = {"depth": 4, "embed_dim": 24, "num_heads": 2}
    plain = create_model("timm:vit_tiny", num_classes=4, input_size=32, **small)
    assert plain.exit_stage == "stage2.class"
    without = create_model("timm:vit_tiny", num_classes=4, input_size=32, class_token=False, global_pool="avg", **small)
    assert without.exit_stage == "stage2"
    # registers stand before the patches too, but are no class token
    registers = {**small, "class_token": False, "global_pool": "avg", "reg_tokens": 2}
    network = create_model("timm:vit_tiny", num_classes=4, input_size=32, **registers).eval()
    assert network.exit_stage == "stage2"
    assert not any(name.endswith(".class") for name in network.further_stage_names())
    assert network.observe(pictures(32), ("stage2",)).stages["stage2"].shape == (2, 24, 2, 2)


@pytest.mark.parametrize(
    ("name", "is_raw"),
    [
        ("timm:swin_tiny", True),
        ("timm:convnext_atto", True),
        ("timm:resnet18", False),
        ("timm:mobilevit_xxs", False),
        ("mobilenet_v2", False),
        ("resnet20", False),
    ],
)
def test_maps_that_the_network_normalises_before_it_reads_them(name, is_raw):
    assert create_model(name, num_classes=4, input_size=224).has_raw_maps is is_raw


def test_short_names_of_transformers(tmp_path):
    network = create_model("timm:deit_tiny", num_classes=4, depth=2)
    assert network.name == "deit_tiny_patch16_224"
    assert network.input_size == (224, 224)
    save_network(network, tmp_path)
    assert load_network(tmp_path).name == "deit_tiny_patch16_224"
    assert create_model("timm:swin_tiny", num_classes=4).name == "swin_tiny_patch4_window7_224"
    with pytest.raises(InputError, match="model 'deit_tiny': is a network of timm; write 'timm:deit_tiny'"):
        create_model("deit_tiny")
    with pytest.raises(InputError, match="unknown timm model 'deit_tin'"):
        create_model("timm:deit_tin")
