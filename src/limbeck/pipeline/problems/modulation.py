"""Modulation recognition in the chain: a classification whose figures, parity and mistakes are also told by SNR."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from limbeck.calibrate import softmax
from limbeck.data.signal_set import SignalSet
from limbeck.errors import InputError
from limbeck.models import Network
from limbeck.pipeline.pictured import side_by_side
from limbeck.pipeline.pictured_signals import draw_constellation, draw_spectrogram
from limbeck.pipeline.problems.by_snr import band_figures, curve_by_snr, parity_by_snr
from limbeck.pipeline.problems.classification import ClassificationProblem
from limbeck.pipeline.problems.problem import Case, Kept, Shown
from limbeck.pipeline.recordings import reading_facts
from limbeck.recipe import Calibrate, Recipe
from limbeck.types import Artifact

__all__ = ["ModulationProblem"]

TOLD_AT = (0.0, 18.0)  # dB: where confusions are shown, as the literature of RadioML does
EXAMPLES = 8
Frames = tuple[Kept, SignalSet]


class ModulationProblem(ClassificationProblem):
    """One class per frame of a signal. Kept as of any classification; the SNR is the frames' own, where it is known."""

    samples = "frames"
    evaluation_batch = 1024

    def check(self, recipe: Recipe) -> None:
        """Refuse what is for pictures."""
        super().check(recipe)
        if recipe.baselines.off_the_shelf is not None:
            raise InputError('baselines.off_the_shelf: not for task = "modulation" (ready networks take pictures)')

    def check_network(self, network: Network, *, where: str) -> None:
        """Refuse a network that takes pictures."""
        if len(network.sample_shape) != 2:
            raise InputError(
                f"{where}: takes pictures; take a network for signals, such as clst_t, kd_cnn or kd_mobilenet"
            )

    def judge(self, validation: Frames | None, test: Frames, settings: Calibrate) -> dict[str, Any]:
        """As of any classification; accuracy and calibration at each SNR beside it, and accuracy class by class."""
        judged = super().judge(validation, test, settings)
        kept, frames = test
        probabilities = softmax(kept["logits"], judged["temperature"])
        right = probabilities.argmax(1) == frames.labels
        values = {
            name: float(right[frames.labels == index].mean()) if (frames.labels == index).any() else None
            for index, name in enumerate(self.class_names)
        }
        judged["per_class"] = {"name": "accuracy", "values": values}
        if frames.levels is not None:
            curve = curve_by_snr(probabilities, frames.labels, frames.levels, bins=settings.bins)
            judged["per_snr"] = curve
            judged["metrics"] |= band_figures(curve)
        return judged

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """How recordings are to be read, as its own were."""
        return reading_facts(recipe.data)

    def prove(self, graph: Artifact, artifact: Artifact, case: Case) -> tuple[list[dict[str, Any]], Kept]:
        """As of any classification; the gate on decisions says also what changed at each SNR."""
        gates, said = super().prove(graph, artifact, case)
        frames: Any = case.pictures
        expected = softmax(case.kept["logits"], case.temperature)
        gates[-1]["by_snr"] = parity_by_snr(said["probabilities"], expected, frames.labels, frames.levels)
        return gates, said

    def prove_int8(self, artifact: Artifact, said: Kept, case: Case) -> tuple[dict[str, Any], Kept]:
        """As of any classification; the gate says also what is lost at each SNR."""
        gate, found = super().prove_int8(artifact, said, case)
        frames: Any = case.pictures
        gate["by_snr"] = parity_by_snr(found["probabilities"], said["probabilities"], frames.labels, frames.levels)
        return gate, found

    def file_figures(self, said: Kept, frames: SignalSet, *, bins: int) -> dict[str, float]:
        """As of any classification, and the means over the bands of SNR."""
        figures = super().file_figures(said, frames, bins=bins)
        if frames.levels is None:
            return figures
        curve = curve_by_snr(said["probabilities"].astype(np.float64), frames.labels, frames.levels, bins=bins)
        return figures | band_figures(curve)

    def show(self, kept: Kept, frames: SignalSet, load: Callable[[], Network]) -> Shown:
        """Confusions at two levels of SNR, and the surest mistakes as constellation and spectrogram."""
        probabilities = softmax(kept["logits"])
        predicted = probabilities.argmax(1)
        matrices = [
            {"snr": level, "counts": self._confusion(frames.labels[here], predicted[here]).tolist()}
            for level, here in _told_levels(frames)
        ]
        examples, images = [], []
        for row in self._mistakes(probabilities, frames):
            true, taken = self.class_names[frames.labels[row]], self.class_names[predicted[row]]
            level = "" if frames.snr is None else f" at {frames.snr[row]:g} dB"
            text = f"{true}{level}, taken for {taken} ({100 * probabilities[row, predicted[row]]:.0f} %)"
            frame = frames.samples([row])[0]
            image = side_by_side([draw_constellation(frame), draw_spectrogram(frame)], side=200)
            examples.append({"picture": frames.source(row), "text": text})
            images.append({**examples[-1], "image": image})
        return Shown(
            {"signals": {"matrices": matrices}, "examples": examples},
            {"examples": images, "panels": "constellation of the samples, spectrogram (time to the right)"},
        )

    def _confusion(self, target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """[K, K] frames by true and predicted class."""
        count = len(self.class_names)
        return np.bincount(target * count + predicted, minlength=count * count).reshape(count, count)

    def _mistakes(self, probabilities: np.ndarray, frames: SignalSet) -> list[int]:
        """The surest mistake of each of the most frequent pairs of classes, at the higher half of the SNRs."""
        predicted = probabilities.argmax(1)
        wrong = predicted != frames.labels
        if frames.levels is not None:
            levels = np.unique(frames.levels)
            wrong &= frames.levels >= levels[len(levels) // 2]
        pair = frames.labels * len(self.class_names) + predicted
        pairs, counts = np.unique(pair[wrong], return_counts=True)
        chosen = []
        for one in pairs[np.argsort(-counts, kind="stable")][:EXAMPLES]:
            rows = np.flatnonzero(wrong & (pair == one))
            chosen.append(int(rows[probabilities[rows].max(1).argmax()]))
        return chosen


def _told_levels(frames: SignalSet) -> list[tuple[float | None, np.ndarray]]:
    """The levels whose confusions are shown, the nearest to those of `TOLD_AT`, with the rows of each; all without SNR."""
    if frames.levels is None:
        return [(None, np.ones(len(frames), bool))]
    levels = np.unique(frames.levels)
    told = dict.fromkeys(float(levels[np.abs(levels - wanted).argmin()]) for wanted in TOLD_AT)
    return [(level, frames.levels == level) for level in told]
