"""A network's own classifier at every position of its last map: against the network itself, position by position."""

import pytest
import torch
from torch import nn

from limbeck.errors import InputError
from limbeck.models import create_model, tap
from limbeck.models.dense import DenseClassifier


class ChannelsLast(nn.Module):
    """A map of [N, H, W, C], as some transformers have it."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm, self.head = nn.Conv2d(3, 7, 2, 2), nn.LayerNorm(7), nn.Linear(7, 4)

    def forward(self, inputs):
        return self.head(self.norm(self.patches(inputs).permute(0, 2, 3, 1)).mean((1, 2)))


class WithFeatureLayers(nn.Module):
    """Layers after the pooling, with statistics and dropout."""

    def __init__(self, pooled=lambda x: x.mean((2, 3))):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.tail = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Hardswish(), nn.Dropout(0.5), nn.Linear(8, 4))
        self.pooled = pooled

    def forward(self, inputs):
        return self.tail(self.pooled(self.body(inputs)))


def small(name):
    return create_model(name, num_classes=4, width_multiplier=0.25, input_size=32, small_images=True)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def look(network, inputs):
    dense = DenseClassifier(network, inputs)
    if dense.stages:
        outputs = network.observe(inputs, dense.stages)
        return dense, outputs.out, outputs.stages[dense.place]
    with tap(network, dense.parts) as seen:
        out = network(inputs)
    return dense, out, seen[dense.place]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenet_v1", 32),
        ("mobilenet_v2", 32),
        ("cifar_resnet8", 16),
        ("cifar_wrn_16_1", 16),
        ("timm:resnet10t", 64),
        ("timm:mobilenetv2_035", 64),
        ("torchvision:squeezenet1_1", 64),
    ],
)
def test_the_mean_over_the_positions_is_the_networks_own_output(name, size):
    network = small(name) if name.startswith("mobilenet") else create_model(name, num_classes=4, input_size=size)
    inputs = torch.rand(2, 3, size, size)
    network.eval()
    with torch.no_grad():
        dense, out, feature = look(network, inputs)
        assert bool(dense.layers) != name.endswith(
            "squeezenet1_1"
        )  # which averages logits: nothing comes after its map
        given = dense(network, feature)
        assert given.shape == (2, 4, *feature.shape[2:])
        assert feature[0, 0].numel() > 1
        assert torch.allclose(given.mean((2, 3)), out, atol=1e-5)


@pytest.mark.parametrize("make", [lambda: small("mobilenet_v3_small"), WithFeatureLayers, ChannelsLast])
def test_each_position_is_said_what_a_map_of_that_position_alone_would_be(make):
    network = make()
    inputs = torch.rand(2, 3, *getattr(network, "input_size", (8, 8)))
    for _ in range(3):
        network(inputs)  # statistics that are not the initial ones
    network.eval()
    dense, _, feature = look(network, inputs)
    given = dense(network, feature)
    axes, place = dense.positions, "head.conv" if dense.place == "head" else dense.place

    def stand_in(value):  # every position of the map replaced by one of them
        return network.get_submodule(place).register_forward_hook(lambda *_: value.expand_as(feature))

    for row, column in ((0, 0), (1, 0), (feature.shape[axes[0]] - 1, feature.shape[axes[1]] - 1)):
        one = feature.narrow(axes[0], row, 1).narrow(axes[1], column, 1)
        handle = stand_in(one)
        with torch.no_grad():
            assert torch.allclose(given[:, :, row, column], network(inputs), atol=1e-5)
        handle.remove()


def test_it_leaves_no_trace_and_behaves_as_in_evaluation():
    network = WithFeatureLayers().train()
    network.body[1].eval()
    inputs = torch.rand(4, 3, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    feature = torch.rand(4, 6, 3, 3, requires_grad=True)
    state, modes = torch.get_rng_state(), [module.training for module in network.modules()]
    dense = DenseClassifier(network, inputs)
    assert torch.equal(dense(network, feature), dense(network, feature))  # no dropout
    dense(network, feature).sum().backward()
    assert feature.grad.abs().sum() > 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert modes == [module.training for module in network.modules()]
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    "network",
    [
        WithFeatureLayers(lambda x: x.amax((2, 3))),
        WithFeatureLayers(lambda x: x.relu().mean((2, 3)).square()),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 4)),
        nn.Sequential(nn.Flatten(), nn.Linear(192, 4)),
        nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten(), nn.Linear(4, 4)),
    ],
)
def test_networks_of_another_kind_are_refused(network):
    with pytest.raises(InputError, match="do not come from the mean of its last feature map"):
        DenseClassifier(network, torch.rand(4, 3, 8, 8))
