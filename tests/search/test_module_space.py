"""Spaces whose points are modules or whole networks: wrapped, saved, and built again from space and point."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.models import Table, create_model, load_network, save_network
from limbeck.search import Space, open_space
from limbeck.testing import check_space

OUTSIDE = Path(__file__).resolve().parents[2] / "examples" / "outside"
NAME = "my_module_space:residual"


@pytest.fixture(autouse=True)
def _in_their_folder(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(OUTSIDE)  # outside parts are looked for in the working directory
    yield
    for name in [name for name in sys.modules if name.startswith(("my_module_space", "spaces_here"))]:
        del sys.modules[name]


def opened(name=NAME, **more):
    return open_space(name, **{"reference": "mobilenet_v2", "num_classes": 4, "picture_size": 16, **more})


def module_in(folder, monkeypatch, text):
    (folder / "spaces_here.py").write_text("from torch import nn\nfrom limbeck.search import Space\n" + text)
    monkeypatch.chdir(folder)


def test_modules_keep_the_rules_of_spaces():
    space = opened(widths=[4, 6])
    check_space(space, num_classes=4)
    small, large = (space.candidate({**space.reference, "width": width}) for width in (4, 6))
    assert (small.num_classes, small.input_size, small.table) == (4, (16, 16), None)
    assert small.params() == sum(one.numel() for one in small.module.parameters())
    assert small.macs() < large.macs()
    convolutions = 16**2 * 27 * 4 + 8**2 * 36 * 8 + 4**2 * 72 * 16
    assert small.macs() == convolutions + 16 * 4


def test_a_saved_network_is_built_again_from_space_and_point(tmp_path):
    space = opened(widths=[4, 6])
    point = {"width": 6, "depth": 2, "kernel_size": 5, "activation": "silu"}
    network = space.network(point).eval()
    save_network(network, tmp_path)
    architecture = json.loads((tmp_path / "architecture.json").read_text())
    assert architecture["kind"] == "space"
    assert architecture["name"] == NAME
    assert architecture["options"] == {"num_classes": 4, "widths": [4, 6]}
    assert architecture["point"] == point
    again = load_network(tmp_path).eval()
    pictures = torch.rand(2, 3, 20, 20)
    with torch.no_grad():
        assert torch.equal(again(pictures), network(pictures))
    assert again.stage_names == network.stage_names
    assert again.architecture() == network.architecture()


def test_the_reference_of_a_function_that_asks_for_it_comes_back_as_it_was(tmp_path, monkeypatch):
    module_in(
        tmp_path,
        monkeypatch,
        "def wide(reference, num_classes, picture_size):\n"
        "    assert isinstance(picture_size, tuple)\n"
        "    def build(point):\n"
        "        width = reference.rows[0].out_channels * point['times']\n"
        "        return nn.Sequential(nn.Conv2d(3, width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(width, num_classes))\n"
        "    return Space('wide', {'times': (1, 2)}, build, {'times': 1})\n",
    )
    table = create_model("mobilenet_v2", num_classes=4, input_size=16).table
    network = opened("spaces_here:wide", reference=table, picture_size=(16, 16)).network({"times": 2})
    again = load_network(save_network(network, tmp_path / "saved"))
    assert again.module[0].out_channels == 2 * table.rows[0].out_channels


def test_a_module_may_say_its_own_size_and_normalisation(tmp_path, monkeypatch):
    module_in(
        tmp_path,
        monkeypatch,
        "class Own(nn.Sequential):\n"
        "    mean, std, input_size = [0.5] * 3, [0.25] * 3, 24\n"
        "SPACE = Space('own', {'bias': (True, False)}, lambda point: Own(nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(3, 4, bias=point['bias'])), {'bias': True})\n",
    )
    network = opened("spaces_here:SPACE").network({"bias": False})
    assert (network.input_size, network.normalisation["mean"]) == ((24, 24), [0.5] * 3)
    again = load_network(save_network(network, tmp_path / "saved"))
    assert (again.input_size, again.normalisation) == (network.input_size, network.normalisation)


def test_networks_of_libraries_stay_what_they_are(tmp_path):
    def build(point):
        return create_model(point["model"], num_classes=4, input_size=32)

    space = Space("ready", {"model": ("cifar_resnet20", "timm:resnet10t")}, build, {"model": "cifar_resnet20"})
    network = space.network({"model": "timm:resnet10t"})
    assert network.architecture()["kind"] == "timm"
    assert type(load_network(save_network(network, tmp_path))) is type(network)


def test_tables_stay_tables():
    space = opened("mobilenet_blocks", picture_size=32)
    assert isinstance(space.candidate(space.reference), Table)
    assert space.network(space.reference).table == space.candidate(space.reference)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nn.Linear(3, 4)", r"space 'spaces_here:SPACE': fails on a picture of 3x16x16 \(.*mat1 and mat2"),
        ("nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())", r"gives \[1, 3\] for one picture, expected \[1, 4\]"),
        ("1 / 0", r"space 'own': \{'a': 1\} cannot be built \(ZeroDivisionError: division by zero\)"),
        ("dict(point)", "space 'own': build gave a dict, expected a Table or a torch module"),
    ],
)
def test_what_is_no_network_is_told_in_one_line(tmp_path, monkeypatch, text, told):
    module_in(tmp_path, monkeypatch, f"SPACE = Space('own', {{'a': (1, 2)}}, lambda point: {text}, {{'a': 1}})\n")
    with pytest.raises(InputError, match=told) as caught:
        opened("spaces_here:SPACE").candidate({"a": 1})
    assert "\n" not in str(caught.value)


def test_modules_of_a_space_made_in_python_cannot_be_built_again():
    space = Space("here", {"a": (1, 2)}, lambda point: nn.Linear(3, 4), {"a": 1})
    with pytest.raises(InputError, match="open it with open_space"):
        space.candidate({"a": 1})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "gone_away:residual"}, "space 'gone_away:residual': cannot import 'gone_away'"),
        ({"name": "my_module_space:resid"}, "module 'my_module_space' has no 'resid'"),
        ({"name": "my_module_space:ACTIVATIONS"}, "is a dict, not a limbeck.search.Space"),
        ({"options": {"classes": 4}}, r"is not made with classes \("),
        ({"point": {"width": 9, "depth": 1, "kernel_size": 3, "activation": "relu"}}, "width = 9 is none of 8, 16, 24"),
        ({"point": {"width": 8, "depth": 1, "kernel_size": 3}}, "choice 'activation' is missing"),
        ({"num_classes": 7}, r"gives \[1, 4\] for one picture, expected \[1, 7\]"),
    ],
)
def test_what_cannot_be_built_again_is_told_in_one_line(tmp_path, changes, told):
    network = opened().network(opened().reference)
    save_network(network, tmp_path)
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=told) as caught:
        load_network(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
