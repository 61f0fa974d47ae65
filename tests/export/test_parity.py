from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from scipy.optimize import minimize_scalar

from limbeck.deployed import read_artifact
from limbeck.errors import InputError
from limbeck.export import check_int8, check_metric, check_tensors, run_pictures
from limbeck.export.paired import exact_mcnemar, paired_interval


def broken(artifact, path, *, by: float):
    """The file with its first kernel changed."""
    model = onnx.load(artifact.path)
    kernel = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) + np.float32(by), kernel.name))
    onnx.save(model, str(path))
    return read_artifact(path)


def test_a_right_file_passes_both_fp32_gates(exported, trained, pictures, labels, host, tools):
    expected = tools.say(trained, pictures, tools.TEMPERATURE)
    tensors = check_tensors(host, exported, pictures, expected)
    metric = check_metric(host, exported, run_pictures(host, exported, pictures), expected, labels)
    assert (tensors["passed"], tensors["kind"], tensors["pictures"]) == (True, "tensor", 300)
    assert 0 <= tensors["figure"] < 1e-5
    assert (metric["passed"], metric["kind"], metric["figure"]) == (True, "metric", 0.0)
    assert metric["value"] == metric["reference"] == pytest.approx((expected.argmax(1) == labels).mean())
    json.dumps([tensors, metric], allow_nan=False)
    assert tensors["artifact"] == exported.path
    assert tensors["device"] == "onnxruntime,threads=1"


def test_a_broken_file_fails(exported, trained, pictures, labels, host, tools, tmp_path):
    wrong = broken(exported, tmp_path / "broken.onnx", by=1.0)
    expected = tools.say(trained, pictures, tools.TEMPERATURE)
    tensors = check_tensors(host, wrong, pictures, expected)
    got = run_pictures(host, wrong, pictures)
    assert not tensors["passed"]
    assert "FAILED" in tensors["text"]
    assert not check_metric(host, wrong, got, expected, labels)["passed"]
    int8 = check_int8(host, wrong, got, expected, labels)
    assert not int8["passed"]
    assert int8["evidence"] == "shown beyond"
    assert int8["p_value"] < 0.001


def test_a_slightly_wrong_file_fails_on_tensors_alone(exported, trained, pictures, host, tools, tmp_path):
    wrong = broken(exported, tmp_path / "slightly.onnx", by=0.005)
    expected = tools.say(trained, pictures, tools.TEMPERATURE)
    record = check_tensors(host, wrong, pictures, expected)
    assert not record["passed"]
    assert record["figure"] > record["tolerance"]
    assert check_tensors(host, wrong, pictures, expected, tolerance=1.0)["passed"]


def test_values_that_are_not_finite_fail_and_stay_json(exported, trained, pictures, labels, host, tools, tmp_path):
    wrong = broken(exported, tmp_path / "nan.onnx", by=float("nan"))
    expected = tools.say(trained, pictures, tools.TEMPERATURE)
    got = run_pictures(host, wrong, pictures)
    records = [
        check_tensors(host, wrong, pictures, expected),
        check_metric(host, wrong, got, expected, labels),
        check_int8(host, wrong, got, expected, labels),
    ]
    assert [record["passed"] for record in records] == [False, False, False]
    json.dumps(records, allow_nan=False)


def test_a_good_int8_file_passes(exported, int8, pictures, labels, host):
    before, after = run_pictures(host, exported, pictures), run_pictures(host, int8, pictures)
    record = check_int8(host, int8, after, before, labels, max_drop=0.03)
    assert record["passed"], record["text"]
    assert record["precision"] == "int8"
    json.dumps(record, allow_nan=False)


def decided(right: list[int]) -> np.ndarray:
    """Probabilities of two classes whose decision is right (class 0) or wrong."""
    return np.array([[0.9, 0.1] if is_right else [0.1, 0.9] for is_right in right])


