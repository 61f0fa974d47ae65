"""A file of points that takes the window of each crop, against what `deployed` works out of the crops' shares."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from limbeck.deployed import load
from limbeck.deployed.points import found_points
from limbeck.errors import InputError
from limbeck.export import append_window, export_onnx, quantize_onnx
from limbeck.pictures import window_affine

SIZE = (24, 20)
NAMES = ("a", "b", "c")


class Points(nn.Module):
    """Three points of a picture, by weights of no meaning."""

    num_classes, input_size = 6, SIZE

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, 6)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(pictures).mean((2, 3)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The graph of shares, the file that takes windows, the same in int8, and pictures."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("points")
    graph = export_onnx(Points(), folder / "graph.onnx", sample_size=SIZE, class_names=NAMES, gives="points")
    pictures = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), dtype=np.uint8)
    draft = quantize_onnx(graph, folder / "draft.onnx", [pictures])
    return (
        graph,
        append_window(graph, folder / "model.onnx"),
        draft,
        append_window(draft, folder / "model_int8.onnx"),
        pictures,
    )


def run(artifact, pictures, **further):
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    return session.run(["points"], {"pictures": pictures, **further})[0]


@pytest.mark.parametrize("form", [0, 2])
def test_points_lie_in_the_picture_that_the_window_was_cut_from(files, form):
    (graph, file), pictures = files[form : form + 2], files[-1]
    shares = run(graph, pictures)
    windows = np.array([[0, 0, 20, 24], [-7.5, 3, 30, 90], [100, 50, 140, 98], [4000, 3000, 4800, 3960]], np.float32)
    found = run(file, pictures, window=windows)
    affines = [window_affine(tuple(window), SIZE) for window in windows.tolist()]
    expected = found_points([*shares], affines, SIZE, {}, NAMES).points
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4)
    assert np.abs(found - shares).max() > 100


def test_one_window_is_that_of_all_and_without_one_points_are_shares(files):
    graph, file, *_, pictures = files
    shares = run(graph, pictures)
    assert np.array_equal(run(file, pictures), shares)
    assert np.array_equal(run(file, pictures[:1]), run(graph, pictures[:1]))
    found = run(file, pictures, window=np.array([[10, 20, 30, 60]], np.float32))
    np.testing.assert_allclose(found, shares * [20, 40] + [10, 20], rtol=1e-5)


def test_the_file_is_used_as_the_graph_was(files):
    graph, file, _, int8, pictures = files
    opened, plain = load(file.path), load(graph.path)
    assert (opened.task, opened.class_names, opened.input_size) == ("landmarks", NAMES, SIZE)
    boxes = [[0, 0, 20, 24]] * 4
    np.testing.assert_array_equal(
        opened.predict(pictures, boxes=boxes).points, plain.predict(pictures, boxes=boxes).points
    )
    assert load(int8.path).artifact.precision == int8.precision == "int8"
    model = onnx.load(file.path)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["pictures", "window"]


def test_a_file_of_something_else_is_refused(files, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 20, 3))
    classes = export_onnx(network, tmp_path / "classes.onnx", sample_size=SIZE)
    with pytest.raises(InputError, match=r"classes.onnx: gives .*; expected points, \[N, L, 2\]"):
        append_window(classes, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"model.onnx: takes a window already"):
        append_window(files[1], tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
