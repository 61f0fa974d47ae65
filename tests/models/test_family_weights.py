from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from drawn_weights import blank_network, draw, library_network
from safetensors.torch import save_file
from torch import nn

from limbeck.errors import InputError
from limbeck.models import MODELS, build, create_model, family_table, fill_library
from limbeck.models.names import find_known
from limbeck.models.spellings import TIMM, TORCHVISION, library_names
from limbeck.models.weights import adopt_conventions, fill_from

torch.set_num_threads(1)

# Every network of theirs that is one of ours, by their name; and by ours, where the two names say different conventions.
PAIRS = [
    *((name, f"timm:{name}", {}) for name in TIMM),
    *((name, f"torchvision:{name}", {}) for name in TORCHVISION),
    ("mobilenet_v2_050", "timm:mobilenetv2_050", {}),
    ("mobilenet_v3_large_075", "timm:tf_mobilenetv3_large_075", {}),
    ("mobilenet_v3_small_050", "timm:mobilenetv3_small_050", {}),
    ("mobilenet_v3_large_050", "torchvision:mobilenet_v3_large", {"width_mult": 0.5}),
    ("mobilenet_v3_small_035", "torchvision:mobilenet_v3_small", {"width_mult": 0.35}),
    ("mobilenet_v2_035", "torchvision:mobilenet_v2", {"width_mult": 0.35}),
]


@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS, ids=[f"{ours}<-{theirs}" for ours, theirs, _ in PAIRS])
def test_a_librarys_weights_give_its_outputs_and_go_back_bit_for_bit(ours, theirs, options):
    module = library_network(theirs, **options)
    network = create_model(ours, num_classes=7, pretrained=module, input_size=(75, 64), small_images=False).eval()
    assert network.filled.not_filled == ()
    assert network.filled.filled == network.params()
    blank = blank_network(theirs, **options)
    fill_library(blank, network)
    state = blank.state_dict()
    assert all(torch.equal(state[key], value) for key, value in module.state_dict().items())
    with torch.no_grad():  # in float64, so that rounding hides no other eps
        pictures = network.double().prepare(torch.rand(2, 3, 75, 64, dtype=torch.float64))
        expected, found = module.double()(pictures), network.run(pictures, ())[0]
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 1e-13 * expected.abs().max()


def test_in_float32_outputs_are_equal_to_rounding():
    for name in ("semnasnet_100", "tf_mobilenetv3_small_100", "mobilenetv4_conv_small"):
        module = library_network(f"timm:{name}")
        network = create_model(name, num_classes=7, pretrained=module, input_size=75, small_images=False).eval()
        pictures = torch.rand(2, 3, 75, 75)
        with torch.no_grad():
            expected = module(network.prepare(pictures))
            assert (network(pictures) - expected).abs().max() <= 4e-6 * expected.abs().max()


def test_what_is_said_to_have_weights_has_them():
    for spelling, known in TIMM.items():
        assert timm.is_model(spelling)
        if known.weights:
            assert timm.list_pretrained(known.weights.removeprefix("timm:") + ".*"), known.weights
            assert find_known(f"{spelling}.tag").weights == f"timm:{spelling}.tag"
    for name in TORCHVISION:
        assert torchvision.models.get_model_weights(name).DEFAULT
    for family in MODELS:
        if not family.startswith("mnasnet_d1"):
            assert library_names(family)
    assert library_names("mnasnet_b1") == ["timm:mnasnet_100", "torchvision:mnasnet1_0"]


@pytest.mark.parametrize(
    ("name", "options", "asked"),
    [
        ("mobilenet_v2_140", {}, "mobilenetv2_140"),
        ("mobilenet_v2", {"width_multiplier": 0.5}, "mobilenetv2_050"),
        ("mnasnet_a1", {}, "semnasnet_100"),
        ("mnasnet_b1_050", {}, "mnasnet0_5"),
        ("mnasnet_small", {}, "mnasnet_small"),
        ("mobilenet_v3_large_minimal", {}, "tf_mobilenetv3_large_minimal_100"),
        ("mobilenetv3_large_100.miil_in21k_ft_in1k", {}, "mobilenetv3_large_100.miil_in21k_ft_in1k"),
        ("mobilenet_v3_small", {"pretrained": "torchvision:mobilenet_v3_small"}, "mobilenet_v3_small"),
    ],
)
def test_names_find_their_weights(name, options, asked, monkeypatch):
    from limbeck.models import pretrained
    from limbeck.models.providers import timm_network, torchvision_network

    seen = []

    def offline(maker):
        def make(name, **shape):
            seen.append(name)
            assert shape.pop("pretrained") is True
            return maker(name, **shape)

        return make

    monkeypatch.setattr(pretrained, "timm_network", offline(timm_network))
    monkeypatch.setattr(pretrained, "torchvision_network", offline(torchvision_network))
    network = create_model(name, **{"pretrained": True, **options})
    assert seen == [asked]
    assert network.filled.not_filled == ()


