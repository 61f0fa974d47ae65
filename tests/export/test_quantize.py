from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from limbeck.deployed import METADATA_KEY, read_artifact
from limbeck.errors import InputError
from limbeck.export import export_onnx, float_nodes, quantize_onnx


def test_int8_is_smaller_and_nearly_as_right(exported, int8, pictures, labels, host):
    assert int8.size_bytes < 0.75 * exported.size_bytes  # a tiny net: the graph itself is half the file
    before, after = host.run(exported, pictures), host.run(int8, pictures)
    assert (before.argmax(1) == labels).mean() > 0.6
    assert abs((before.argmax(1) == labels).mean() - (after.argmax(1) == labels).mean()) < 0.03
    assert 0 < np.abs(before - after).max() < 0.2  # it really is another arithmetic


def test_weights_are_signed_per_channel_and_activations_unsigned(int8):
    graph = onnx.load(int8.path).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kernels = [node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in tensors]
    kernels = [node for node in kernels if tensors[node.input[0]].data_type == onnx.TensorProto.INT8]
    assert {tuple(tensors[node.input[1]].dims) for node in kernels} >= {(16,), (32,)}
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            assert tensors[node.input[2]].data_type == onnx.TensorProto.UINT8


def test_the_facts_are_carried_over(exported, int8):
    def facts(path: str) -> dict:
        return json.loads({e.key: e.value for e in onnx.load(path).metadata_props}[METADATA_KEY])

    expected = {**facts(exported.path), "precision": "int8", "calibration": {"method": "minmax", "pictures": 128}}
    assert facts(int8.path) == expected
    assert read_artifact(int8.path) == int8
    assert int8.precision == "int8"


def test_what_stays_float_is_told(exported, int8):
    left = float_nodes(int8.path)
    assert {"Cast", "Sub", "Softmax"} <= set(left)  # bytes to pictures, logits to probabilities
    assert "Conv" not in left
    assert "Gemm" not in left
    assert float_nodes(exported.path)["Conv"] == 2


def test_a_percentile_keeps_a_rare_large_value_from_taking_the_range(trained, pictures, host, tools, tmp_path, capfd):
    exported = export_onnx(trained, tmp_path / "model.onnx", sample_size=tools.SIZE, preprocess="float32")
    batch = (tools.coloured_noise(256, seed=9)[0].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    batch[0, :, :3, :3] = 60.0
    judged = (pictures.transpose(0, 3, 1, 2) / 255).astype(np.float32)
    expected = host.run(exported, judged)
    errors = {}
    for method in ("minmax", "percentile"):
        other = quantize_onnx(exported, tmp_path / f"{method}.onnx", [batch], method=method, percentile=99.0)
        errors[method] = np.abs(host.run(other, judged) - expected).mean()
    assert errors["percentile"] < 0.5 * errors["minmax"]
    assert capfd.readouterr().out == ""  # the runtime's quantiser prints


def test_bad_calibration_is_told_and_leaves_nothing(exported, int8, pictures, tmp_path):
    path = tmp_path / "never.onnx"
    for batches, words in (
        ([], "no calibration pictures"),
        ([pictures[:4].astype(np.float32)], "float32"),
        ([pictures[:4, :10]], "calibration pictures are"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            quantize_onnx(exported, path, batches)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="int8 already"):
        quantize_onnx(int8, path, [pictures[:4]])
    with pytest.raises(InputError, match="expected minmax, percentile"):
        quantize_onnx(exported, path, [pictures[:4]], method="percentil")
    with pytest.raises(InputError, match="at most 100"):
        quantize_onnx(exported, path, [pictures[:4]], method="percentile", percentile=0.999)
    assert not list(tmp_path.iterdir())