@pytest.mark.parametrize(
    ("lost", "won", "pictures", "passed", "evidence"),
    [
        (0, 0, 1000, True, "shown within"),
        (0, 0, 100, True, "undecided"),
        (3, 0, 300, True, "undecided"),  # exactly the tolerance
        (4, 0, 300, False, "undecided"),  # few pictures give no bonus
        (1, 0, 50, False, "undecided"),
        (20, 19, 1000, True, "undecided"),
        (0, 9, 300, True, "shown within"),
        (60, 10, 1000, False, "shown beyond"),
    ],
)
def test_the_int8_verdict_follows_the_paired_counts(exported, host, lost, won, pictures, passed, evidence):
    before = decided([1] * lost + [0] * won + [1] * (pictures - lost - won))
    after = decided([0] * lost + [1] * won + [1] * (pictures - lost - won))
    record = check_int8(host, exported, after, before, np.zeros(pictures, int), max_drop=0.01)
    assert (record["lost"], record["won"]) == (lost, won)
    assert (record["passed"], record["evidence"]) == (passed, evidence)
    assert record["figure"] == pytest.approx((lost - won) / pictures)


def test_only_ties_may_change_sides(exported, host):
    expected = np.array([[0.5004, 0.4996], [0.9, 0.1]])
    target = np.array([0, 0])
    tie = check_metric(host, exported, np.array([[0.4996, 0.5004], [0.9, 0.1]]), expected, target)
    assert (tie["passed"], tie["changed"], tie["undecided"]) == (True, 1, 1)
    change = check_metric(host, exported, np.array([[0.5004, 0.4996], [0.4, 0.6]]), expected, target)
    assert (change["passed"], change["figure"]) == (False, -0.5)


def test_gates_refuse_nothing_and_misfits(exported, trained, pictures, labels, host, tools):
    with pytest.raises(InputError, match="no pictures"):
        check_tensors(host, exported, pictures[:0], np.zeros((0, 4)))
    with pytest.raises(InputError, match="network gives"):
        check_tensors(host, exported, pictures[:4], np.zeros((4, 5)))
    with pytest.raises(InputError, match="different pictures"):
        check_int8(host, exported, np.zeros((4, 4)), np.zeros((5, 4)), labels[:4])
    with pytest.raises(InputError, match="no pictures"):
        check_int8(host, exported, np.zeros((0, 4)), np.zeros((0, 4)), labels[:0])


def test_the_exact_test_by_hand():
    assert exact_mcnemar(0, 0) == 1.0
    assert exact_mcnemar(3, 0) == pytest.approx(1 / 8)
    assert exact_mcnemar(3, 1) == pytest.approx((4 + 1) / 16)
    assert exact_mcnemar(0, 3) == 1.0


@pytest.mark.parametrize(("lost", "won", "samples"), [(12, 2, 44), (5, 0, 360), (0, 7, 100), (9, 9, 50)])
def test_the_interval_inverts_the_score_test(lost, won, samples):
    """At each bound the likelihood, maximised numerically under that drop, puts the observed drop 1.96 errors away."""

    def errors_away(delta: float) -> float:
        def cost(rate: float) -> float:
            parts = [(lost, rate + delta), (won, rate), (samples - lost - won, 1 - 2 * rate - delta)]
            return -sum(count * np.log(max(share, 1e-300)) for count, share in parts if count)

        best = minimize_scalar(
            cost, bounds=(max(0, -delta), (1 - delta) / 2), method="bounded", options={"xatol": 1e-12}
        )
        variance = samples * (2 * best.x + delta - delta**2)
        return (lost - won - samples * delta) / np.sqrt(variance)

    low, high = paired_interval(lost, won, samples)
    assert low < (lost - won) / samples < high
    assert errors_away(low) == pytest.approx(1.959964, rel=1e-3)
    assert errors_away(high) == pytest.approx(-1.959964, rel=1e-3)
    assert paired_interval(won, lost, samples) == pytest.approx((-high, -low))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    counts = generator.multinomial(400, [0.03, 0.01, 0.96], size=1000)
    covered = [low <= 0.02 <= high for low, high in (paired_interval(int(b), int(c), 400) for b, c, _ in counts)]
    assert 0.93 <= np.mean(covered) <= 0.975
