"""Detection in the chain: the chosen boxes of each picture are kept, and judged as COCO judges them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.data import Loader, PictureSet
from limbeck.deployed import choose_found
from limbeck.errors import InputError
from limbeck.export import Agreement, append_nms, check_drop, figure_gate, paired_bootstrap, tensor_gate
from limbeck.models import Network
from limbeck.models.heads import AnchorOutputs
from limbeck.pipeline.pictured import draw_boxes, legend_of, line_colours, side_by_side
from limbeck.pipeline.problems.places import refuse_what_places_lack, targets_of
from limbeck.pipeline.problems.problem import Case, Kept, Run, Shown, answers_of, as_input, refuse_forms
from limbeck.recipe import Calibrate, Export, Recipe
from limbeck.train import evaluate_network, evaluating, network_outputs
from limbeck.types import Artifact

__all__ = ["DetectionProblem"]

BATCH = 32
PROOF_PICTURES = 64  # of the tensor gate
MAP_TOLERANCE = 0.002  # fp32 gate: boxes whose scores or overlaps tie may be chosen in another order
DRAWS = 400  # of the bootstrap: each costs two passes over all found boxes
EXAMPLES = 6
SHOWN_FROM = 0.3  # score of the boxes that are drawn
NOT_CALIBRATED = "not applied to detection in this release: scores stay as they were trained"


class DetectionProblem:
    """Boxes with a class each. Kept, of networks and of files: `boxes` [N, L, 6] (x1, y1, x2, y2 as shares of the fitted
    picture, score, label; score 0 = none).
    """

    samples = "pictures"
    evaluation_batch = BATCH
    outputs_each = 1

    def __init__(self, task: Any, class_names: Sequence[str]) -> None:
        self.task = task
        self.class_names = tuple(class_names)

    def check(self, recipe: Recipe) -> None:
        """Refuse what is for classifiers so far."""
        refuse_what_places_lack(recipe)
        refuse_forms(recipe, "output")

    def check_network(self, network: Network, *, where: str) -> None:
        """Refuse what is no detector of these classes."""
        height, width = (int(side) for side in network.input_size)
        with torch.no_grad(), evaluating(network):
            out = network(torch.zeros(1, 3, height, width))
        if not isinstance(out, AnchorOutputs):
            raise InputError(
                f"{where}: is no detector; take one such as ssdlite_mobilenet_v3_small (see `limbeck show models`)"
            )

    def start(self, network: Network, pictures: PictureSet) -> None:
        """As it was drawn."""

    def exporting(self) -> dict[str, Any]:
        """None."""
        return {}

    def evaluate(self, network: Network, batches: Loader, *, device: str) -> dict[str, float]:
        """The task's figures."""
        return evaluate_network(network, batches, self.task.metric(), device=device)

    def keep(self, network: Network, batches: Loader, *, device: str) -> Kept:
        """The chosen boxes."""
        rows = [self.task.keep(out) for out, _ in network_outputs(network, batches, device=device)]
        return {"boxes": np.concatenate(rows)}

    def mean(self, said: Sequence[Kept], shares: Sequence[float]) -> Kept:
        """There is none of boxes."""
        raise InputError("teacher.more: a mean of several teachers is for classifiers")

    def judge(
        self, validation: tuple[Kept, PictureSet] | None, test: tuple[Kept, PictureSet], settings: Calibrate
    ) -> dict[str, Any]:
        """The task's figures on test, and precision per class; confidence is left as it is."""
        figures = self._figures(*test)
        precision = self.task.matches(test[0]["boxes"], _truth(test[1])).per_class()
        values = [None if np.isnan(one) else float(one) for one in precision]
        return {
            "temperature": 1.0,
            "reason": "switched off in the recipe" if settings.method == "none" else NOT_CALIBRATED,
            "metrics": figures,
            "validation": None if validation is None else self._figures(*validation),
            "before": None,
            "after": None,
            "per_class": {"name": "AP", "values": dict(zip(self.class_names, values, strict=True))},
        }

    def compare(self, first: Kept, second: Kept, pictures: PictureSet) -> dict[str, Any]:
        """The difference of mAP, by a bootstrap over pictures."""
        truth = _truth(pictures)
        figures = [self.task.matches(kept["boxes"], truth).map for kept in (first, second)]
        return paired_bootstrap(figures[0], figures[1], len(pictures), draws=DRAWS)

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """How boxes are chosen from every anchor's."""
        return {"choice": dict(self.task.choice)}

    def finishes(self, export: Export) -> bool:
        """Whether boxes are chosen in the graph."""
        return export.nms == "inside"

    def finish(self, graph: Artifact, path: Path, export: Export) -> Artifact:
        """The graph, or one that ends in the choice of boxes."""
        return append_nms(graph, path, **self.task.choice) if self.finishes(export) else graph

    def prove(self, graph: Artifact, artifact: Artifact, case: Case) -> tuple[list[dict[str, Any]], Kept]:
        """Every anchor's box and scores within the tolerance; mAP of the chosen boxes as the network's own."""
        agreement = Agreement(case.export.tolerance)
        count = min(PROOF_PICTURES, len(case.pictures))
        with torch.no_grad(), evaluating(case.network):
            for start in range(0, count, BATCH):
                pictures = case.pictures.samples(np.arange(start, min(start + BATCH, count)))
                out = case.network(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255)
                expected = torch.cat([out.boxes(), out.class_scores()], 2).numpy()
                found = case.device.run(graph, as_input(pictures, graph))
                agreement.add(graph, found, expected, classes=False)
        said = self._said(artifact, case)
        gate = figure_gate(
            case.device,
            artifact,
            name="mAP",
            value=self._map(said, case.pictures),
            reference=self._map(case.kept, case.pictures),
            tolerance=MAP_TOLERANCE,
            pictures=len(case.pictures),
        )
        return [tensor_gate(case.device, graph, agreement), gate], said

    def prove_int8(self, artifact: Artifact, said: Kept, case: Case) -> tuple[dict[str, Any], Kept]:
        """The loss of mAP on the same pictures."""
        found = self._said(artifact, case)
        gate = check_drop(
            case.device,
            artifact,
            name="mAP",
            value=self._map(found, case.pictures),
            reference=self._map(said, case.pictures),
            paired=self.compare(found, said, case.pictures),
            max_drop=case.export.max_int8_drop,
        )
        return gate, found

    def read(self, run: Run, pictures: PictureSet, *, tell: Callable[[int], None] | None = None) -> Kept:
        """The chosen boxes; of a file that gives every anchor's, `run` has to choose them."""
        return {"boxes": answers_of(run, pictures, batch=BATCH, tell=tell)}

    def file_figures(self, said: Kept, pictures: PictureSet, *, bins: int) -> dict[str, float]:
        """The task's figures."""
        return self._figures(said, pictures)

    def show(self, kept: Kept, pictures: PictureSet, load: Callable[[], Network]) -> Shown:
        """The pictures that came out worst, with the true and the found boxes."""
        truth = _truth(pictures)
        each = [self.task.matches(kept["boxes"][i : i + 1], truth[i : i + 1]).map() for i in range(len(truth))]
        worst = sorted((precision, row) for row, precision in enumerate(each) if not np.isnan(precision))[:EXAMPLES]
        colours = line_colours(len(self.class_names))
        plain, pictured = [], []
        for precision, row in worst:
            picture = pictures.picture(row)
            real, found = truth[row][truth[row][:, 0] >= 0], kept["boxes"][row]
            sure = found[found[:, 4] >= SHOWN_FROM]
            parts = [
                draw_boxes(picture, boxes, colours[labels.astype(np.int64)])
                for boxes, labels in ((real[:, 1:], real[:, 0]), (sure[:, :4], sure[:, 5]))
            ]
            told = f"AP {100 * precision:.1f} %, true boxes: {len(real)}, found: {len(sure)}"
            entry = {"picture": pictures.source(row), "text": told}
            plain.append(entry)
            pictured.append({**entry, "image": side_by_side(parts)})
        panels = f"the true boxes, and those that the student found with a score of {SHOWN_FROM} or more"
        return Shown(
            {"examples": plain},
            {"examples": pictured, "panels": panels, "legend": legend_of(self.class_names, colours)},
        )

    def _figures(self, kept: Kept, pictures: PictureSet) -> dict[str, float]:
        figures = self.task.figures(kept["boxes"], _truth(pictures))
        return {name: float(value) for name, value in figures.items()}

    def _map(self, kept: Kept, pictures: PictureSet) -> float:
        return self.task.matches(kept["boxes"], _truth(pictures)).map()

    def _said(self, artifact: Artifact, case: Case) -> Kept:
        def run(pictures: np.ndarray) -> np.ndarray:
            given = case.device.run(artifact, as_input(pictures, artifact))
            return given if self.finishes(case.export) else choose_found(given, **self.task.choice)

        return self.read(run, case.pictures)


def _truth(pictures: PictureSet) -> np.ndarray:
    """[N, M, 5] rows of class, x1, y1, x2, y2 of all pictures."""
    return targets_of(pictures, np.arange(len(pictures))).numpy()
