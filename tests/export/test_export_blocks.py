from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from limbeck.export import export_onnx, quantize_onnx
from limbeck.export.graph import tidy
from limbeck.models import Head, Row, Table, build

torch.set_num_threads(1)


def run(model: str | bytes, pictures: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: pictures})[0]


def test_universal_and_fused_blocks_with_same_padding_agree_and_become_int8(tmp_path):
    torch.manual_seed(0)
    rows = (
        Row("fused", 16, stride=2, expansion=2.0),
        Row("inverted", 24, stride=2, kernel_size=0, start_kernel_size=5, expansion=2.0),
        Row("inverted", 24, kernel_size=7, start_kernel_size=3, expansion=9.0, se_ratio=0.25, skip="pool"),
    )
    head = Head(conv_channels=32, feature_channels=48, feature_bias=False, feature_norm=True)
    table = Table("new", Row("conv", 8, stride=2), rows, head, num_classes=5, input_size=(45, 40), padding="same")
    network = build(table).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    artifact = export_onnx(network, tmp_path / "model.onnx", sample_size=(45, 40), preprocess="float32")
    pictures = np.random.default_rng(1).random((8, 3, 45, 40), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(pictures)).softmax(1).numpy()
    assert expected.std() > 1e-2
    np.testing.assert_allclose(run(artifact.path, pictures), expected, atol=1e-5)
    assert "Pad" not in {node.op_type for node in onnx.load(artifact.path).graph.node}
    small = quantize_onnx(artifact, tmp_path / "int8.onnx", [pictures])
    assert np.abs(run(small.path, pictures) - expected).max() < 0.1
    assert small.size_bytes < artifact.size_bytes


def padded_convolution(pads: list[int], value: float = 0.0, axes: list[int] | None = None) -> onnx.ModelProto:
    """A `Pad` and a convolution with a padding of its own."""
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=np.float32)
    kept = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array(pads), "pads"),
        numpy_helper.from_array(np.float32(value), "value"),
        *([numpy_helper.from_array(np.array(axes), "axes")] if axes else []),
    ]
    nodes = [
        helper.make_node("Pad", ["x", "pads", "value", *(["axes"] if axes else [])], ["padded"]),
        helper.make_node("Conv", ["padded", "weights"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 0, 1]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    graph = helper.make_graph(nodes, "padded", [ends[0]], [ends[1]], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(
    ("pads", "value", "axes", "folds"),
    [
        ([0, 0, 0, 1, 0, 0, 2, 1], 0.0, None, True),
        ([2, 0, 1, 3], 0.0, [-1, 2], True),
        ([0, 0, 0, 1, 0, 0, 2, 1], 0.5, None, False),
        ([0, 0, 0, -1, 0, 0, 2, 1], 0.0, None, False),
        ([0, 1, 0, 0, 0, -1, 0, 0], 0.0, None, False),
        ([1, 0], 0.0, [0], False),
    ],
)
def test_zeros_before_a_convolution_become_its_padding_and_nothing_else_does(pads, value, axes, folds):
    model = padded_convolution(pads, value, axes)
    pictures = np.random.default_rng(1).random((2, 3, 9, 8), dtype=np.float32)
    before = run(model.SerializeToString(), pictures)
    tidy(model)
    assert ([node.op_type for node in model.graph.node] == ["Conv"]) is folds
    np.testing.assert_allclose(run(model.SerializeToString(), pictures), before, atol=1e-6)
