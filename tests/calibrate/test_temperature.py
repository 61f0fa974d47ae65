from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from limbeck.calibrate import expected_calibration_error, fit_temperature, negative_log_likelihood, softmax
from limbeck.errors import InputError


def drawn(temperature: float, *, samples: int = 20000, classes: int = 6, seed: int = 0):
    """Logits whose right temperature is known: labels are drawn from softmax(logits / temperature)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 3, size=(samples, classes))
    probabilities = softmax(logits, temperature)
    target = (probabilities.cumsum(axis=1) < generator.random((samples, 1))).sum(axis=1)
    return logits, np.minimum(target, classes - 1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature):
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.03)


def test_it_is_the_minimum_that_another_optimizer_finds():
    logits, target = drawn(1.7, samples=500)
    other = minimize(
        lambda x: negative_log_likelihood(softmax(logits, float(np.exp(x[0]))), target),
        [0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-13},
    )
    assert fit_temperature(logits, target) == pytest.approx(float(np.exp(other.x[0])), rel=1e-4)


def test_calibration_improves_and_no_decision_changes():
    logits, target = drawn(3.0)
    temperature = fit_temperature(logits, target)
    before, after = softmax(logits), softmax(logits, temperature)
    assert expected_calibration_error(after, target) < expected_calibration_error(before, target) / 5
    assert (before.argmax(1) == after.argmax(1)).all()


def test_a_set_without_errors_gives_a_finite_sensible_temperature():
    generator = np.random.default_rng(0)
    target = generator.integers(0, 5, size=200)
    logits = generator.normal(0, 0.3, size=(200, 5))
    logits[np.arange(200), target] += 3
    temperature = fit_temperature(logits, target)
    confidence = softmax(logits, temperature).max(axis=1).mean()
    assert 0.05 < temperature < 1  # it was under-confident
    assert 0.95 < confidence < 1 - 1 / 1000
    assert fit_temperature(np.repeat(logits, 50, 0), np.repeat(target, 50)) < temperature  # more evidence, more trust


def test_logits_that_mislead_are_flattened_and_equal_ones_left_alone():
    logits = np.eye(4)[[0, 1, 2, 3]] * 10
    assert fit_temperature(logits, [1, 2, 3, 0]) == pytest.approx(20, rel=1e-3)
    assert fit_temperature(np.ones((5, 3)), [0, 1, 2, 0, 1]) == 1.0
    assert fit_temperature(np.ones((5, 1)), [0] * 5) == 1.0


def test_one_sample_and_huge_logits_do_not_break_it():
    assert np.isfinite(fit_temperature([[3.0, 1.0]], [0]))
    assert np.isfinite(fit_temperature([[1e4, -1e4], [1e4, -1e4]], [0, 1]))
    assert isinstance(fit_temperature(np.float32([[3.0, 1.0]]), np.int32([0])), float)


def test_bad_input_is_told_in_one_line():
    with pytest.raises(InputError, match="empty"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(InputError, match="not finite"):
        fit_temperature([[np.inf, 0.0]], [0])
    with pytest.raises(InputError, match="outside"):
        fit_temperature([[1.0, 0.0]], [-1])
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="positive"):
            softmax([[1.0, 0.0]], wrong)
