"""Segmentation in the chain: confusion matrices of the pictures are kept, and the logits of some of their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.calibrate import softmax
from limbeck.data import Loader, PictureSet
from limbeck.deployed import class_colours
from limbeck.errors import InputError
from limbeck.export import Agreement, append_argmax, check_drop, decision_gate, paired_bootstrap, tensor_gate
from limbeck.models import Network
from limbeck.pipeline.pictured import legend_of, side_by_side
from limbeck.pipeline.problems.confidence import calibrated, calibration_figures
from limbeck.pipeline.problems.places import refuse_what_places_lack, targets_of
from limbeck.pipeline.problems.problem import Case, Kept, Run, Shown, as_input, refuse_forms
from limbeck.recipe import Calibrate, Export, Recipe
from limbeck.tasks.segmentation import figures_of_confusion, iou_per_class
from limbeck.train import evaluate_network, evaluating, network_outputs
from limbeck.types import Artifact

__all__ = ["SegmentationProblem"]

FEWEST = 8  # validation pictures below which a temperature is not fitted: each gives many pixels, but much alike
SAMPLED = 256  # labelled pixels of each picture whose logits are kept
BATCH = 4
EXAMPLES = 6
OVERLAY = 0.7  # how much of the classes' colours lies over the picture: the legend must still be told from it
TIE = 1e-6  # probabilities nearer to each other than this may become either class


class SegmentationProblem:
    """A class of every pixel.

    Kept, of networks and of files that give probabilities: `confusion` [N, K, K], true classes in rows, over all labelled
    pixels; `logits` [N, S, K] float32 and `target` [N, S] of a sample of these pixels, the same for every model, -1 where
    a picture has fewer. Of files that give classes: `confusion` alone.
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
        refuse_forms(recipe, "nms")

    def check_network(self, network: Network, *, where: str) -> None:
        """Refuse what does not give a class of every pixel of the picture."""
        height, width = (int(side) for side in network.input_size)
        with torch.no_grad(), evaluating(network):
            out = network(torch.zeros(1, 3, height, width))
        expected = [1, len(self.class_names), height, width]
        if not isinstance(out, torch.Tensor) or list(out.shape) != expected:
            given = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
            raise InputError(
                f"{where}: gives {given} of a picture of {height} x {width}; segmentation needs logits {expected}, such as "
                "lraspp_mobilenet_v3_small's (see `limbeck show models`)"
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
        """Confusion, and the sampled pixels' logits."""
        return self._gathered(
            (out.float().cpu(), target.cpu()) for out, target in network_outputs(network, batches, device=device)
        )

    def mean(self, said: Sequence[Kept], shares: Sequence[float]) -> Kept:
        """Not to be had from what is kept."""
        raise InputError("teacher.more: a mean of several teachers is for classifiers")

    def judge(
        self, validation: tuple[Kept, PictureSet] | None, test: tuple[Kept, PictureSet], settings: Calibrate
    ) -> dict[str, Any]:
        """A temperature from validation's sampled pixels; figures of all test pixels, confidence of the sampled ones."""
        known = None if validation is None else _sampled(validation[0])
        confidence = calibrated(
            known, _sampled(test[0]), settings, pictures=0 if validation is None else len(validation[1]), fewest=FEWEST
        )
        metrics = {**figures_of_confusion(test[0]["confusion"]), **confidence.pop("metrics")}
        return {
            **confidence,
            "metrics": {key: float(value) for key, value in metrics.items()},
            "validation": None if validation is None else figures_of_confusion(validation[0]["confusion"]),
            "counted": "pixels",
            "per_class": self._per_class(test[0]),
        }

    def compare(self, first: Kept, second: Kept, pictures: PictureSet) -> dict[str, Any]:
        """The difference of mIoU, by a bootstrap over pictures."""
        return paired_bootstrap(*(_miou_of_sample(kept) for kept in (first, second)), len(pictures))

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """None."""
        return {}

    def finishes(self, export: Export) -> bool:
        """Whether the file is to give classes."""
        return export.output == "classes"

    def finish(self, graph: Artifact, path: Path, export: Export) -> Artifact:
        """The graph, or one that ends in the choice of the class."""
        return append_argmax(graph, path) if self.finishes(export) else graph

    def prove(self, graph: Artifact, artifact: Artifact, case: Case) -> tuple[list[dict[str, Any]], Kept]:
        """Probabilities within the tolerance, and no pixel's class changed but where the network was undecided; classes
        that are those of the largest probabilities.
        """
        tensors, classes = Agreement(case.export.tolerance), Agreement(TIE)
        before: list[np.ndarray] = []

        def watched() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            case.network.eval()
            for pictures, target in _batches(case.pictures):
                inputs = as_input(pictures, graph)
                probabilities = case.device.run(graph, inputs)
                with torch.no_grad():
                    planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
                    expected = (case.network(planes) / case.temperature).softmax(1).numpy()
                tensors.add(graph, probabilities, expected)
                if artifact.path != graph.path:
                    classes.add_decisions(artifact, case.device.run(artifact, inputs), probabilities)
                before.append(self.task.confusion(torch.from_numpy(expected), target).numpy())
                yield torch.from_numpy(probabilities).clamp(min=1e-30).log(), target

        said = self._gathered(watched())
        reference = figures_of_confusion(np.concatenate(before))["miou"]
        value = figures_of_confusion(said["confusion"])["miou"]
        gates = [
            tensor_gate(case.device, graph, tensors),
            decision_gate(case.device, graph, tensors, name="mIoU", value=value, reference=reference),
        ]
        if artifact.path != graph.path:
            gates.append(decision_gate(case.device, artifact, classes, name="mIoU", value=value, reference=value))
        return gates, said

    def prove_int8(self, artifact: Artifact, said: Kept, case: Case) -> tuple[dict[str, Any], Kept]:
        """The loss of mIoU on the same pictures."""
        found = self.read(lambda pictures: case.device.run(artifact, as_input(pictures, artifact)), case.pictures)
        gate = check_drop(
            case.device,
            artifact,
            name="mIoU",
            value=figures_of_confusion(found["confusion"])["miou"],
            reference=figures_of_confusion(said["confusion"])["miou"],
            paired=self.compare(found, said, case.pictures),
            max_drop=case.export.max_int8_drop,
        )
        return gate, found

    def read(self, run: Run, pictures: PictureSet, *, tell: Callable[[int], None] | None = None) -> Kept:
        """What a file that gives probabilities or classes says."""

        def outputs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for batch, target in _batches(pictures):
                given = torch.from_numpy(run(batch))
                yield given.clamp(min=1e-30).log() if given.is_floating_point() else given, target
                if tell is not None:
                    tell(len(batch))

        return self._gathered(outputs())

    def file_figures(self, said: Kept, pictures: PictureSet, *, bins: int) -> dict[str, float]:
        """Figures of all pixels, and the confidence of the sampled ones where the file gives any."""
        figures = figures_of_confusion(said["confusion"])
        if "logits" in said:
            logits, target = _sampled(said)
            figures |= calibration_figures(softmax(logits), target, bins=bins)
        return {name: float(value) for name, value in figures.items()}

    def show(self, kept: Kept, pictures: PictureSet, load: Callable[[], Network]) -> Shown:
        """The pictures that came out worst, beside what is true and what the student says."""
        worst = [(figures_of_confusion(one)["miou"], row) for row, one in enumerate(kept["confusion"]) if one.sum() > 0]
        chosen = sorted(worst)[:EXAMPLES]
        rows = np.array([row for _, row in chosen])
        network = load().eval()
        plain, pictured = [], []
        colours = class_colours(len(self.class_names))
        targets = targets_of(pictures, rows).numpy()
        for (miou, row), target in zip(chosen, targets, strict=True):
            picture = pictures.picture(row)
            with torch.no_grad():
                planes = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
                found = network(planes).argmax(1)[0].numpy()
            maps = (colours[np.where(target >= 0, classes, -1)] for classes in (target, found))
            parts = [picture, *((OVERLAY * one + (1 - OVERLAY) * picture).astype(np.uint8) for one in maps)]
            entry = {"picture": pictures.source(row), "text": f"mIoU {100 * miou:.1f} %"}
            plain.append(entry)
            pictured.append({**entry, "image": side_by_side(parts)})
        named = (*self.class_names, "void") if (targets < 0).any() else self.class_names
        panels = "the picture, what is true, what the student says"
        return Shown({"examples": plain}, {"examples": pictured, "panels": panels, "legend": legend_of(named, colours)})

    def _per_class(self, kept: Kept) -> dict[str, Any]:
        values = [None if np.isnan(iou) else float(iou) for iou in iou_per_class(kept["confusion"])]
        return {"name": "IoU", "values": dict(zip(self.class_names, values, strict=True))}

    def _gathered(self, outputs: Any) -> dict[str, np.ndarray]:
        """What is kept, of (logits [n, K, H, W] or classes [n, H, W], target [n, H, W]) in the order of the pictures."""
        parts: dict[str, list[np.ndarray]] = {"confusion": [], "logits": [], "target": []}
        seen = 0
        for out, target in outputs:
            parts["confusion"].append(self.task.confusion(out, target).numpy())
            if out.is_floating_point():
                for one, mask in zip(out.numpy(), target.numpy(), strict=True):
                    places = _sample(mask, seen)
                    logits, classes = np.zeros((SAMPLED, len(one)), np.float32), np.full(SAMPLED, -1, np.int64)
                    logits[: len(places)] = one.reshape(len(one), -1)[:, places].T
                    classes[: len(places)] = mask.reshape(-1)[places]
                    parts["logits"].append(logits[None])
                    parts["target"].append(classes[None])
                    seen += 1
        return {name: np.concatenate(arrays) for name, arrays in parts.items() if arrays}


def _sample(mask: np.ndarray, number: int) -> np.ndarray:
    """Places of at most `SAMPLED` labelled pixels of a picture: a function of its number and mask alone."""
    labelled = np.flatnonzero(mask >= 0)
    if len(labelled) <= SAMPLED:
        return labelled
    return np.sort(np.random.default_rng([SAMPLED, number]).choice(labelled, SAMPLED, replace=False))


def _sampled(kept: Kept) -> tuple[np.ndarray, np.ndarray]:
    """Logits [P, K] and classes [P] of the sampled pixels of all pictures."""
    labelled = kept["target"] >= 0
    return kept["logits"][labelled], kept["target"][labelled]


def _miou_of_sample(kept: Kept) -> Callable[[np.ndarray], float]:
    """The mIoU of pictures taken so many times each."""
    confusion = kept["confusion"]
    rows, shape = confusion.reshape(len(confusion), -1).astype(np.float64), confusion.shape[1:]

    def figure(counts: np.ndarray) -> float:
        whole = (counts @ rows).reshape(shape)
        return figures_of_confusion(whole)["miou"] if whole.sum() else float("nan")

    return figure


def _batches(pictures: PictureSet) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    for start in range(0, len(pictures), BATCH):
        rows = np.arange(start, min(start + BATCH, len(pictures)))
        yield pictures.samples(rows), targets_of(pictures, rows)
