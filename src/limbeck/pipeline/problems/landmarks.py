"""Landmarks in the chain: the points of each picture are kept, judged by their distance from the true ones, and given error
bars.

Not here: the figures (`tasks.landmarks`), what the report pictures of them (`landmark_pictures`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.data import Loader, PictureSet
from limbeck.data.points import PointTargets
from limbeck.distill.landmarks import OF_POINTS
from limbeck.errors import InputError, LimbeckError
from limbeck.export import Agreement, append_window, check_drop, figure_gate, paired_bootstrap, tensor_gate
from limbeck.losses import LOSSES
from limbeck.models import Network, start_at
from limbeck.pipeline.problems.landmark_pictures import faces_of, jittered_figures
from limbeck.pipeline.problems.places import targets_of
from limbeck.pipeline.problems.problem import Case, Kept, Run, Shown, answers_of, as_input, refuse_forms
from limbeck.point_schemes import SCHEMES
from limbeck.recipe import Calibrate, Export, Recipe, Train
from limbeck.tasks.landmarks import ced, compat_auc, figures_by_subset
from limbeck.train import evaluate_network, evaluating, network_outputs
from limbeck.types import Artifact

__all__ = ["LandmarksProblem", "conformal_radii"]

BATCH = 64
FEWEST = 32  # validation pictures below which error bars say too little
NME_TOLERANCE = 1e-4  # fp32 gate on the figure
CED_AT = np.linspace(0.0, 0.15, 61)
OF_STAGES = frozenset(["at", "cwd", "fitnet", "mgd", "pkd", "reviewkd", "rkd", "sp"])
"""Methods that compare stages alone, whatever the outputs are."""


class LandmarksProblem:
    """Named points of a picture. Kept, of networks and of files: `points` [N, L, 2] float32 as shares of the fitted picture."""

    samples = "pictures"
    evaluation_batch = 128
    outputs_each = 2

    def __init__(self, task: Any, class_names: Sequence[str]) -> None:
        self.task = task
        self.class_names = tuple(class_names)

    def check(self, recipe: Recipe) -> None:
        """Refuse what is for classes."""
        refuse_forms(recipe, "output", "nms")
        teacher = recipe.teacher
        for where, asked, what in (
            ("search", recipe.search is not None, "candidates are ranked by a figure of which more is better"),
            ("adapt", recipe.adapt is not None, "it makes classifiers narrower"),
            ("baselines.off_the_shelf", recipe.baselines.off_the_shelf is not None, "ready networks are classifiers"),
            ("teacher.cache", teacher is not None and teacher.cache, "it keeps rows of logits, in half precision"),
            ("data.class_weights", recipe.data.class_weights != "none", "points are no classes"),
            ("label_smoothing", any(one.label_smoothing for one in _trainings(recipe)), "points are no classes"),
        ):
            if asked:
                raise InputError(f'{where}: not for task = "{recipe.task}" ({what}); leave it out')
        if recipe.distill is None:
            return
        if recipe.train.soft_targets is not None:
            raise InputError(
                "train.soft_targets: a student that is distilled learns the true points; set it in a teacher's train"
            )
        method = recipe.distill.method
        if method is not None and ":" not in method and method not in OF_STAGES | {"two_teacher"}:
            known = ", ".join(["two_teacher", *sorted(OF_STAGES)])
            raise InputError(f"distill.method = '{method}': teaches classes; of points learn by {known}")
        for term in recipe.distill.terms:
            says_output = isinstance(term.student, str) and "/" not in term.student
            if term.loss in LOSSES and term.loss not in OF_POINTS and says_output:
                raise InputError(
                    f"distill.terms: loss '{term.loss}' takes logits; of points take {', '.join(sorted(OF_POINTS))}"
                )

    def check_network(self, network: Network, *, where: str) -> None:
        """Refuse what does not give x and y of each point."""
        height, width = (int(side) for side in network.input_size)
        with torch.no_grad(), evaluating(network):
            out = network(torch.zeros(1, 3, height, width))
        if not isinstance(out, torch.Tensor) or out.shape != (1, 2 * len(self.class_names)):
            raise InputError(f"{where}: gives no points; take a network for pictures, such as mobilenet_v2")

    def start(self, network: Network, pictures: PictureSet) -> None:
        """Let it say the mean shape, so that training starts there and not in a corner of the picture."""
        if not isinstance(pictures, PictureSet):
            return
        truth = _truth(pictures)
        known = ~np.isnan(truth).any(2)
        mean = np.where(known[:, :, None], truth, 0.0).sum(0) / np.maximum(known.sum(0), 1)[:, None]
        start_at(network, torch.from_numpy(np.where(known.any(0)[:, None], mean, 0.5)).float())

    def exporting(self) -> dict[str, Any]:
        """Its outputs are points."""
        return {"gives": "points"}

    def evaluate(self, network: Network, batches: Loader, *, device: str) -> dict[str, float]:
        """The task's figures."""
        sizes = batches.pictures.shown_sizes()
        return evaluate_network(network, batches, self.task.metric(sizes=sizes), device=device)

    def keep(self, network: Network, batches: Loader, *, device: str) -> Kept:
        """The points."""
        rows = [out.float().cpu().numpy() for out, _ in network_outputs(network, batches, device=device)]
        return {"points": _finite(np.concatenate(rows).reshape(-1, len(self.class_names), 2), "the network")}

    def mean(self, said: Sequence[Kept], shares: Sequence[float]) -> Kept:
        """The mean of each point."""
        return {"points": np.average([one["points"] for one in said], axis=0, weights=shares).astype(np.float32)}

    def judge(
        self, validation: tuple[Kept, PictureSet] | None, test: tuple[Kept, PictureSet], settings: Calibrate
    ) -> dict[str, Any]:
        """The task's figures on test, by subset too; radii around each point, from validation, and how they hold on test."""
        kept, pictures = test
        truth = _truth(pictures)
        errors = self._errors(kept, pictures)
        bars, reason = self._error_bars(validation, settings)
        points: dict[str, Any] = {
            "normalizers": {name: _in_words(one) for name, one in self.task.normalizers().items()},
            "ced": {"error": CED_AT.tolist(), "share": ced(errors, CED_AT).tolist()},
            "compat_auc": compat_auc(errors),
            "by_subset": self._by_subset(kept, pictures),
            "bars": None,
        }
        facts: dict[str, Any] = {"normalizer": _in_words(self.task.normalizer)}
        crop = getattr(pictures.targets, "crop", None)
        facts |= {} if crop is None else {"crop": {k: v for k, v in asdict(crop).items() if k != "boxes"}}
        if bars is not None:
            held = _distances(kept, pictures) <= bars
            known = ~np.isnan(truth).any(2)
            points["bars"] = {
                "coverage": settings.coverage,
                "found": float(held[known].mean()),
                "radius": float(bars.mean()),
                "radii": bars.tolist(),
                "by_point": [
                    float(held[known[:, i], i].mean()) if known[:, i].any() else None for i in range(len(bars))
                ],
            }
            facts["error_bars"] = {"coverage": settings.coverage, "radii": bars.round(6).tolist()}
        return {
            "temperature": 1.0,
            "reason": reason,
            "metrics": self._figures(kept, pictures),
            "validation": None if validation is None else self._figures(*validation),
            "before": None,
            "after": None,
            "points": points,
            "facts": facts,
        }

    def compare(self, first: Kept, second: Kept, pictures: PictureSet) -> dict[str, Any]:
        """The difference of the mean error, by a bootstrap over pictures."""
        errors = [self._errors(kept, pictures) for kept in (first, second)]
        judged = ~np.isnan(errors[0])

        def mean_of(one: np.ndarray) -> Callable[[np.ndarray], float]:
            return lambda counts: float(counts @ one / counts.sum()) if counts.any() else math.nan

        return paired_bootstrap(*(mean_of(one[judged]) for one in errors), int(judged.sum()))

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """The order of the points, and what errors are divided by where the order is the user's own."""
        scheme = self.task.scheme
        own = (
            {}
            if scheme == SCHEMES.get(scheme.name)
            else {"normalizers": {name: [list(end) for end in ends] for name, ends in scheme.normalizers.items()}}
        )
        return {"scheme": scheme.name, **own}

    def finishes(self, export: Export) -> bool:
        """Crops are put back into their pictures in the graph."""
        return True

    def finish(self, graph: Artifact, path: Path, export: Export) -> Artifact:
        """The graph, with the window of each crop as an input that may be left out."""
        return append_window(graph, path)

    def prove(self, graph: Artifact, artifact: Artifact, case: Case) -> tuple[list[dict[str, Any]], Kept]:
        """Every point of every test picture within the tolerance, and the mean error as the network's own."""
        agreement, said = Agreement(case.export.tolerance), self._said(artifact, case)
        agreement.add(artifact, said["points"], case.kept["points"], classes=False)
        gate = figure_gate(
            case.device,
            artifact,
            name="NME",
            value=self._nme(said, case.pictures),
            reference=self._nme(case.kept, case.pictures),
            tolerance=NME_TOLERANCE,
            pictures=len(case.pictures),
        )
        return [tensor_gate(case.device, artifact, agreement), gate], said

    def prove_int8(self, artifact: Artifact, said: Kept, case: Case) -> tuple[dict[str, Any], Kept]:
        """The rise of the mean error on the same pictures."""
        found = self._said(artifact, case)
        gate = check_drop(
            case.device,
            artifact,
            name="NME",
            value=self._nme(found, case.pictures),
            reference=self._nme(said, case.pictures),
            paired=self.compare(found, said, case.pictures),
            max_drop=case.export.max_int8_drop,
            higher_is_better=False,
        )
        return gate, found

    def read(self, run: Run, pictures: PictureSet, *, tell: Callable[[int], None] | None = None) -> Kept:
        """The points."""
        return {"points": _finite(answers_of(run, pictures, batch=BATCH, tell=tell), "the file")}

    def file_figures(self, said: Kept, pictures: PictureSet, *, bins: int) -> dict[str, float]:
        """The task's figures."""
        return self._figures(said, pictures)

    def show(self, kept: Kept, pictures: PictureSet, load: Callable[[], Network]) -> Shown:
        """The pictures that came out worst and some in the middle, and figures where boxes are not exact."""
        errors = self._errors(kept, pictures)
        plain, pictured = faces_of(kept["points"], _truth(pictures), errors, pictures)
        jitter = jittered_figures(self.task, load(), pictures)
        return Shown({"examples": plain, "jitter": jitter}, {"faces": pictured})

    def _error_bars(
        self, validation: tuple[Kept, PictureSet] | None, settings: Calibrate
    ) -> tuple[np.ndarray | None, str]:
        """[L] radii as shares of the root of the crop's area, or None and why there are none."""
        if settings.method == "none":
            return None, "switched off in the recipe"
        if validation is None:
            return None, "skipped: there is no validation set to take error bars from (data.validation = 0)"
        kept, pictures = validation
        if len(pictures) < FEWEST:
            return None, f"skipped: {len(pictures)} validation pictures say too little (fewest: {FEWEST})"
        radii = conformal_radii(_distances(kept, pictures), settings.coverage)
        few = np.flatnonzero(~np.isfinite(radii))
        if len(few):
            return None, f"skipped: point {few[0]} is known in too few validation pictures for {settings.coverage:.0%}"
        return radii, ""

    def _by_subset(self, kept: Kept, pictures: PictureSet) -> dict[str, dict[str, Any]]:
        """Figures of each part of the set, the mean error by each normaliser; empty where it has one part at most."""
        assert isinstance(pictures.targets, PointTargets)
        parts = pictures.targets.in_subset()
        if len(parts) < 2:
            return {}
        found: dict[str, dict[str, Any]] = {}
        for name, normalizer in self.task.normalizers().items():
            errors = self._errors(kept, pictures, normalizer)
            for part, figures in figures_by_subset(errors, parts).items():
                found.setdefault(part, {}).update(figures if name == self.task.primary else {name: figures["nme"]})
        return found

    def _figures(self, kept: Kept, pictures: PictureSet) -> dict[str, float]:
        figures = self.task.figures(kept["points"], _truth(pictures), sizes=pictures.shown_sizes())
        return {name: float(value) for name, value in figures.items()}

    def _nme(self, kept: Kept, pictures: PictureSet) -> float:
        return float(np.nanmean(self._errors(kept, pictures)))

    def _errors(self, kept: Kept, pictures: PictureSet, normalizer: Any = None) -> np.ndarray:
        """[N] as the task has them, in pixels of the pictures as they were found."""
        return self.task.errors(kept["points"], _truth(pictures), normalizer, sizes=pictures.shown_sizes())

    def _said(self, artifact: Artifact, case: Case) -> Kept:
        return self.read(lambda pictures: case.device.run(artifact, as_input(pictures, artifact)), case.pictures)


