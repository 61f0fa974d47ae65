"""Can a classifier's probabilities be trusted? Measure it, and repair it with one number fitted on validation.

Anyone's logits will do: here a scikit-learn perceptron that was trained too long. Run: python examples/calibrate_a_model.py
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from limbeck.calibrate import expected_calibration_error, fit_temperature, negative_log_likelihood, softmax


def main(iterations: int = 200) -> dict[str, float]:
    digits = load_digits()
    noisy = digits.data + np.random.default_rng(0).normal(0, 6, digits.data.shape)  # hard enough to be wrong at times
    train, rest, train_labels, rest_labels = train_test_split(noisy, digits.target, test_size=0.6, random_state=0)
    validation, test, validation_labels, test_labels = train_test_split(rest, rest_labels, random_state=0)

    model = MLPClassifier((64,), max_iter=iterations, alpha=0, random_state=0).fit(train, train_labels)
    logits = {  # up to a constant per row, which no softmax sees
        "validation": np.log(np.maximum(model.predict_proba(validation), 1e-30)),
        "test": np.log(np.maximum(model.predict_proba(test), 1e-30)),
    }
    temperature = fit_temperature(logits["validation"], validation_labels)
    before, after = softmax(logits["test"]), softmax(logits["test"], temperature)
    return {
        "temperature": temperature,
        "accuracy": float((before.argmax(1) == test_labels).mean()),
        "ece_before": expected_calibration_error(before, test_labels),
        "ece_after": expected_calibration_error(after, test_labels),
        "nll_before": negative_log_likelihood(before, test_labels),
        "nll_after": negative_log_likelihood(after, test_labels),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=200)
    for name, figure in main(parser.parse_args().iterations).items():
        print(f"{name}: {figure:.4f}")
