"""Stage `search`: candidates are timed on the device first, then trained briefly. The study itself is the search room's."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.console import Bar, bar, say
from limbeck.errors import InputError
from limbeck.files import fingerprint, read_json, write_json
from limbeck.models import Network, Table, build_described, inherit_weights
from limbeck.pipeline.briefly import OpenedRun, train_briefly
from limbeck.pipeline.budget import search_ceilings
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.latency import open_latency_source, table_key
from limbeck.pipeline.train import load_given, train_objective, weights_key
from limbeck.pipeline.workers import open_workers, storage_url, threads_beside
from limbeck.search import CandidateCost, Halving, Objective, Space, open_space, run_study
from limbeck.types import Evaluation

__all__ = ["cheapest_network", "search", "seed_network", "space_of", "student_network"]

EARLY = 2  # generations after which it is judged whether the ceiling starves the controller


def space_of(context: Context) -> Space:
    """The recipe's search space, for this data.

    Raises:
        InputError: the student cannot be the reference of the space, or an option of it is wrong.
    """
    section, student = context.recipe.search, context.recipe.student
    assert section is not None
    reference = context.create(student, where="student")
    given: dict[str, Any] = {
        "reference": reference.table if reference.table is not None else student.model,
        "num_classes": context.num_classes,
        "picture_size": context.splits.image_size,
        "small_images": student.small_images,
    }
    for name in ({"name"} | given.keys()) & section.options.keys():
        raise InputError(f"search.options.{name}: is no option of a space; the recipe and its data say it already")
    return open_space(section.space, **given, **section.options)


def objective_of(context: Context) -> Objective:
    """What the recipe's search maximises."""
    section = context.recipe.search
    assert section is not None
    if section.objective == "accuracy":
        return Objective()
    target = section.target_latency_ms or search_ceilings(context).max_latency_ms
    return Objective(section.objective, target, section.alpha, section.beta)


def search(context: Context) -> StageRecord:
    """Search the student's architecture under the budget; the result holds the study and the best `architecture`."""
    section = context.recipe.search
    assert section is not None
    inputs = context.inputs(
        "data", "augment", "student", "train", "budget", "search", seed=section.seed, task=context.recipe.task
    )
    # how many processes train, and where the ledger and the table lie, changes no result
    for without_effect in ("workers", "engine", "ray", "storage", "latency_table"):
        inputs["search"].pop(without_effect)
    if section.latency != "device":
        inputs["latency_table"] = table_key(section)
    if context.recipe.adapt is not None:
        inputs["ceilings"] = asdict(search_ceilings(context))
    if section.proxy.distill:
        from limbeck.pipeline.distill import lesson_before_search  # which itself needs the student that is found here

        teachers = lesson_before_search(context.recipe).teachers.values()
        inputs |= context.inputs("distill", seed=section.seed)
        inputs |= {f"after {stage}": context.folder.need(stage).fingerprint for stage in teachers}
    if section.seed_weights:
        inputs["seed_weights"] = weights_key(section.seed_weights)

    def work(folder: Path) -> dict[str, Any]:
        space, objective, proxy = space_of(context), objective_of(context), section.proxy
        reference = space.network(space.reference)
        timed = open_latency_source(context, section, reference, folder, where="search")
        takes = "lies beyond the table" if timed.reference_ms is None else f"takes {timed.reference_ms:.3g} ms"
        say(f"search: {space.size:,} networks; the reference {takes}")

        def time_candidates(points: list[dict[str, Any]]) -> list[CandidateCost | Exception]:
            found = timed.time([space.candidate(point) for point in points])
            return [one if isinstance(one, Exception) else _cost(one) for one in found]

        def cheap_cost(point: dict[str, Any]) -> tuple[int, int]:
            candidate = space.candidate(point)
            return candidate.params(), candidate.macs()

        evaluate = ProxyEvaluation(OpenedRun.of(context))
        if evaluate.seed is not None:
            why_not = start_from(evaluate.seed, space.network(space.reference))
            how = f"start fresh: {why_not}" if why_not else "inherit the seed network's weights by cropping"
            say(f"search: candidates {how}")
        try:
            with bar("search", section.trials, unit="candidate") as progress:
                study = run_study(
                    space,
                    folder=folder,
                    sampler=section.sampler,
                    sampler_options=section.sampler_options,
                    objective=objective,
                    halving=None if proxy.halving is None else Halving(proxy.halving, proxy.rungs),
                    trials=section.trials,
                    batch=section.batch,
                    seed=section.seed,
                    ceilings=search_ceilings(context),
                    time_candidates=time_candidates,
                    cheap_cost=cheap_cost,
                    evaluate=evaluate,
                    workers=section.workers,
                    evaluator=open_workers(context, section, evaluate.run, "search"),
                    storage=storage_url(section.storage),
                    higher_is_better=context.task.higher_is_better,
                    identity={
                        "inputs": fingerprint({k: v for k, v in inputs.items() if k != "search"}),
                        "proxy": inputs["search"]["proxy"],
                    },
                    on_event=_tell(context, progress),
                )
        finally:
            shutil.rmtree(folder / "probes", ignore_errors=True)
        shutil.rmtree(folder / "candidates", ignore_errors=True)
        tree = study.as_json()
        for trial in tree["trials"]:
            trial["rows"] = _rows(space, trial["point"])
        tree |= {"space": space.name, "size": space.size, "reference": _reference_row(tree["trials"])}
        if section.retrain_top > 0:
            tree["best"] = _retrain(context, tree, evaluate, objective, folder / "top")
        best = tree["best"]
        numbers = {best["number"], *(one["number"] for one in tree.get("retrained", ()))}
        chosen = {one["number"]: space.candidate(one["point"]) for one in tree["trials"] if one["number"] in numbers}
        try:
            tree["latencies"] = timed.as_json(chosen)
        finally:
            shutil.rmtree(folder / "probes", ignore_errors=True)
        found = space.candidate(best["point"])
        return {"study": tree, "architecture": found.to_json() if isinstance(found, Table) else found.architecture()}

    return context.folder.do("search", inputs, work, world=context.world)


