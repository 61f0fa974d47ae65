"""Networks of points: the published counts, any table and library network, where they start, saving."""

from dataclasses import replace

import pytest
import torch

from limbeck.errors import InputError
from limbeck.models import build, create_model, load_network, save_network
from limbeck.models.landmarks import create_landmarker, start_at
from limbeck.models.table import Head, Row, Table

ROWS = (Row("inverted", 16, stride=2, expansion=3),)
SMALL = Table("small", Row("conv", 8, stride=2), ROWS, Head(conv_channels=32), num_classes=10, input_size=(32, 32))


@pytest.mark.parametrize(
    ("name", "dropout", "params", "gmacs"),
    [
        ("mobilenet_v2", 0.0, {68: 2_398_088, 29: 2_298_170, 98: 2_474_948}, 0.300),
        ("timm:efficientnet_b0", 0.5, {68: 4_181_764}, 0.385),
        ("timm:efficientnet_b3", 0.5, {68: 10_905_264}, 0.961),
    ],
)
def test_the_published_counts(name, dropout, params, gmacs):
    for points, count in params.items():
        network = create_landmarker(name, points, dropout=dropout, input_size=224)
        assert network.params() == count
    assert network.macs() / 1e9 == pytest.approx(gmacs, abs=0.006)


def test_a_network_starts_in_the_middle_or_at_a_mean_shape():
    torch.manual_seed(0)
    network = create_landmarker(SMALL, 5).eval()
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
        shape = torch.rand(5, 2)
        start_at(network, shape)
        network.classifier.weight.zero_()
        torch.testing.assert_close(network(torch.rand(2, 3, 32, 32)), shape.flatten().expand(2, 10))
        start_at(network)
        torch.testing.assert_close(network(torch.rand(1, 3, 48, 48)), torch.full((1, 10), 0.5))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "timm:mobilenetv3_small_050", "torchvision:mobilenet_v3_small"])
def test_any_network_with_a_dense_end(name):
    network = create_landmarker(name, 7, mean_shape=[[0.25, 0.75]] * 7, input_size=64)
    dense = [part for part in network.modules() if isinstance(part, torch.nn.Linear)][-1]
    assert dense.bias.tolist() == [0.25, 0.75] * 7
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 14)


def test_a_saved_network_is_the_same(tmp_path):
    network = create_landmarker(SMALL, 5, dropout=0.25).eval()
    save_network(network, tmp_path)
    again = load_network(tmp_path).eval()
    pictures = torch.rand(2, 3, 32, 32)
    assert torch.equal(network(pictures), again(pictures))
    assert again.table.dropout == 0.25


def test_bad_input_is_told():
    with pytest.raises(InputError, match="points must be a whole number of at least 1, got 0"):
        create_landmarker(SMALL, 0)
    with pytest.raises(InputError, match="must be 5 known points, got 4"):
        create_landmarker(SMALL, 5, mean_shape=torch.rand(4, 2))
    with pytest.raises(InputError, match="known points"):
        create_landmarker(SMALL, 1, mean_shape=[[0.5, float("nan")]])
    with pytest.raises(InputError, match="drop input_size"):
        create_landmarker(SMALL, 5, input_size=32)
    with pytest.raises(InputError, match="ends in a dense layer of x and y"):
        start_at(create_model("lraspp_mobilenet_v3_small", num_classes=2, input_size=(64, 64)))
    with pytest.raises(InputError, match="ends in a dense layer of x and y"):
        start_at(build(replace(SMALL, num_classes=3)))
