from __future__ import annotations

import json
import pickle
import random

import pytest
import timm
import torch
import torchvision

from limbeck.errors import InputError
from limbeck.models import build, create_model, family_table, load_network, save_network

torch.set_num_threads(1)


def small(**options: object):
    return create_model("mobilenet_v3_small_035", num_classes=4, input_size=32, **options)


def assert_same(first, second):
    theirs = second.state_dict()
    assert list(first.state_dict()) == list(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in first.state_dict().items())
    pictures = torch.rand(2, 3, 40, 36)
    assert torch.equal(first.eval()(pictures), second.eval()(pictures))


@pytest.mark.parametrize(
    "name", ["mobilenet_v1_025", "mobilenet_v2_035", "timm:resnet18", "torchvision:mobilenet_v3_small"]
)
def test_a_saved_network_comes_back_bit_for_bit(name, tmp_path):
    network = create_model(name, num_classes=4, input_size=(32, 40), dropout=0.1)
    network.train()(torch.rand(4, 3, 32, 40))  # moves the statistics away from their start
    network.normalise_by((0.1, 0.2, 1 / 3), (0.3, 0.4, 1 / 7), "bicubic")
    network.to(memory_format=torch.channels_last)
    again = load_network(save_network(network, tmp_path / "net"))
    network.to(memory_format=torch.contiguous_format)  # convolutions in the other layout round otherwise
    assert_same(network, again)
    assert again.architecture() == network.architecture()
    assert again.normalisation["mean"] == [0.1, 0.2, 1 / 3]
    assert torch.equal(again.mean, network.mean)


def test_the_description_is_plain_json(tmp_path):
    network = small()
    description = json.loads((save_network(network, tmp_path) / "architecture.json").read_text())
    assert description["kind"] == "table"
    assert description["origin"]["weights"] == "random"
    assert_same(load_network(tmp_path / "model.safetensors"), load_network(tmp_path / "architecture.json"))


def test_a_network_of_our_own_starts_from_a_saved_one(tmp_path):
    source = build(family_table("mobilenet_v3_small_035", num_classes=4, input_size=(32, 32), bn_eps=1e-4))
    source.normalise_by((0.4,) * 3, (0.2,) * 3)
    save_network(source, tmp_path)
    same = small(pretrained=tmp_path)
    assert_same(source, same)
    assert same.table.bn_eps == 1e-4
    other = create_model("mobilenet_v3_small_035", num_classes=9, input_size=32, pretrained=str(tmp_path))
    assert other.filled.not_filled == ("classifier.weight", "classifier.bias")
    assert other.normalisation == source.normalisation
    assert other.origin["weights"] == str(tmp_path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_bare_file_of_a_librarys_tensors_fills_our_network(library, suffix, tmp_path):
    from safetensors.torch import save_file

    if library == "timm":
        module = timm.create_model("mobilenetv3_small_100", num_classes=6)
    else:
        module = torchvision.models.mobilenet_v3_small(num_classes=6)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in module.state_dict().items()}}, path)
    else:
        save_file(module.state_dict(), path)
    network = create_model("mobilenet_v3_small", num_classes=6, pretrained=path, small_images=False).eval()
    assert network.filled.not_filled == ()
    pictures = torch.rand(1, 3, 224, 224)
    expected = module.eval()(network.prepare(pictures))
    assert (network(pictures) - expected).abs().max() <= 2e-6 * expected.abs().max()


def test_a_library_network_starts_from_a_saved_one_or_a_file(tmp_path):
    source = create_model("timm:resnet18", num_classes=4, input_size=32)
    source.normalise_by((0.4,) * 3, (0.2,) * 3)
    save_network(source, tmp_path / "saved")
    assert_same(source, create_model("timm:resnet18", num_classes=4, input_size=32, pretrained=str(tmp_path / "saved")))
    torch.save(source.module.state_dict(), tmp_path / "plain.pth")
    other = create_model("timm:resnet18", num_classes=7, input_size=32, pretrained=tmp_path / "plain.pth")
    assert other.filled.not_filled == ("module.fc.weight", "module.fc.bias")
    assert torch.equal(other.module.conv1.weight, source.module.conv1.weight)
    with pytest.raises(InputError, match="the weights do not fit"):
        create_model("timm:resnet34", num_classes=4, pretrained=tmp_path / "plain.pth")


class Bomb:
    def __reduce__(self):
        return print, ("boom",)


def spoil(path, how, network):
    weights = path / "model.safetensors"
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "noise":
        weights.write_bytes(random.Random(0).randbytes(5000))
    elif how == "missing":
        weights.unlink()
    elif how == "no architecture":
        (path / "architecture.json").unlink()
    elif how == "text":
        (path / "architecture.json").write_text("{")
    else:
        description = json.loads((path / "architecture.json").read_text())
        if how == "another table":
            description["table"]["rows"][3]["out_channels"] += 8
        elif how == "another depth":
            description["table"]["rows"].pop()
        elif how == "unknown kind":
            description["kind"] = "tabel"
        elif how == "unknown key":
            description["table"]["rows"][0]["kernel"] = 3
        elif how == "no mean":
            del description["mean"]
        elif how == "another schema":
            description["schema"] = 7
        (path / "architecture.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("cut", "damaged"),
        ("empty", "damaged"),
        ("noise", "damaged"),
        ("missing", "no such file"),
        ("no architecture", "no such file"),
        ("text", "not readable as JSON"),
        ("another table", "has the shape"),
        ("another depth", "weights of another network"),
        ("unknown kind", "did you mean 'table'"),
        ("unknown key", "did you mean 'kernel_size'"),
        ("no mean", "not a whole description"),
        ("another schema", "schema 1"),
    ],
)
def test_damaged_networks_are_told_in_one_line(how, says, tmp_path):
    network = small()
    save_network(network, tmp_path)
    spoil(tmp_path, how, network)
    with pytest.raises(InputError, match=says) as caught:
        load_network(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pickle_that_carries_code_never_runs(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": Bomb()}, path)
    for name in ("mobilenet_v3_small", "timm:resnet18"):
        with pytest.raises(InputError, match="carries code"):
            create_model(name, num_classes=4, pretrained=path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="carries code"):
        create_model("mobilenet_v3_small", pretrained=path)
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken zip"])
def test_files_that_are_no_weights(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.pth: ") as caught:
        create_model("mobilenet_v3_small", pretrained=path)
    assert "\n" not in str(caught.value)


def test_tensors_of_no_known_network(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="weights of an unknown network"):
        create_model("mobilenet_v3_small", pretrained=tmp_path / "weights.pth")
    torch.save([1, 2], tmp_path / "weights.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        create_model("mobilenet_v3_small", pretrained=tmp_path / "weights.pth")
    with pytest.raises(InputError, match="no such file"):
        create_model("mobilenet_v3_small", pretrained=tmp_path / "nothing.pth")
