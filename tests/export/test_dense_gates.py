"""Gates gathered batch by batch, the bootstrap over pictures, and class maps in the graph."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from limbeck.errors import InputError
from limbeck.export import (
    Agreement,
    append_argmax,
    check_drop,
    decision_gate,
    export_onnx,
    figure_gate,
    paired_bootstrap,
    tensor_gate,
)
from limbeck.models import create_model
from limbeck.types import Artifact

ARTIFACT = Artifact("model.onnx", "onnx", "fp32", (4, 4, 3), "uint8", 1)
HOST = SimpleNamespace(describe=lambda: SimpleNamespace(target="onnxruntime"))


def maps(seed: int, pictures: int = 6) -> np.ndarray:
    raw = np.random.default_rng(seed).random((pictures, 3, 4, 5))
    return raw / raw.sum(1, keepdims=True)


def test_batches_add_up_to_the_whole():
    found, expected = maps(0), maps(1)
    whole, parts = Agreement(0.05), Agreement(0.05)
    whole.add(ARTIFACT, found, expected)
    for start in range(0, 6, 4):
        parts.add(ARTIFACT, found[start : start + 4], expected[start : start + 4])
    assert whole == parts
    assert whole.worst == np.abs(found - expected).max()
    changed = found.argmax(1) != expected.argmax(1)
    ordered = np.sort(expected, axis=1)
    ties = changed & (ordered[:, -1] - ordered[:, -2] <= 0.1)
    assert (whole.decisions, whole.changed, whole.undecided) == (120, changed.sum(), ties.sum())
    assert 0 < whole.undecided < whole.changed


def test_a_pixel_may_change_only_where_the_network_was_undecided():
    expected = np.zeros((1, 2, 1, 2))
    expected[0, :, 0] = [[0.5005, 0.9], [0.4995, 0.1]]
    tie, change = expected.copy(), expected.copy()
    tie[0, :, 0, 0] = [0.4998, 0.5002]
    change[0, :, 0, 1] = [0.4, 0.6]
    for found, passed in ((tie, True), (change, False)):
        agreement = Agreement(1e-3)
        agreement.add(ARTIFACT, found, expected)
        gate = decision_gate(HOST, ARTIFACT, agreement, name="mIoU", value=0.5, reference=0.6)
        assert (gate["passed"], gate["changed"]) == (passed, 1)
        assert "mIoU 0.5000 for 0.6000, 1 of 2 decisions changed" in gate["text"]
        json.dumps(gate, allow_nan=False)


def test_values_that_are_not_finite_fail_both_gates():
    expected = maps(2)
    found = expected.copy()
    found[0, 0, 0, 0] = np.nan
    agreement = Agreement(1.0)
    agreement.add(ARTIFACT, found, expected)
    assert not tensor_gate(HOST, ARTIFACT, agreement)["passed"]
    assert tensor_gate(HOST, ARTIFACT, agreement)["figure"] is None
    assert not decision_gate(HOST, ARTIFACT, agreement, name="mIoU", value=1, reference=1)["passed"]
    with pytest.raises(InputError, match=r"gives \[6, 3, 4, 5\] where the network gives \[6, 3, 4, 4\]"):
        agreement.add(ARTIFACT, found, expected[..., :4])


@pytest.mark.parametrize(("value", "passed"), [(0.501, True), (0.497, False), (0.503, False), (float("nan"), False)])
def test_a_figure_may_move_by_its_tolerance_either_way(value, passed):
    gate = figure_gate(HOST, ARTIFACT, name="mAP", value=value, reference=0.5, tolerance=0.002, pictures=9)
    assert gate["passed"] is passed


def test_the_bootstrap_of_a_mean_has_the_interval_of_the_mean():
    """Of a mean of differences the interval is known: mean +- 1.96 standard errors."""
    draw = np.random.default_rng(0)
    first, second = draw.normal(0.52, 0.2, 400), draw.normal(0.5, 0.2, 400)
    found = paired_bootstrap(
        lambda counts: counts @ first / counts.sum(), lambda counts: counts @ second / counts.sum(), 400, draws=4000
    )
    gap = first - second
    error = gap.std() / np.sqrt(400)
    assert found["difference"] == pytest.approx(gap.mean())
    assert found["low"] == pytest.approx(gap.mean() - 1.96 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(gap.mean() + 1.96 * error, abs=0.1 * error)
    again = paired_bootstrap(lambda c: c @ first / 400, lambda c: c @ second / 400, 400, draws=4000)
    assert again == pytest.approx(found)


def test_the_bootstrap_pairs_and_says_when_it_cannot_tell():
    values = np.random.default_rng(1).random(50)
    same = paired_bootstrap(lambda counts: counts @ values, lambda counts: counts @ values, 50)
    assert (same["difference"], same["low"], same["high"], same["p_value"]) == (0, 0, 0, 1)
    better = paired_bootstrap(lambda counts: counts @ (values + 0.1) / 50, lambda counts: counts @ values / 50, 50)
    assert better["low"] == pytest.approx(0.1)
    assert better["p_value"] == pytest.approx(2 / 1001)
    nothing = paired_bootstrap(lambda counts: float("nan"), lambda counts: 0.0, 5)
    assert (nothing["low"], nothing["p_value"]) == (None, None)


@pytest.mark.parametrize(
    ("paired", "evidence", "passed"),
    [
        ({"low": -0.005, "high": 0.002, "p_value": 0.4, "n": 9}, "shown within", True),
        ({"low": -0.03, "high": 0.02, "p_value": 0.4, "n": 9}, "undecided", True),
        ({"low": -0.09, "high": -0.02, "p_value": 0.01, "n": 9}, "shown beyond", False),
        ({"low": None, "high": None, "p_value": None, "n": 9}, "undecided", True),
    ],
)
def test_a_drop_is_judged_as_a_loss_of_accuracy_is(paired, evidence, passed):
    drop = 0.05 if not passed else 0.003
    gate = check_drop(
        HOST, ARTIFACT, name="mIoU", value=0.6 - drop, reference=0.6, paired={"difference": -drop, **paired}
    )
    assert (gate["evidence"], gate["passed"]) == (evidence, passed)
    assert gate["figure"] == pytest.approx(drop)
    json.dumps(gate, allow_nan=False)


def test_a_rise_is_the_loss_of_a_figure_that_should_be_low():
    paired = {"difference": 0.004, "low": 0.001, "high": 0.009, "p_value": 0.02, "n": 9}
    given = {"name": "NME", "value": 0.054, "reference": 0.05, "paired": paired, "higher_is_better": False}
    gate = check_drop(HOST, ARTIFACT, **given, max_drop=0.01)
    assert (gate["evidence"], gate["passed"], gate["interval"]) == ("shown within", True, [0.001, 0.009])
    assert gate["figure"] == pytest.approx(0.004)
    assert "rise +0.0040" in gate["text"]
    assert not check_drop(HOST, ARTIFACT, **given, max_drop=0.002)["passed"]


def scores_file(path, classes: int, *, softmax: bool = True) -> Artifact:
    """A graph that gives the softmax of what it is given, or that itself."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", classes, 4, 5]) for n in ("given", "said")]
    operator = "Softmax" if softmax else "Identity"
    options = {"axis": 1} if softmax else {}
    graph = helper.make_graph([helper.make_node(operator, ["given"], ["said"], **options)], "plain", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    return Artifact(str(path), "onnx", "fp32", (classes, 4, 5), "float32", path.stat().st_size)


@pytest.mark.parametrize("softmax", [True, False])
def test_classes_are_those_of_the_largest_scores(tmp_path, softmax):
    graph = scores_file(tmp_path / "scores.onnx", 3, softmax=softmax)
    artifact = append_argmax(graph, tmp_path / "classes.onnx")
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    given = np.random.default_rng(0).normal(size=(7, 3, 4, 5)).astype(np.float32)
    (found,) = session.run(["classes"], {"given": given})
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, given.argmax(1))
    kinds = [node.op_type for node in onnx.load(artifact.path).graph.node]
    assert kinds == (["ArgMax", "Cast"] if softmax else ["Identity", "ArgMax", "Cast"])
    assert artifact.size_bytes == (tmp_path / "classes.onnx").stat().st_size


def test_more_classes_than_bytes_are_refused(tmp_path):
    with pytest.raises(InputError, match="256 classes do not fit bytes"):
        append_argmax(scores_file(tmp_path / "scores.onnx", 256), tmp_path / "classes.onnx")


def test_a_segmenter_s_file_says_what_the_network_says(tmp_path):
    """By the exporter of deliverables, at a size that is not the network's own, with the temperature inside."""
    torch.manual_seed(0)
    network = create_model(
        "lraspp_mobilenet_v3_small", num_classes=3, width_multiplier=0.35, input_size=(32, 64)
    ).eval()
    artifact = export_onnx(network, tmp_path / "model.onnx", sample_size=(40, 56), temperature=2.0)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"pictures": pictures})
    with torch.no_grad():
        expected = (network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255) / 2.0).softmax(1).numpy()
    assert found.shape == (3, 3, 40, 56)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["limbeck"])["task"] == "segmentation"
    # ONNX Runtime's own operator over the classes of maps takes most of such a graph's time
    assert "Softmax" not in {node.op_type for node in onnx.load(artifact.path).graph.node}
