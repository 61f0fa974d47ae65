"""Samplers side by side on one space, over seeds: how near the best they came, and how fast. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import Any

from limbeck.errors import InputError
from limbeck.search.ceilings import Ceilings
from limbeck.search.own_evaluation import EvaluateAnything, OwnEvaluation
from limbeck.search.pareto import hypervolume
from limbeck.search.reward import Objective
from limbeck.search.samplers import History, check_sampler, quiet_optuna
from limbeck.search.space import Space

__all__ = ["SamplerComparison", "compare_samplers"]

LAST = 50  # evaluations whose mean says what a sampler proposes in the end
FIGURES = ("regret", "hypervolume", "last_reward", "distinct")


@dataclass(frozen=True)
class SamplerComparison:
    """What several samplers reached with as many evaluations.

    Attributes:
        runs: one record per sampler and seed: `sampler`, `seed`; `regret` (the optimum less the best score found);
            `hypervolume` (of accuracy over latency, as a share of the box between the worst and the best of both);
            `last_reward` (mean score of the last 50 evaluations); `distinct` (points that differ); `best` (after each
            evaluation, the best score so far).
        optimum: the score that regret is counted from.
        is_optimum_known: whether it is that of the whole space, or only the best that any of these runs found.
        evaluations: of each run.
    """

    runs: list[dict[str, Any]]
    optimum: float
    is_optimum_known: bool
    evaluations: int

    def summary(self) -> dict[str, dict[str, dict[str, float]]]:
        """Sampler -> figure -> `mean` and `std` (of the population) over the seeds."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for sampler in dict.fromkeys(run["sampler"] for run in self.runs):
            mine = [run for run in self.runs if run["sampler"] == sampler]
            found[sampler] = {
                name: {"mean": fmean(run[name] for run in mine), "std": pstdev([run[name] for run in mine])}
                for name in FIGURES
            }
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {**asdict(self), "summary": self.summary()}

    def __str__(self) -> str:
        """A line per sampler: the mean and the standard deviation of each figure."""
        lines = [f"{'sampler':20}" + "".join(f"{name:>22}" for name in FIGURES)]
        for sampler, figures in self.summary().items():
            told = (f"{figures[name]['mean']:.4g} +- {figures[name]['std']:.2g}" for name in FIGURES)
            lines.append(f"{sampler:20}" + "".join(f"{one:>22}" for one in told))
        return "\n".join(lines)


def compare_samplers(
    space: Space,
    evaluate: EvaluateAnything,
    samplers: Sequence[str] | Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    evaluations: int = 600,
    *,
    objective: Objective | None = None,
    on_run: Callable[[dict[str, Any]], None] | None = None,
) -> SamplerComparison:
    """Let every sampler search the space with every seed, each evaluation after the other.

    A repeated point counts as an evaluation, as it fills a slot of a search. No ceiling is in force.

    Args:
        space: what is searched.
        evaluate: point -> `accuracy` and `latency_ms`; a pure function, called as `search_space` does. One with a method
            `all` that returns both of every point, such as `read_tabular`'s, makes regret and hypervolume those of the whole space.
        samplers: names as in `run_study`; or label -> `{"sampler": NAME, ...}` with the sampler's options beside it.
        seeds: of the samplers.
        evaluations: of each run.
        objective: what is maximised; None = accuracy.
        on_run: told of each run's record as it ends.

    Raises:
        InputError: no such sampler, an option that it does not take, an empty list, or a figure that is missing or cannot
            be.

    Example:
        >>> space = Space("toy", {"a": (0, 1, 2), "b": (0, 1, 2)}, dict, {"a": 0, "b": 0})
        >>> found = compare_samplers(
        ...     space, lambda p: {"accuracy": p["a"] / 2, "latency_ms": 1.0 + p["b"]}, ["random"], [0, 1], 30
        ... )
        >>> found.summary()["random"]["regret"]
        {'mean': 0.0, 'std': 0.0}
    """
    objective = objective or Objective()
    asked = dict(samplers) if isinstance(samplers, Mapping) else {name: {"sampler": name} for name in samplers}
    if not asked or not seeds or evaluations < 1:
        raise InputError("compare_samplers: needs at least one sampler, one seed and one evaluation")
    for label, one in asked.items():
        if "sampler" not in one:
            raise InputError(f"compare_samplers: samplers['{label}'] needs the key 'sampler'")
        check_sampler(one["sampler"], _options(one))
    known: list[tuple[float, float]] | None = evaluate.all() if hasattr(evaluate, "all") else None
    traces: list[tuple[str, int, list[tuple[float, float]], int]] = []
    for label, one in asked.items():
        for seed in seeds:
            with quiet_optuna():
                trace, distinct = _search(space, evaluate, one, seed, evaluations, objective)
            traces.append((label, seed, trace, distinct))
            if on_run is not None:
                best = max(objective.score(*pair) for pair in trace)
                on_run({"sampler": label, "seed": seed, "best": best, "distinct": distinct})
    everything = known or [pair for _, _, trace, _ in traces for pair in trace]
    optimum = max(objective.score(*pair) for pair in everything)
    runs = [
        {"sampler": label, "seed": seed, **_figures(trace, everything, optimum, objective), "distinct": distinct}
        for label, seed, trace, distinct in traces
    ]
    return SamplerComparison(runs, optimum, known is not None, evaluations)


def _options(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in asked.items() if key != "sampler"}


def _search(
    space: Space,
    evaluate: EvaluateAnything,
    asked: Mapping[str, Any],
    seed: int,
    evaluations: int,
    objective: Objective,
) -> tuple[list[tuple[float, float]], int]:
    """(accuracy, latency_ms) of each evaluation, in order, and how many points differ."""
    history = History(space, sampler=asked["sampler"], seed=seed, options=_options(asked))
    own = OwnEvaluation(evaluate, Ceilings())
    trace: list[tuple[float, float]] = []
    seen = set()
    for slot in range(evaluations):
        point, _ = history.draw(slot, 0)
        found = own.figures(point, seed=seed, share=1.0)
        accuracy, latency = found["accuracy"], found["latency_ms"]
        history.add(point, "complete", score=objective.score(accuracy, latency), latency_ms=latency, constraints=())
        trace.append((accuracy, latency))
        seen.add(tuple(point.values()))
    return trace, len(seen)


def _figures(
    trace: list[tuple[float, float]],
    everything: Sequence[tuple[float, float]],
    optimum: float,
    objective: Objective,
) -> dict[str, Any]:
    scores = [objective.score(*pair) for pair in trace]
    best, so_far = [], scores[0]
    for score in scores:
        so_far = max(so_far, score)
        best.append(so_far)
    accuracies, latencies = zip(*everything, strict=True)
    worst = (min(accuracies), max(latencies))
    box = (max(accuracies) - worst[0]) * (worst[1] - min(latencies))
    return {
        "regret": optimum - best[-1],
        "hypervolume": hypervolume(trace, worst) / box if box else 1.0,
        "last_reward": fmean(scores[-LAST:]),
        "best": best,
    }