def test_timm_adds_the_first_input_of_mnasnet_small_and_its_authors_do_not():
    assert family_table("mnasnet_small").rows[0].skip == "none"
    module = library_network("timm:mnasnet_small")
    assert create_model("mnasnet_small", num_classes=7, pretrained=module).table.rows[0].skip == "identity"


def test_skips_that_no_row_can_say_split_it():
    module = library_network("timm:semnasnet_100")
    module.blocks[3][2].has_skip = False
    network = create_model("mnasnet_a1", num_classes=7, pretrained=module, input_size=64, small_images=False).eval()
    assert [row.skip for row in network.table.rows[3:7]] == ["none", "identity", "none", "identity"]  # strided
    pictures = torch.rand(1, 3, 64, 64)
    expected = module(network.prepare(pictures))
    assert (network(pictures) - expected).abs().max() <= 4e-6 * expected.abs().max()
    with pytest.raises(InputError, match="is not the architecture of 'mnasnet_b1'"):
        adopt_conventions(family_table("mnasnet_b1"), module)


def test_no_bias_is_lost_on_the_way():
    without = timm.create_model("mobilenetv3_small_100", num_classes=7, head_bias=False)
    network = create_model("mobilenet_v3_small", num_classes=7, pretrained=without)
    assert network.head.features.bias.abs().max() == 0
    fill_library(without, network)
    with torch.no_grad():
        network.head.features.bias += 1
    with pytest.raises(InputError, match=r"head\.features\.bias"):
        fill_library(without, network)
    table = family_table("mobilenetv3_rw", num_classes=7)
    rounded = draw(timm.create_model("mobilenetv3_large_100", num_classes=7))
    with pytest.raises(InputError, match=r"a bias where 'head\.features'"):
        fill_from(build(table), rounded)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_mnasnet_from_a_bare_file(suffix, tmp_path):
    module = library_network("torchvision:mnasnet0_5")
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(module.state_dict(), path)
    else:
        save_file(module.state_dict(), path)
    network = create_model("mnasnet_b1_050", num_classes=7, pretrained=path, input_size=64, small_images=False).eval()
    assert network.filled.not_filled == ()
    pictures = torch.rand(1, 3, 64, 64)
    expected = module(network.prepare(pictures))
    assert (network(pictures) - expected).abs().max() <= 4e-6 * expected.abs().max()
    with pytest.raises(InputError, match="the weights do not fit"):
        create_model("mnasnet_b1", num_classes=7, pretrained=path)


def test_conventions_and_normalisation_belong_to_the_weights():
    plain = create_model("mobilenet_v3_large", pretrained=timm.create_model("mobilenetv3_large_100"))
    converted = create_model("mobilenet_v3_large", pretrained=timm.create_model("tf_mobilenetv3_large_100"))
    assert (plain.table.bn_eps, plain.table.padding) == (1e-5, "symmetric")
    assert (converted.table.bn_eps, converted.table.padding) == (1e-3, "same")
    assert plain.normalisation == {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bicubic",
    }
    assert converted.normalisation == {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    assert plain.input_size == (224, 224)


def test_with_the_wrong_eps_outputs_differ_so_adopting_it_matters():
    module = library_network("torchvision:mobilenet_v3_small")
    network = create_model(
        "mobilenet_v3_small", num_classes=7, pretrained=module, input_size=64, small_images=False
    ).eval()
    pictures = torch.rand(1, 3, 64, 64)
    right = network(pictures)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = 1e-5
    assert (network(pictures) - right).abs().max() > 1e-4 * right.abs().max()


def test_small_images_keep_the_weights_and_take_over_the_skips():
    module = library_network("timm:mobilenetv3_small_100")
    network = create_model("mobilenet_v3_small", num_classes=7, pretrained=module, input_size=32)
    assert network.table.stem.stride == network.table.rows[0].stride == 1
    assert network.filled.not_filled == ()
    assert [row.skip for row in network.table.rows[:3]] == ["none", "identity", "identity"]


def test_a_classifier_of_other_classes_stays_fresh_and_is_reported():
    network = create_model("mobilenet_v2_035", num_classes=5, pretrained=library_network("timm:mobilenetv2_035"))
    assert network.filled.not_filled == ("classifier.weight", "classifier.bias")
    assert network.filled.total - network.filled.filled == 1280 * 5 + 5
    assert "fresh: classifier.weight, classifier.bias" in network.filled.describe()


@pytest.mark.parametrize("pretrained", ["timm:resnet18", "timm:mobilenetv2_100"])
def test_weights_of_another_architecture_are_refused(pretrained):
    with pytest.raises(InputError, match="is not the architecture of 'mobilenet_v3_small'"):
        create_model("mobilenet_v3_small", pretrained=library_network(pretrained))
