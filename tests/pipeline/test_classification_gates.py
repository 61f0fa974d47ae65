"""A classifier's gates by themselves: what they say of a file, and what they hold in memory for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest

from limbeck.calibrate import softmax
from limbeck.data import PictureSet, open_data
from limbeck.export import check_metric, check_tensors, run_pictures
from limbeck.pipeline.problems.classification import PROOF_PICTURES, ClassificationProblem
from limbeck.pipeline.problems.problem import Case, as_input
from limbeck.recipe import Export
from limbeck.tasks import Classification
from limbeck.types import Artifact


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_gates_of_a_classifier_never_hold_the_whole_test_split(
    monkeypatch: pytest.MonkeyPatch, dtype: Literal["uint8", "float32"]
) -> None:
    """They say of a file, batch by batch, what they would say with every picture at hand."""
    pictures = open_data("digits", image_size=16, validation=0.2).test
    problem = ClassificationProblem(Classification(10), pictures.class_names)
    everything = pictures.samples(np.arange(len(pictures)))
    weights = np.random.default_rng(0).normal(size=(everything[0].size, 10))

    def run(artifact: Artifact, given: np.ndarray) -> np.ndarray:
        assert given.dtype == artifact.input_dtype
        planes = given.transpose(0, 3, 1, 2) / 255 if given.dtype == np.uint8 else given
        return softmax(planes.reshape(len(given), -1) @ weights).astype(np.float32)

    device = SimpleNamespace(run=run, describe=lambda: SimpleNamespace(target="mine"))
    artifact = Artifact("model.onnx", "onnx", "fp32", (16, 16, 3), dtype, 1)
    logits = (everything.transpose(0, 3, 1, 2) / 255).reshape(len(everything), -1) @ weights
    case = Case(device, None, {"logits": logits}, pictures, 1.0, Export())
    taken, whole = [], PictureSet.samples
    monkeypatch.setattr(PictureSet, "samples", lambda self, rows: taken.append(len(rows)) or whole(self, rows))
    gates, said = problem.prove(artifact, artifact, case)
    gate, found = problem.prove_int8(artifact, said, case)
    assert max(taken) <= PROOF_PICTURES < len(pictures)
    assert sum(taken) == PROOF_PICTURES + 2 * len(pictures)
    given = as_input(everything, artifact)
    expected = run_pictures(device, artifact, given)
    assert np.array_equal(said["probabilities"], expected)
    assert np.array_equal(found["probabilities"], expected)
    rows = np.linspace(0, len(pictures) - 1, PROOF_PICTURES).astype(np.int64)
    assert gates[0] == check_tensors(device, artifact, given[rows], softmax(logits)[rows])
    assert gates[1] == check_metric(device, artifact, expected, softmax(logits), pictures.labels)
    assert [one["pictures"] for one in (*gates, gate)] == [PROOF_PICTURES, len(pictures), len(pictures)]
    assert all(one["passed"] for one in (*gates, gate))
