from __future__ import annotations

import collections
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from limbeck.deployed import METADATA_KEY, read_artifact
from limbeck.errors import InputError, LimbeckError
from limbeck.export import export_onnx, export_probe
from limbeck.models import create_model


def facts_of(path: str) -> dict:
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return json.loads(entries[METADATA_KEY])


def operators(path: str, folder) -> dict[str, int]:
    """Operator counts of the graph as ONNX Runtime optimises it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(str(folder / "optimised.onnx")).graph
    return dict(collections.Counter(node.op_type for node in graph.node))


def test_the_file_says_what_the_network_says(exported, trained, pictures, host, tools):
    expected = tools.say(trained, pictures, tools.TEMPERATURE)
    assert np.abs(host.run(exported, pictures) - expected).max() < 1e-5
    # and the temperature is in the graph: without it the figures are far off
    assert np.abs(host.run(exported, pictures) - tools.say(trained, pictures)).max() > 0.05


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_any_batch_size_goes_through(exported, pictures, host, batch):
    together = host.run(exported, pictures[:14])
    alone = np.concatenate([host.run(exported, pictures[i : i + batch]) for i in range(0, 14, batch)])
    assert np.abs(together - alone).max() < 1e-6


def test_the_record_describes_the_file(exported, tools):
    assert exported == read_artifact(exported.path)
    assert exported.input_shape == (*tools.SIZE, 3)
    assert (exported.input_dtype, exported.precision, exported.format) == ("uint8", "fp32", "onnx")


def test_the_file_carries_its_facts(exported, tools):
    facts = facts_of(exported.path)
    assert facts["schema"] == 1
    assert tuple(facts["class_names"]) == tools.NAMES
    assert tuple(facts["input_size"]) == tools.SIZE
    assert facts["mean"] == [0.4, 0.5, 0.6]
    assert facts["std"] == [0.2, 0.25, 0.3]
    assert facts["temperature"] == tools.TEMPERATURE
    assert facts["fit"] == "pad"
    assert facts["weights"] == {"source": "test", "weights": "trained on coloured noise", "licence": "CC0-1.0"}
    assert facts["task"] == "classification"
    assert facts["data"] == "coloured noise"
    assert facts["architecture"]["kind"] == "tiny"
    assert facts["limbeck"]


def test_the_weights_lie_inside_and_nothing_of_this_machine_does(exported, tmp_path):
    content = Path(exported.path).read_bytes()
    assert b".py" not in content  # the dynamo exporter writes the source lines of every node
    copy = tmp_path / "alone.onnx"
    copy.write_bytes(content)
    onnxruntime.InferenceSession(str(copy), providers=["CPUExecutionProvider"])
    onnx.checker.check_model(onnx.load(str(copy)), full_check=True)


def test_float_pictures_and_pictures_of_another_size(trained, tools, tmp_path, host):
    size = (30, 26)  # the network resizes these itself, in the graph
    artifact = export_onnx(trained, tmp_path / "float.onnx", sample_size=size, preprocess="float32")
    assert (artifact.input_shape, artifact.input_dtype) == ((3, *size), "float32")
    inputs = np.random.default_rng(0).random((3, 3, *size), dtype=np.float32)
    with torch.no_grad():
        expected = torch.softmax(trained(torch.from_numpy(inputs)), dim=1).numpy()
    assert np.abs(host.run(artifact, inputs) - expected).max() < 1e-5


def test_exporting_leaves_the_network_as_it_was(tools, tmp_path, pictures, host):
    network = tools.TinyNetwork().to(torch.float64).to(memory_format=torch.channels_last).train()
    network.body[1].eval()  # a frozen norm stays frozen
    before = {name: value.clone() for name, value in network.state_dict().items()}
    artifact = export_probe(network, tmp_path / "probe.onnx", sample_size=tools.SIZE)
    assert network.training
    assert network.dropout.training
    assert not network.body[1].training
    assert network.head.weight.dtype == torch.float64
    assert network.body[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    # dropout is off in the file
    assert (host.run(artifact, pictures[:4]) == host.run(artifact, pictures[:4])).all()
    network.float()
    assert np.abs(host.run(artifact, pictures[:4]) - tools.say(network, pictures[:4])).max() < 1e-5


def test_exporting_is_silent(tools, tmp_path, capfd):
    export_onnx(tools.TinyNetwork(), tmp_path / "model.onnx", sample_size=tools.SIZE)
    export_probe(tools.TinyNetwork(), tmp_path / "probe.onnx", sample_size=tools.SIZE)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v2"])
def test_the_probe_costs_what_the_deliverable_costs(name, tmp_path):
    """Both exporters must give the runtime the same operators, or candidates are timed for what they are not."""
    torch.set_num_threads(1)
    network = create_model(name, num_classes=10, input_size=64, width_multiplier=0.5)
    deliverable = export_onnx(network, tmp_path / "model.onnx", sample_size=(64, 64))
    probe = export_probe(network, tmp_path / "probe.onnx", sample_size=(64, 64))
    counts = operators(deliverable.path, tmp_path)
    assert operators(probe.path, tmp_path) == counts
    assert counts["Conv"] >= 50
    assert "BatchNormalization" not in counts
    assert "Gather" not in counts  # what a trace with channels-last strides pools by
    assert "ReduceMean" not in counts


def test_our_networks_keep_their_answers(tmp_path, host):
    torch.manual_seed(0)
    network = create_model("mobilenet_v3_small", num_classes=10, input_size=32).eval()
    pictures = np.random.default_rng(0).integers(0, 256, size=(5, 32, 32, 3), dtype=np.uint8)
    artifact = export_probe(network, tmp_path / "probe.onnx", sample_size=(32, 32))
    with torch.no_grad():
        expected = torch.softmax(network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255), 1).numpy()
    assert np.abs(host.run(artifact, pictures) - expected).max() < 1e-5
    facts = facts_of(artifact.path)
    assert facts["architecture"]["table"] == "mobilenet_v3_small"
    assert facts["weights"]["licence"] == "Apache-2.0"


class Unexportable(nn.Module):
    num_classes = 2

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(inputs.mean(1)).real[:, :2]


def test_what_cannot_be_exported_is_named_in_one_line(tmp_path):
    for export in (export_onnx, export_probe):
        with pytest.raises(LimbeckError, match="Unexportable") as caught:
            export(Unexportable(), tmp_path / "never.onnx", sample_size=(8, 8))
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.iterdir())


def test_facts_that_do_not_fit_are_refused_before_any_work(trained, tools, tmp_path):
    for options, words in (
        ({"class_names": ["one"]}, "1 class names"),
        ({"temperature": 0.0}, "positive"),
        ({"temperature": float("nan")}, "positive"),
        ({"metadata": {"x": object()}}, "plain JSON"),
        ({"preprocess": "int16"}, "uint8 or float32"),
    ):
        with pytest.raises(InputError, match=words):
            export_onnx(trained, tmp_path / "never.onnx", sample_size=tools.SIZE, **options)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_told(tools, tmp_path):
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        export_probe(tools.TinyNetwork(), tmp_path / "model.onnx", sample_size=tools.SIZE)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
