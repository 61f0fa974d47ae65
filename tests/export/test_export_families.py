from __future__ import annotations

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from limbeck.export import export_probe
from limbeck.models import MODELS, create_model

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("name", "padding"),
    [*((name, "symmetric") for name in MODELS), ("mobilenet_v2", "same"), ("mobilenet_v4_conv_small", "same")],
)
def test_every_family_exports_and_agrees(name, padding, tmp_path):
    torch.manual_seed(0)
    network = create_model(name, num_classes=5, input_size=(45, 40), width_multiplier=0.25, padding=padding).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):  # a norm left out must show
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.8, 1.3)
    artifact = export_probe(network, tmp_path / "probe.onnx", sample_size=(45, 40), preprocess="float32")
    pictures = np.random.default_rng(0).random((3, 3, 45, 40), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(pictures)).softmax(1).numpy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pictures})[0]
    assert expected.std() > 1e-4
    assert np.abs(found - expected).max() < 2e-3 * expected.std()
    left = collections.Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    # norms are folded into what precedes them, also that of dense features; padding is the convolutions' own
    assert not left.keys() & {"BatchNormalization", "ReduceMean", "Pad"}
