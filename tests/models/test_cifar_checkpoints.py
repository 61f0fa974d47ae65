"""Published checkpoints against references written here from the published code's layers, tensor by tensor."""

from __future__ import annotations

import argparse
import collections
import functools
import itertools
import pathlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import InputError
from limbeck.models import create_model
from limbeck.models.cifar import CIFAR

torch.set_num_threads(1)

MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
CLASSES = 100


class Layers:
    """Functional layers that draw each tensor when it is first asked for: one pass gives a checkpoint and its output."""

    def __init__(self, seed: int = 0) -> None:
        self.state: dict[str, Tensor] = {}
        self.generator = torch.Generator().manual_seed(seed)

    def draw(self, name: str, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        if name not in self.state:
            self.state[name] = torch.rand(shape, generator=self.generator) * (high - low) + low
        return self.state[name].double()

    def conv(self, x, name, out, side, stride=1, groups=1, bias=False):
        bound = (3 * groups / (x.shape[1] * side * side)) ** 0.5  # keeps the scale from layer to layer
        weight = self.draw(f"{name}.weight", out, x.shape[1] // groups, side, side, low=-bound, high=bound)
        shift = self.draw(f"{name}.bias", out) if bias else None
        return F.conv2d(x, weight, shift, stride, side // 2, groups=groups)

    def norm(self, x, name):
        count = x.shape[1]
        scale, shift = self.draw(f"{name}.weight", count, low=0.5, high=1.5), self.draw(f"{name}.bias", count)
        mean = self.draw(f"{name}.running_mean", count)
        variance = self.draw(f"{name}.running_var", count, low=0.5, high=1.5)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)
        shape = (1, count, 1, 1)
        return (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt() * scale.view(shape) + shift.view(shape)

    def dense(self, x, name):
        return x @ self.draw(f"{name}.weight", CLASSES, x.shape[1]).T + self.draw(f"{name}.bias", CLASSES)


def resnet(net, x, depths, widths, *, stem, bottleneck=False, names=("downsample", "fc")):
    def block(x, name, width, stride):
        out, entered = (4 * width if bottleneck else width), x
        if bottleneck:
            y = net.norm(net.conv(x, f"{name}.conv1", width, 1), f"{name}.bn1").relu()
            y = net.norm(net.conv(y, f"{name}.conv2", width, 3, stride), f"{name}.bn2").relu()
            y = net.norm(net.conv(y, f"{name}.conv3", out, 1), f"{name}.bn3")
        else:
            y = net.norm(net.conv(x, f"{name}.conv1", width, 3, stride), f"{name}.bn1").relu()
            y = net.norm(net.conv(y, f"{name}.conv2", width, 3), f"{name}.bn2")
        if stride != 1 or x.shape[1] != out:
            entered = net.norm(net.conv(x, f"{name}.{names[0]}.0", out, 1, stride), f"{name}.{names[0]}.1")
        return y + entered

    x = net.norm(net.conv(x, "conv1", stem, 3), "bn1").relu()
    stages = {"stem": x}
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        for j in range(depth):
            preact = block(x, f"layer{i}.{j}", width, 2 if i > 1 and j == 0 else 1)
            x = preact.relu()
        stages |= {f"stage{i}": x, f"stage{i}.preact": preact}
    stages["pool"] = x.mean((2, 3))
    return net.dense(stages["pool"], names[1]), stages


def wide_resnet(net, x, depth, widen):
    x = net.conv(x, "conv1", 16, 3)
    stages = {"stem": x}
    for i in (1, 2, 3):
        out = 16 * widen * 2 ** (i - 1)
        for j in range((depth - 4) // 6):
            name, stride = f"block{i}.layer.{j}", 2 if i > 1 and j == 0 else 1
            normed = net.norm(x, f"{name}.bn1")
            if i > 1 and j == 0:
                stages[f"stage{i - 1}.preact"] = normed
            active = normed.relu()
            y = net.norm(net.conv(active, f"{name}.conv1", out, 3, stride), f"{name}.bn2").relu()
            y = net.conv(y, f"{name}.conv2", out, 3)
            x = y + (net.conv(active, f"{name}.convShortcut", out, 1, stride) if x.shape[1] != out else x)
        stages[f"stage{i}"] = x
    stages["stage3.preact"] = net.norm(x, "bn1")
    stages["pool"] = stages["stage3.preact"].relu().mean((2, 3))
    return net.dense(stages["pool"], "fc"), stages


def vgg(net, x, depths):
    stages = {}
    for i, (width, depth) in enumerate(zip((64, 128, 256, 512, 512), depths, strict=True)):
        x = F.max_pool2d(x, 2, 2) if 1 <= i <= 3 else x
        for j in range(depth):
            x = net.norm(
                net.conv(x.relu() if j else x, f"block{i}.{3 * j}", width, 3, bias=True), f"block{i}.{3 * j + 1}"
            )
        stages |= {f"stage{i}.preact": x, f"stage{i}": x.relu()} if i else {"stem": x.relu()}
        x = x.relu()
    stages["pool"] = x.mean((2, 3))
    return net.dense(stages["pool"], "classifier"), stages


def mobilenet_v2(net, x):
    x = net.norm(net.conv(x, "conv1.0", 16, 3, 2), "conv1.1").relu()
    stages, number = {"stem": x}, 1
    rows = [(1, 8, 1, 1), (6, 12, 2, 1), (6, 16, 3, 2), (6, 32, 4, 2), (6, 48, 3, 1), (6, 80, 3, 2), (6, 160, 1, 1)]
    for i, (expansion, out, depth, first) in enumerate(rows):
        for j in range(depth):
            name, stride, inside = f"blocks.{i}.{j}.conv", first if j == 0 else 1, x.shape[1] * expansion
            y = net.norm(net.conv(x, f"{name}.0", inside, 1), f"{name}.1").relu()
            y = net.norm(net.conv(y, f"{name}.3", inside, 3, stride, groups=inside), f"{name}.4").relu()
            y = net.norm(net.conv(y, f"{name}.6", out, 1), f"{name}.7")
            x = x + y if stride == 1 and x.shape[1] == out else y
        if i in (1, 2, 4, 6):
            stages |= {f"stage{number}": x, f"stage{number}.preact": x}
            number += 1
    stages["head"] = net.norm(net.conv(x, "conv2.0", 1280, 1), "conv2.1").relu()
    stages["pool"] = stages["head"].mean((2, 3))
    return net.dense(stages["pool"], "classifier.0"), stages


def mixed(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).permute(0, 2, 1, 3, 4).reshape(n, c, h, w)


def shufflenet_v1(net, x):
    x = net.norm(net.conv(x, "conv1", 24, 1), "bn1").relu()
    stages = {"stem": x}
    for i, (width, depth) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
        for j in range(depth):
            name, out, groups = f"layer{i}.{j}", width - x.shape[1] if j == 0 else width, 1 if x.shape[1] == 24 else 3
            inside = out // 4
            y = mixed(net.norm(net.conv(x, f"{name}.conv1", inside, 1, groups=groups), f"{name}.bn1").relu(), groups)
            stride = 2 if j == 0 else 1
            y = net.norm(net.conv(y, f"{name}.conv2", inside, 3, stride, groups=inside), f"{name}.bn2").relu()
            y = net.norm(net.conv(y, f"{name}.conv3", out, 1, groups=3), f"{name}.bn3")
            preact = torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1) if j == 0 else y + x
            x = preact.relu()
        stages |= {f"stage{i}": x, f"stage{i}.preact": preact}
    stages["pool"] = x.mean((2, 3))
    return net.dense(stages["pool"], "linear"), stages


def shufflenet_v2(net, x):
    x = net.norm(net.conv(x, "conv1", 24, 1), "bn1").relu()
    stages = {"stem": x}
    for i, (width, depth) in enumerate(((116, 4), (232, 8), (464, 4)), start=1):
        half = width // 2
        for j in range(depth):
            name = f"layer{i}.{j}"
            if j == 0:
                left = net.norm(net.conv(x, f"{name}.conv1", x.shape[1], 3, 2, groups=x.shape[1]), f"{name}.bn1")
                left = net.norm(net.conv(left, f"{name}.conv2", half, 1), f"{name}.bn2").relu()
                y = net.norm(net.conv(x, f"{name}.conv3", half, 1), f"{name}.bn3").relu()
                y = net.norm(net.conv(y, f"{name}.conv4", half, 3, 2, groups=half), f"{name}.bn4")
                y = net.norm(net.conv(y, f"{name}.conv5", half, 1), f"{name}.bn5")
            else:
                left, y = x[:, :half], x[:, half:]
                y = net.norm(net.conv(y, f"{name}.conv1", half, 1), f"{name}.bn1").relu()
                y = net.norm(net.conv(y, f"{name}.conv2", half, 3, groups=half), f"{name}.bn2")
                y = net.norm(net.conv(y, f"{name}.conv3", half, 1), f"{name}.bn3")
            x = mixed(torch.cat([left, y.relu()], 1), 2)
        stages |= {f"stage{i}": x, f"stage{i}.preact": torch.cat([left, y], 1)}
    stages["head"] = net.norm(net.conv(x, "conv2", 1024, 1), "bn2").relu()
    stages["pool"] = stages["head"].mean((2, 3))
    return net.dense(stages["pool"], "linear"), stages


NARROW = {"widths": (16, 32, 64), "stem": 16}
WIDE = {"widths": (64, 128, 256), "stem": 32}
DEEP = {"widths": (64, 128, 256, 512), "stem": 64, "names": ("shortcut", "linear")}
REFERENCES = {
    **{
        f"cifar_resnet{depth}": functools.partial(resnet, depths=[(depth - 2) // 6] * 3, **NARROW)
        for depth in (8, 14, 20, 32, 44, 56, 110)
    },
    "cifar_resnet8x4": functools.partial(resnet, depths=(1, 1, 1), **WIDE),
    "cifar_resnet32x4": functools.partial(resnet, depths=(5, 5, 5), **WIDE),
    "cifar_resnet18": functools.partial(resnet, depths=(2, 2, 2, 2), **DEEP),
    "cifar_resnet34": functools.partial(resnet, depths=(3, 4, 6, 3), **DEEP),
    "cifar_resnet50": functools.partial(resnet, depths=(3, 4, 6, 3), bottleneck=True, **DEEP),
    **{
        f"cifar_wrn_{depth}_{widen}": functools.partial(wide_resnet, depth=depth, widen=widen)
        for depth, widen in ((16, 1), (16, 2), (16, 8), (16, 10), (40, 1), (40, 2))
    },
    "cifar_vgg8": functools.partial(vgg, depths=(1, 1, 1, 1, 1)),
    "cifar_vgg11": functools.partial(vgg, depths=(1, 1, 2, 2, 2)),
    "cifar_vgg13": functools.partial(vgg, depths=(2, 2, 2, 2, 2)),
    "cifar_vgg16": functools.partial(vgg, depths=(2, 2, 3, 3, 3)),
    "cifar_vgg19": functools.partial(vgg, depths=(2, 2, 4, 4, 4)),
    "cifar_mobilenet_v2_half": mobilenet_v2,
    "cifar_shufflenet_v1": shufflenet_v1,
    "cifar_shufflenet_v2": shufflenet_v2,
}
# What the literature prints of them (mdistiller's and SwitOKD's tables, CRD's repository), at 100 classes.
PUBLISHED = {
    "cifar_resnet20": 278_324,
    "cifar_resnet32": 472_756,
    "cifar_resnet56": 861_620,
    "cifar_resnet110": 1_736_564,
    "cifar_resnet8x4": 1_233_540,
    "cifar_resnet32x4": 7_433_860,
    "cifar_wrn_16_2": 703_284,
    "cifar_wrn_40_1": 569_780,
    "cifar_wrn_40_2": 2_255_156,
    "cifar_vgg8": 3_965_028,
    "cifar_vgg13": 9_462_180,
    "cifar_mobilenet_v2_half": 812_836,
    "cifar_shufflenet_v1": 949_258,
    "cifar_shufflenet_v2": 1_355_528,
    "cifar_resnet50": 23_705_252,
}


def reference(name, pictures, seed=0):
    """Checkpoint tensors, logits and stages of the reference for pictures in [0, 1]."""
    net = Layers(seed)
    mean, std = (torch.tensor(value, dtype=torch.float64).view(3, 1, 1) for value in (MEAN, STD))
    logits, stages = REFERENCES[name](net, (pictures.double() - mean) / std)
    return net.state, logits, stages


@pytest.mark.parametrize("name", REFERENCES)
def test_parameters_are_those_of_the_reference_to_the_unit(name):
    state, _, _ = reference(name, torch.rand(1, 3, 16, 16))  # sides do not matter for parameters
    counted = sum(
        value.numel() for key, value in state.items() if not key.rpartition(".")[2].startswith(("run", "num"))
    )
    assert CIFAR[name].params == counted == PUBLISHED.get(name, counted)
    with torch.device("meta"):
        assert (
            sum(
                value.numel()
                for value in CIFAR[name]
                .build(name, num_classes=CLASSES, input_size=(32, 32), in_channels=3, dropout=0.0)
                .parameters()
            )
            == counted
        )


def test_mobilenet_v1_has_the_parameters_that_its_layers_sum_to():
    widths = (32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)
    stem, dense = 27 * 32 + 64, 1024 * CLASSES + CLASSES
    blocks = sum(9 * a + 2 * a + a * b + 2 * b for a, b in itertools.pairwise(widths))
    network = create_model("cifar_mobilenet_v1", num_classes=CLASSES)
    assert CIFAR["cifar_mobilenet_v1"].params == stem + blocks + dense == network.params()
    shapes = network.table.shapes()
    assert shapes["stem"] == (32, 32, 32)
    assert shapes["row8"] == (1024, 2, 2)
    assert {row.activation for row in network.table.rows} == {"relu"}


HEAVY = ("cifar_wrn_16_8", "cifar_wrn_16_10", "cifar_vgg16", "cifar_vgg19", "cifar_resnet34")  # as others, but larger
TRIED = [name for name in REFERENCES if name not in HEAVY]


@pytest.mark.parametrize("name", TRIED)
def test_a_published_checkpoint_loads_and_computes_the_reference(name, tmp_path):
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    state, logits, stages = reference(name, pictures)
    options = argparse.Namespace(model=name, learning_rate=0.05, lr_decay_epochs=[150, 180, 210], tb_folder="./save")
    torch.save({"opt": options, "model": state, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "last.pth")
    network = create_model(name, num_classes=CLASSES, pretrained=tmp_path / "last.pth").eval().double()
    assert network.filled.not_filled == ()
    assert network.filled.filled == network.params()
    assert network.origin["weights"] == str(tmp_path / "last.pth")
    with torch.no_grad():
        seen = network.observe(pictures.double(), [*network.stage_names, *network.further_stage_names()])
    assert set(seen.stages) == set(stages)
    for found, expected in [(seen.out, logits), *((seen.stages[key], stages[key]) for key in stages)]:
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()  # the normalisation is in float32


@pytest.mark.parametrize("as_zip", [True, False])
def test_every_published_form_of_a_checkpoint_is_read(as_zip, tmp_path):
    state, logits, _ = reference("cifar_resnet8", pictures := torch.rand(2, 3, 32, 32))
    wrapped = {f"module.{name}": value for name, value in state.items()}
    forms = [
        {"epoch": 240, "model": state, "best_acc": torch.tensor(72.3)},
        {"state_dict": collections.OrderedDict(wrapped)},
        wrapped,
        {"opt": argparse.Namespace(trial="0"), "model": collections.OrderedDict(state)},
    ]
    for form in forms:
        torch.save(form, tmp_path / "net.pth", _use_new_zipfile_serialization=as_zip)
        network = create_model("resnet8", num_classes=CLASSES, pretrained=str(tmp_path / "net.pth")).eval()
        assert torch.allclose(network(pictures).double(), logits, atol=1e-4, rtol=1e-4)


def test_other_classes_keep_everything_but_the_classifier(tmp_path):
    state, _, _ = reference("cifar_vgg8", torch.rand(1, 3, 32, 32))
    torch.save({"model": state}, tmp_path / "vgg8.pth")
    network = create_model("vgg8", num_classes=10, pretrained=tmp_path / "vgg8.pth")
    assert network.filled.not_filled == ("classifier.weight", "classifier.bias")
    assert torch.equal(network.block4[0].weight, state["block4.0.weight"])


class Tracker:
    def __init__(self) -> None:
        self.best = 72.0


class Trap:
    def __reduce__(self):
        return print, ("boom",)


@pytest.mark.parametrize("held", [Tracker(), Trap(), argparse.Namespace(hook=Tracker()), pathlib.PurePosixPath("save")])
def test_no_type_but_a_namespace_is_let_in(held, tmp_path, capsys):
    state, _, _ = reference("cifar_resnet8", torch.rand(1, 3, 32, 32))
    torch.save({"opt": held, "model": state}, tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"net\.pth: carries code") as caught:
        create_model("cifar_resnet8", num_classes=CLASSES, pretrained=tmp_path / "net.pth")
    assert "\n" not in str(caught.value)
    assert "boom" not in capsys.readouterr().out
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.parametrize(
    ("theirs", "ours", "says"),
    [
        ("cifar_resnet14", "cifar_resnet8", r"another network: 'layer1\.1\..*' is unexpected \(36 such\)"),
        ("cifar_resnet8", "cifar_resnet14", "do not fit"),
        ("cifar_resnet8x4", "cifar_resnet8", r"'layer1\.0\.downsample\.0\.weight' is unexpected"),
        ("cifar_resnet110", "cifar_resnet56", "another network"),
        ("cifar_wrn_40_2", "cifar_wrn_40_1", "another network"),
        ("cifar_vgg13", "cifar_vgg8", "another network"),
        ("cifar_vgg8", "cifar_resnet8", "another network"),
        ("cifar_wrn_16_1", "cifar_resnet14", "another network"),
        ("cifar_shufflenet_v2", "cifar_shufflenet_v1", "another network"),
    ],
)
def test_a_checkpoint_of_another_network_is_told_in_one_line(theirs, ours, says, tmp_path):
    state, _, _ = reference(theirs, torch.rand(1, 3, 16, 16))
    torch.save({"model": state}, tmp_path / "net.pth")
    with pytest.raises(InputError, match=says) as caught:
        create_model(ours, num_classes=CLASSES, pretrained=tmp_path / "net.pth")
    assert "\n" not in str(caught.value)
