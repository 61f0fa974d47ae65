"""A search over anything: name the choices, say what a point costs and how good it is; the study does the rest.

Here the points are perceptrons of scikit-learn. Killed at any moment, the same command goes on. Run:
python examples/search_with_own_evaluator.py
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from limbeck.search import CandidateCost, Ceilings, Point, Space, StudyResult, run_study
from limbeck.types import Evaluation

DIGITS = load_digits()
TRAIN, VALIDATION, TRAIN_LABELS, VALIDATION_LABELS = train_test_split(
    DIGITS.data / 16, DIGITS.target, test_size=0.4, random_state=0
)


def build(point: Point) -> MLPClassifier:
    layers = (int(point["width"]),) * int(point["depth"])
    return MLPClassifier(layers, activation=str(point["activation"]), max_iter=60, random_state=0)


SPACE = Space(
    "perceptrons",
    choices={"width": (4, 8, 16, 32, 64, 128), "depth": (1, 2, 3), "activation": ("relu", "tanh")},
    build=build,
    reference={"width": 16, "depth": 1, "activation": "relu"},
)


def count(point: Point) -> tuple[int, int]:
    """Parameters and multiply-accumulates, known without training: candidates over a ceiling are never trained."""
    width, depth = int(point["width"]), int(point["depth"])
    macs = 64 * width + (depth - 1) * width**2 + width * 10
    return macs + depth * width + 10, macs


def time_all(points: list[Point]) -> list[CandidateCost]:
    """Latency of untrained candidates, in a batch and before any is trained."""
    costs = []
    for point in points:
        model = build(point).set_params(max_iter=1).fit(TRAIN[:20], TRAIN_LABELS[:20])
        samples = []
        for _ in range(50):
            started = time.perf_counter()
            model.predict(TRAIN[:1])
            samples.append(1000 * (time.perf_counter() - started))
        costs.append(CandidateCost(latency_ms=float(np.median(samples))))
    return costs


def evaluate(point: Point, seed: int) -> Evaluation:
    """The accuracy that is searched for; an exception here fails this candidate and no other."""
    model = build(point).set_params(random_state=seed).fit(TRAIN, TRAIN_LABELS)
    return Evaluation("complete", accuracy=model.score(VALIDATION, VALIDATION_LABELS))


def main(folder: str, *, trials: int = 12) -> StudyResult:
    return run_study(
        SPACE,
        folder=folder,
        trials=trials,
        batch=4,
        seed=0,
        ceilings=Ceilings(max_params=8000, max_latency_ms=50.0),
        cheap_cost=count,
        time_candidates=time_all,
        evaluate=evaluate,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=None, help="of the ledger; default: a temporary one")
    parser.add_argument("--trials", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        study = main(given.folder or scratch, trials=given.trials)
    for index in study.front:
        trial = study.trials[index]
        print(f"{trial['latency_ms']:.3f} ms, {trial['params']} parameters: {trial['accuracy']:.3f}  {trial['point']}")
    print(f"best: {study.best['point']}")
