"""Classification in the chain: logits are kept, a temperature calibrates them, decisions are compared picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.calibrate import softmax
from limbeck.data import Loader, PictureSet
from limbeck.export import check_int8, check_metric, check_tensors, paired_difference
from limbeck.models import Network
from limbeck.pipeline.pictured import data_uri
from limbeck.pipeline.problems.confidence import calibrated, calibration_figures
from limbeck.pipeline.problems.problem import Case, Kept, Run, Shown, answers_of, as_input, refuse_forms
from limbeck.recipe import Calibrate, Export, Recipe
from limbeck.train import predict_logits
from limbeck.types import Artifact

__all__ = ["ClassificationProblem"]

FEWEST = 32  # validation pictures below which a fitted temperature did more harm than good
PROOF_PICTURES = 256  # of the tensor gate
BATCH = 32
WORST_CONFUSIONS = 6
EXAMPLES_EACH = 4


class ClassificationProblem:
    """One class per picture. Kept of a network: `logits` [N, K] float32; of a file: `probabilities` [N, K]."""

    samples = "pictures"
    evaluation_batch = 256
    outputs_each = 1

    def __init__(self, task: Any, class_names: Sequence[str]) -> None:
        self.task = task
        self.class_names = tuple(class_names)

    def check(self, recipe: Recipe) -> None:
        """Refuse forms of files that other kinds of problem have."""
        refuse_forms(recipe, "output", "nms")

    def check_network(self, network: Network, *, where: str) -> None:
        """A task from outside may take any output; its criterion says what it does not take."""

    def start(self, network: Network, pictures: PictureSet) -> None:
        """As it was drawn."""

    def exporting(self) -> dict[str, Any]:
        """None."""
        return {}

    def evaluate(self, network: Network, batches: Loader, *, device: str) -> dict[str, float]:
        """The task's figures."""
        logits, target = predict_logits(network, batches.epoch(0), device=device)
        return self.task.figures(logits, target)

    def keep(self, network: Network, batches: Loader, *, device: str) -> Kept:
        """The logits."""
        return {"logits": predict_logits(network, batches.epoch(0), device=device)[0]}

    def mean(self, said: Sequence[Kept], shares: Sequence[float]) -> Kept:
        """The mean of the logits, which is what a student of several teachers learns from."""
        return {"logits": np.average([one["logits"] for one in said], axis=0, weights=shares).astype(np.float32)}

    def judge(
        self, validation: tuple[Kept, PictureSet] | None, test: tuple[Kept, PictureSet], settings: Calibrate
    ) -> dict[str, Any]:
        """Temperature, test figures with it, and the reliability before and after."""
        logits, target = test[0]["logits"], test[1].labels
        known = None if validation is None else (validation[0]["logits"], validation[1].labels)
        confidence = calibrated(
            known,
            (logits, target),
            settings,
            pictures=0 if validation is None else len(validation[1]),
            fewest=FEWEST,
            samples=self.samples,
        )
        metrics = {**self.task.figures(logits, target), **confidence.pop("metrics")}
        chosen = None if validation is None else self.task.figures(validation[0]["logits"], validation[1].labels)
        return {
            **confidence,
            "metrics": {key: float(value) for key, value in metrics.items()},
            "validation": None if chosen is None else {key: float(value) for key, value in chosen.items()},
        }

    def compare(self, first: Kept, second: Kept, pictures: PictureSet) -> dict[str, Any]:
        """The difference of accuracy."""
        return paired_difference(*(_decisions(kept) == pictures.labels for kept in (first, second)))

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """None."""
        return {}

    def finishes(self, export: Export) -> bool:
        """The graph is the file."""
        return False

    def finish(self, graph: Artifact, path: Path, export: Export) -> Artifact:
        """The graph itself."""
        return graph

    def prove(self, graph: Artifact, artifact: Artifact, case: Case) -> tuple[list[dict[str, Any]], Kept]:
        """Probabilities within the tolerance, and no decision changed but where the network was undecided."""
        expected = softmax(case.kept["logits"], case.temperature)
        # over the whole set, which may be sorted by class
        proof = np.unique(np.linspace(0, len(case.pictures) - 1, PROOF_PICTURES).astype(np.int64))
        inputs, tolerance = as_input(case.pictures.samples(proof), artifact), case.export.tolerance
        tensors = check_tensors(
            case.device, artifact, inputs, expected[proof], tolerance=tolerance, samples=self.samples
        )
        said = self._said(artifact, case)
        metric = check_metric(
            case.device, artifact, said["probabilities"], expected, case.pictures.labels, tolerance=tolerance
        )
        return [tensors, metric], said

    def prove_int8(self, artifact: Artifact, said: Kept, case: Case) -> tuple[dict[str, Any], Kept]:
        """The loss of accuracy on the same pictures."""
        found = self._said(artifact, case)
        gate = check_int8(
            case.device,
            artifact,
            found["probabilities"],
            said["probabilities"],
            case.pictures.labels,
            max_drop=case.export.max_int8_drop,
        )
        return gate, found

    def read(self, run: Run, pictures: PictureSet, *, tell: Callable[[int], None] | None = None) -> Kept:
        """The probabilities."""
        return {"probabilities": answers_of(run, pictures, batch=BATCH, tell=tell)}

    def file_figures(self, said: Kept, pictures: PictureSet, *, bins: int) -> dict[str, float]:
        """The task's figures and those of calibration."""
        wide = said["probabilities"].astype(np.float64)
        figures = self.task.figures(np.log(np.maximum(wide, 1e-30)), pictures.labels)
        figures |= calibration_figures(wide, pictures.labels, bins=bins)
        return {name: float(value) for name, value in figures.items()}

    def show(self, kept: Kept, pictures: PictureSet, load: Callable[[], Network]) -> Shown:
        """The most frequent mistakes, and for the page a few example pictures each."""
        probabilities = softmax(kept["logits"])
        target, predicted = pictures.labels, probabilities.argmax(1)
        wrong = np.flatnonzero(predicted != target)
        pairs, counts = np.unique(np.stack([target[wrong], predicted[wrong]]), axis=1, return_counts=True)
        plain, pictured = [], []
        for column in np.argsort(-counts, kind="stable")[:WORST_CONFUSIONS]:
            true, taken = pairs[:, column]
            rows = wrong[(target[wrong] == true) & (predicted[wrong] == taken)]
            surest = rows[np.argsort(-probabilities[rows, taken], kind="stable")][:EXAMPLES_EACH]
            names = {"true": self.class_names[true], "predicted": self.class_names[taken]}
            entry = {**names, "count": int(counts[column])}
            plain.append(entry)
            pictured.append({**entry, "examples": [data_uri(pictures.picture(int(row))) for row in surest]})
        return Shown({"confusions": plain}, {"confusions": pictured})

    def _said(self, artifact: Artifact, case: Case) -> Kept:
        return self.read(lambda pictures: case.device.run(artifact, as_input(pictures, artifact)), case.pictures)


def _decisions(kept: Kept) -> np.ndarray:
    """[N] the most probable class."""
    return (kept["logits"] if "logits" in kept else kept["probabilities"]).argmax(1)