def conformal_radii(distances: np.ndarray, coverage: float) -> np.ndarray:
    """[L] radii that hold the true point of a further picture with at least the probability asked for.

    The rank is that of n + 1 pictures of which the further one is as likely at any place; it holds as far as those
    pictures and the further one are alike, so its share on test is to be reported beside it.

    Args:
        distances: [N, L] errors on pictures that were not trained on, NaN = unknown.
        coverage: in (0, 1).

    Returns:
        Infinite where too few are known for so high a coverage.

    **Source:** split conformal prediction, Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 2018,
    section 2.2, with the distance as the score.

    Example:
        >>> conformal_radii(np.arange(1.0, 10.0)[:, None], 0.8).tolist()      # the 8th of 9: ceil(10 * 0.8)
        [8.0]
    """
    radii = np.full(distances.shape[1], np.inf)
    for point, column in enumerate(distances.T):
        known = np.sort(column[~np.isnan(column)])
        rank = math.ceil((len(known) + 1) * coverage - 1e-9)
        if rank <= len(known):
            radii[point] = known[rank - 1]
    return radii


def _finite(points: np.ndarray, whose: str) -> np.ndarray:
    """The points as they are.

    Raises:
        LimbeckError: some are no numbers, which no figure can tell.
    """
    wrong = ~np.isfinite(points).reshape(len(points), -1).all(1)
    if wrong.any():
        raise LimbeckError(f"{whose} gives points that are no numbers, in {int(wrong.sum())} of {len(points)} pictures")
    return points


def _distances(kept: Kept, pictures: PictureSet) -> np.ndarray:
    """[N, L] distances in pixels of the pictures as they were found, as shares of the root of the area that is shown; NaN
    where the truth is unknown.
    """
    sizes = pictures.shown_sizes()
    apart = (kept["points"] - _truth(pictures)) * sizes[:, None, ::-1]
    return np.linalg.norm(apart, axis=2) / np.sqrt(sizes.prod(1))[:, None]


def _truth(pictures: PictureSet) -> np.ndarray:
    """[N, L, 2] true points of the fitted pictures as shares of them; NaN = unknown."""
    return targets_of(pictures, np.arange(len(pictures))).numpy()


def _trainings(recipe: Recipe) -> Iterator[Train]:
    yield recipe.train
    yield from (model.train for model in (recipe.teachers | recipe.assistants).values())


def _in_words(normalizer: Any) -> str:
    """What errors are divided by, as a report says it."""
    return normalizer.replace("_", "-") if isinstance(normalizer, str) else str(list(normalizer))