def _retrain(
    context: Context, tree: dict[str, Any], proxy: ProxyEvaluation, objective: Objective, folder: Path
) -> dict[str, Any]:
    """Train the best candidates as long as the student, write what they reach into `tree`, and return the best one's trial.

    Each is kept as it ends, so that a search that is killed here goes on with the next.
    """
    section, train, sign = context.recipe.search, context.recipe.train, 1.0 if context.task.higher_is_better else -1.0
    evaluate = context.evaluator(train.device)
    assert section is not None
    assert evaluate is not None  # resolve refuses a search without a validation split

    def worth(trial: dict[str, Any], accuracy: float) -> tuple[float, float]:
        return sign * objective.score(accuracy, trial["latency_ms"]), -trial["latency_ms"]

    own = [one for one in tree["trials"] if one["state"] == "complete" and one["reused"] is None]
    top = sorted(own, key=lambda one: worth(one, one["accuracy"]), reverse=True)[: section.retrain_top]
    reached = []
    for place, trial in enumerate(top, start=1):
        kept = folder / fingerprint(trial["point"])
        if not (kept / "accuracy.json").exists():
            say(f"search: retrains candidate {place} of {len(top)} in full")
            network = proxy.network(trial["point"], section.seed)
            name = f"candidate {place}"
            train_objective(context, network, train, kept / "fit", seed=section.seed, name=name, is_shared=False)
            write_json(kept / "accuracy.json", evaluate(network)[context.task.primary])
            shutil.rmtree(kept / "fit", ignore_errors=True)
        reached.append(read_json(kept / "accuracy.json"))
    tree["retrained"] = [
        {"number": trial["number"], "proxy": trial["accuracy"], "accuracy": accuracy}
        for trial, accuracy in zip(top, reached, strict=True)
    ]
    return max(zip(top, reached, strict=True), key=lambda pair: worth(*pair))[0]


def cheapest_network(context: Context) -> Network:
    """The network of the space with the fewest MACs, found choice by choice: what no budget may be below."""
    space = space_of(context)
    point = dict(space.reference)

    def macs(changed: dict[str, Any]) -> float:
        try:
            return space.candidate(changed).macs()
        except InputError:  # of a space that cannot build all that it names; the search fails such candidates
            return math.inf

    for choice, ids in space.choices.items():
        point[choice] = min(ids, key=lambda one: macs({**point, choice: one}))
    return space.network(point)


def seed_network(context: Context) -> Network | None:
    """The trained or pretrained network whose weights candidates inherit; None where the recipe names none."""
    section, student = context.recipe.search, context.recipe.student
    if section is not None and not section.inherit:
        return None
    if section is not None and section.seed_weights:
        return load_given(section.seed_weights, context, where="search.seed_weights", same_classes=False)
    if student.pretrained:
        return context.create(student, where="student")
    return None


