from __future__ import annotations

import json

import numpy as np
import pytest

from limbeck import calibrate
from limbeck.errors import InputError

CONFIDENCE = np.array([0.95, 0.91, 0.88, 0.73, 0.71, 0.64, 0.55, 0.52, 0.41, 0.33, 0.99, 0.605])
CORRECT = np.array([1, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0])


def published() -> tuple[np.ndarray, np.ndarray]:
    """Twelve samples of four classes: class 0 gets the confidence, the other three share the rest."""
    rest = (1 - CONFIDENCE) / 3
    return np.stack([CONFIDENCE, rest, rest, rest], axis=1), np.where(CORRECT == 1, 0, 1)


def test_the_checked_vector_is_met():
    probabilities, target = published()
    assert calibrate.expected_calibration_error(probabilities, target, bins=10) == pytest.approx(0.23875, abs=1e-12)
    assert calibrate.expected_calibration_error(probabilities, target, bins=15) == pytest.approx(0.29875, abs=1e-12)
    assert calibrate.maximum_calibration_error(probabilities, target, bins=10) == pytest.approx(0.88, abs=1e-12)
    assert calibrate.maximum_calibration_error(probabilities, target) == pytest.approx(0.67, abs=1e-12)
    assert calibrate.negative_log_likelihood(probabilities, target) == pytest.approx(1.13873521244, abs=1e-11)
    assert calibrate.brier_score(probabilities, target) == pytest.approx(0.605291666667, abs=1e-12)


def test_the_reliability_record_shows_every_bin_and_is_json():
    record = calibrate.reliability(*published())
    filled = [(i, b["count"], b["accuracy"], b["confidence"]) for i, b in enumerate(record["bins"]) if b["count"]]
    expected = [
        (4, 1, 1.0, 0.33),
        (6, 1, 0.0, 0.41),
        (7, 1, 0.0, 0.52),
        (8, 1, 1.0, 0.55),
        (9, 2, 0.5, 0.6225),
        (10, 2, 0.5, 0.72),
        (13, 2, 0.5, 0.895),
        (14, 2, 1.0, 0.97),
    ]
    assert len(record["bins"]) == 15
    for got, wanted in zip(filled, expected, strict=True):
        assert got == pytest.approx(wanted)
    assert record["ece"] == pytest.approx(0.29875)
    assert record["mce"] == pytest.approx(0.67)
    assert record["bins"][0] == pytest.approx(
        {"low": 0, "high": 1 / 15, "count": 0, "confidence": None, "accuracy": None}
    )
    json.dumps(record, allow_nan=False)


def test_bins_are_open_below_and_closed_above():
    record = calibrate.reliability([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]], [0, 1, 0], bins=2)
    assert [b["count"] for b in record["bins"]] == [2, 1]


def test_equal_mass_bins_hold_equal_counts_and_agree_with_a_hand_value():
    # confidences 0.6 0.7 | 0.8 0.9, right: 1 0 | 1 1 -> gaps |0.5-0.65| and |1-0.85|, both 0.15
    probabilities = [[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]]
    value = calibrate.expected_calibration_error(probabilities, [0, 1, 0, 0], bins=2, scheme="equal_mass")
    assert value == pytest.approx(0.15)
    # one bin holds everything in both schemes
    one = [
        calibrate.expected_calibration_error(probabilities, [0, 1, 0, 0], bins=1, scheme=scheme)
        for scheme in ("equal_width", "equal_mass")
    ]
    assert one == pytest.approx([0.0, 0.0])


def test_equal_mass_does_not_depend_on_order_nor_break_on_ties():
    generator = np.random.default_rng(0)
    confidence = generator.choice([0.6, 0.7, 0.7, 0.9], size=101)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    target = generator.integers(0, 2, size=101)
    order = generator.permutation(101)
    figures = [
        calibrate.expected_calibration_error(p, t, bins=7, scheme="equal_mass")
        for p, t in ((probabilities, target), (probabilities[order], target[order]))
    ]
    assert figures[0] == pytest.approx(figures[1])
    # equal values share a bin, so three values mean three bins: the gap of each value, weighted by its count
    by_hand = sum(
        abs((target[confidence == value] == 0).mean() - value) * (confidence == value).mean()
        for value in (0.6, 0.7, 0.9)
    )
    assert figures[0] == pytest.approx(by_hand)


def test_classwise_error_by_hand():
    # class 0: values 0.8 0.3 -> outcomes 1 0 ; class 1: values 0.2 0.7 -> outcomes 0 1; each alone in its bin of ten
    value = calibrate.classwise_calibration_error([[0.8, 0.2], [0.3, 0.7]], [0, 1], bins=10)
    assert value == pytest.approx(((0.2 + 0.3) / 2 + (0.2 + 0.3) / 2) / 2)


def test_risk_coverage_rewards_putting_the_errors_last():
    probabilities = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]
    assert calibrate.area_under_risk_coverage(probabilities, [0, 0, 1]) == pytest.approx((0 + 0 + 1 / 3) / 3)
    assert calibrate.area_under_risk_coverage(probabilities, [1, 0, 0]) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_perfect_and_hopeless_predictions():
    sure = np.eye(3)[[0, 1, 2]]
    assert calibrate.expected_calibration_error(sure, [0, 1, 2]) == 0
    assert calibrate.brier_score(sure, [1, 2, 0]) == 2
    assert calibrate.negative_log_likelihood(sure, [1, 2, 0]) == pytest.approx(-np.log(1e-12))


def test_every_figure_ignores_the_order_of_samples():
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.ones(5), size=200)
    target = generator.integers(0, 5, size=200)
    order = generator.permutation(200)
    for figure in (
        calibrate.expected_calibration_error,
        calibrate.maximum_calibration_error,
        calibrate.classwise_calibration_error,
        calibrate.negative_log_likelihood,
        calibrate.brier_score,
        calibrate.area_under_risk_coverage,
    ):
        assert figure(probabilities, target) == pytest.approx(figure(probabilities[order], target[order])), figure


@pytest.mark.parametrize(
    ("probabilities", "target", "words"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), "empty"),
        ([[0.5, 0.5]], [0, 1], "one class per sample"),
        ([0.5, 0.5], [0, 1], "samples, classes"),
        ([[2.0, 5.0]], [0], "sum to 1"),
        ([[np.nan, 1.0]], [0], "not finite"),
        ([[0.5, 0.5]], [-1], "outside 0..1"),
        ([[0.5, 0.5]], [2], "outside 0..1"),
        ([[0.5, 0.5]], [0.5], "whole class numbers"),
    ],
)
def test_bad_input_is_told_in_one_line(probabilities, target, words):
    for figure in (
        calibrate.expected_calibration_error,
        calibrate.negative_log_likelihood,
        calibrate.brier_score,
        calibrate.reliability,
    ):
        with pytest.raises(InputError, match=words) as caught:
            figure(probabilities, target)
        assert "\n" not in str(caught.value)


def test_unknown_scheme_and_no_bins_are_refused():
    with pytest.raises(InputError, match="equal_mass"):
        calibrate.expected_calibration_error([[1.0, 0.0]], [0], scheme="equal_mas")
    with pytest.raises(InputError, match="bins = 0"):
        calibrate.reliability([[1.0, 0.0]], [0], bins=0)
