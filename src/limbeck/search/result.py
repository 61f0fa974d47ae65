"""What a search found, as plain data. Nothing here asks, tells or runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from limbeck.errors import InputError
from limbeck.search.ceilings import Ceilings
from limbeck.search.ledger import Candidate
from limbeck.search.pareto import pareto_front
from limbeck.search.reward import Objective

__all__ = ["StudyResult", "make_result"]


@dataclass(frozen=True)
class StudyResult:
    """What a search found.

    Attributes:
        trials: one record per candidate in the order in which they were asked: number, slot (None where parameters or
            MACs rejected it and the slot was filled by another), state (`complete`, `pruned`, `failed`), point,
            accuracy, reward (None where accuracy itself is maximised), latency_ms, params, macs, size_bytes, peak_memory_bytes, reason,
            seconds, reused (number of the trial whose result it took over), metrics. Among these are `policy_entropy`,
            where the controller drew it, and `rung1` ..., the accuracies of the shorter trainings before the whole one.
            Trials that a killed driver lost are left out: they were asked again.
        best: the record of the most accurate complete one (of the highest reward, where there is one), of equals the
            faster.
        front: indices into `trials` of the Pareto set of accuracy against latency, from the fastest on.
        sampler: its name.
        asked: candidates asked for, rejected ones included.
        seconds: wall time by phase, over every start of the search: `timing`, `training`, `other`.
    """

    trials: list[dict[str, Any]]
    best: dict[str, Any]
    front: list[int]
    sampler: str
    asked: int
    seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The form of `report.json`'s `search` entry."""
        return asdict(self)


def make_result(
    candidates: Sequence[Candidate],
    *,
    ceilings: Ceilings,
    sampler: str,
    seconds: dict[str, float],
    higher_is_better: bool,
    objective: Objective,
) -> StudyResult:
    """Sum up the candidates of a study.

    Raises:
        InputError: none is complete; says how near the nearest came.
    """
    ordered = sorted(candidates, key=lambda candidate: (candidate.slot, candidate.attempt))
    trials = [_record(candidate, objective) for candidate in ordered]
    complete = [index for index, trial in enumerate(trials) if trial["state"] == "complete"]
    if not complete:
        raise InputError(_explain_nothing(trials, ceilings))
    sign = 1.0 if higher_is_better else -1.0
    scored = "accuracy" if objective.form == "accuracy" else "reward"
    best = min(complete, key=lambda index: (-sign * trials[index][scored], trials[index]["latency_ms"], index))
    trained = [index for index in complete if trials[index]["reused"] is None]
    pairs = [(trials[index]["accuracy"], trials[index]["latency_ms"]) for index in trained]
    front = [trained[place] for place in pareto_front(pairs, higher_is_better=higher_is_better)]
    return StudyResult(trials, trials[best], front, sampler, len(trials), seconds)


def _record(candidate: Candidate, objective: Objective) -> dict[str, Any]:
    cost, outcome = candidate.cost, candidate.outcome
    rungs = {f"rung{place}": rung["accuracy"] for place, rung in enumerate(candidate.rungs, start=1)}
    is_rewarded = objective.form != "accuracy" and outcome.get("accuracy") is not None
    return {
        "number": candidate.number,
        "slot": None if candidate.rejected else candidate.slot,
        "state": candidate.state,
        "point": dict(candidate.point),
        "accuracy": outcome.get("accuracy"),
        "reward": objective.score(outcome["accuracy"], cost["latency_ms"]) if is_rewarded else None,
        "latency_ms": cost.get("latency_ms"),
        "params": cost.get("params"),
        "macs": cost.get("macs"),
        "size_bytes": cost.get("size_bytes"),
        "peak_memory_bytes": cost.get("peak_memory_bytes"),
        "reason": outcome.get("reason", ""),
        "seconds": outcome.get("seconds", 0.0),
        "reused": outcome.get("reused"),
        "metrics": {**candidate.drawn, **rungs, **cost.get("metrics", {}), **outcome.get("metrics", {})},
    }


def _explain_nothing(trials: list[dict[str, Any]], ceilings: Ceilings) -> str:
    """One line on why no candidate is left, from the figure that came nearest to its ceiling."""
    failed = [trial for trial in trials if trial["state"] == "failed"]
    if failed and len(failed) == sum(trial["slot"] is not None for trial in trials):
        return f"search: all {len(failed)} candidates failed; the first: {failed[0]['reason']}"
    pruned = [trial for trial in trials if trial["state"] == "pruned"]
    nearest = []
    for name, words in (
        ("latency_ms", "the fastest has {} ms"),
        ("size_bytes", "the smallest file has {} bytes"),
        ("peak_memory_bytes", "the least needs {} bytes of memory"),
        ("params", "the smallest has {} parameters"),
        ("macs", "the lightest has {} MACs"),
    ):
        bound = getattr(ceilings, f"max_{name}")
        figures = [trial[name] for trial in pruned if trial[name] is not None]
        if bound is not None and figures and min(figures) > bound:
            least = min(figures)
            nearest.append(words.format(f"{least:.4g}" if isinstance(least, float) else f"{least:,}"))
    found = "; ".join(nearest) or (pruned[0]["reason"] if pruned else "no candidate was asked")
    also = f", and {len(failed)} failed" if failed else ""
    return (
        f"search: none of {len(trials)} candidates is within the budget ({ceilings.describe()}){also}: {found}; "
        "raise the budget, or give the space smaller choices"
    )