def student_network(context: Context) -> Network:
    """A fresh student: the search's best architecture, or the recipe's own; the same weights for every training of a seed."""
    torch.manual_seed(context.recipe.seed)
    if context.recipe.search is None:
        return context.create(context.recipe.student, where="student")
    network = build_described(context.folder.need("search").result["architecture"], "search")
    seed = seed_network(context)
    if seed is not None:
        start_from(seed, network)
    return network


def start_from(seed: Network, network: Network) -> str:
    """Crop the seed's weights into a network that shall be trained; why it starts fresh, where modules have nothing alike."""
    try:
        inherit_weights(seed, network)
    except InputError as error:
        if seed.table is not None and network.table is not None:
            raise
        return str(error)
    return ""


@dataclass
class ProxyEvaluation:
    """The short training that scores a candidate; picklable, so that worker processes can do it too."""

    run: OpenedRun

    def __getstate__(self) -> dict[str, Any]:
        return {"run": self.run}  # not the seed network: each process reads its own

    @property
    def seed(self) -> Network | None:
        """The network whose weights candidates inherit."""
        if not hasattr(self, "_seed"):
            self._seed = seed_network(self.run.open())
        return self._seed

    def network(self, point: dict[str, Any], seed: int) -> Network:
        """A candidate as its training starts."""
        torch.manual_seed(seed)
        network = space_of(self.run.open()).network(point)
        if self.seed is not None:
            start_from(self.seed, network)
        return network

    def __call__(self, point: dict[str, Any], seed: int, share: float = 1.0) -> Evaluation:
        """Train one candidate for the proxy's few epochs, or a share of them, and return its accuracy on validation."""
        context, started = self.run.open(), time.perf_counter()
        section = context.recipe.search
        assert section is not None
        network = self.network(point, seed)
        folder = context.folder.stage("search") / "candidates" / fingerprint([point, seed, share])
        proxy = section.proxy.model_copy(update={"epochs": max(1, round(section.proxy.epochs * share))})
        figures = train_briefly(context, network, proxy, folder, seed=seed, threads=threads_beside(section))
        return Evaluation(
            "complete",
            accuracy=figures[context.task.primary],
            seconds=time.perf_counter() - started,
            metrics={name: value for name, value in figures.items() if name != context.task.primary},
        )


def _rows(space: Space, point: dict[str, Any]) -> str | None:
    """A candidate's rows in words; None where it has none, or could not be built."""
    try:
        candidate = space.candidate(point)
    except InputError:  # the study has the reason
        return None
    return candidate.rows_text() if isinstance(candidate, Table) else None


def _cost(timed: dict[str, Any]) -> CandidateCost:
    return CandidateCost(
        latency_ms=timed["latency_ms"],
        size_bytes=timed.get("size_bytes"),
        peak_memory_bytes=timed.get("peak_memory_bytes"),
        metrics={name: timed[name] for name in ("raw_ms", "ratio") if name in timed},
    )


def _reference_row(trials: list[dict[str, Any]]) -> dict[str, Any]:
    first = trials[0]  # a study tries the reference first
    return {key: first[key] for key in ("number", "accuracy", "latency_ms")}


def _tell(context: Context, progress: Bar) -> Any:
    section, ceiling = context.recipe.search, search_ceilings(context).max_latency_ms
    assert section is not None
    trials, early = section.trials, min(EARLY * section.batch, section.trials)
    over: list[bool] = []  # of the candidates so far, whether they were over the ceiling on latency

    def on_event(event: str, record: dict[str, Any]) -> None:
        if event == "resumed":
            over.extend([False] * record["finished"])
        elif event == "finished" and section.sampler == "controller" and ceiling is not None:
            over.append((record.get("latency_ms") or 0.0) > ceiling)
            if len(over) == early and sum(over) > early / 2:
                say(
                    f"search: {sum(over)} of the first {early} candidates are over the ceiling of {ceiling:.3g} ms and teach "
                    "the controller nothing; with objective = 'reward' and target_latency_ms, and budget.max_latency_ms "
                    "left out or far above it, all of them do"
                )
        if event in ("resumed", "finished"):
            progress.advance(record["finished"] if event == "resumed" else 1)
        if event == "resumed":
            say(f"search: goes on with {record['finished']} of {record['trials']} candidates done")
        elif event == "finished":
            figures = f"{record['accuracy']:.4f}" if record.get("accuracy") is not None else record.get("reason", "")
            latency = f", {record['latency_ms']:.3g} ms" if record.get("latency_ms") is not None else ""
            say(f"search: candidate {record['slot'] + 1} of {trials}: {figures}{latency}")
        elif event == "exhausted":
            say("search: the space holds no further candidate within the ceilings")

    return on_event
