"""The sections on search and adaptation of `report.json`, from what these stages left. Wording and drawing are the report room's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from limbeck.adapt.widths import split_rows, width_groups
from limbeck.files import read_json
from limbeck.models import Table, load_network
from limbeck.pipeline.budget import search_ceilings
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.search import objective_of, space_of
from limbeck.search import Objective
from limbeck.search.pareto import pareto_front

__all__ = ["adapt_section", "layers_of", "search_section"]

MOST_DRAWN = 6
MOST_REASONS = 6

Trials = list[dict[str, Any]]


def search_section(context: Context, record: StageRecord | None) -> dict[str, Any] | None:
    """The `search` entry; None without a search."""
    if record is None:
        return None
    section, budget, study = context.recipe.search, context.recipe.budget, record.result["study"]
    assert section is not None
    objective, sign = objective_of(context), 1.0 if context.task.higher_is_better else -1.0
    trials = [{**trial, "reused": trial["reused"] is not None} for trial in study["trials"]]
    front = [study["trials"][index]["number"] for index in study["front"]]
    best = study["best"]["number"]
    retrained = study.get("retrained") or []
    return {
        **study,
        "trials": trials,
        "front": front,
        "best": best,
        "sampler_options": section.sampler_options,
        "objective": asdict(objective) if objective.form != "accuracy" else {"form": "accuracy"},
        "seed": section.seed,
        "ceiling_ms": search_ceilings(context).max_latency_ms,
        "statistic": budget.statistic,
        "fronts": fronts_of(trials, higher_is_better=sign > 0),
        "reasons": reasons_of(trials),
        "rules": rules_of(trials, objective),
        "rank_correlation": rank_correlation([(one["proxy"], one["accuracy"]) for one in retrained]),
        "networks": _networks(context, trials, front, best, study["reference"]["number"]),
    }


def fronts_of(trials: Trials, *, higher_is_better: bool) -> list[dict[str, Any]]:
    """The Pareto front as it stood after a quarter, a half and all of the candidates that filled a slot."""
    tried = [trial for trial in trials if trial["slot"] is not None]
    found = []
    for after in sorted({-(-len(tried) * quarters // 4) for quarters in (1, 2, 4)}):
        own = [one for one in tried[:after] if one["state"] == "complete" and not one["reused"]]
        pairs = [(one["accuracy"], one["latency_ms"]) for one in own]
        places = pareto_front(pairs, higher_is_better=higher_is_better)
        found.append({"after": after, "front": [own[place]["number"] for place in places]})
    return found


def reasons_of(trials: Trials) -> list[dict[str, Any]]:
    """The commonest reasons why candidates were not scored, those that differ in figures alone together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for trial in trials:
        if trial["state"] != "complete" and trial["reason"]:
            kind = re.sub(r"\d[\d,.]*", "#", trial["reason"])
            state = "rejected" if trial["slot"] is None else trial["state"]
            groups.setdefault((state, kind), []).append(trial["reason"])
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))[:MOST_REASONS]
    return [{"state": state, "count": len(texts), "example": texts[0]} for (state, _), texts in ordered]


def rules_of(trials: Trials, objective: Objective) -> dict[str, Any] | None:
    """What the highest reward and what a hard bound on latency would choose; None where accuracy itself was maximised."""
    if objective.form == "accuracy" or objective.target_ms is None:
        return None
    own = [one for one in trials if one["state"] == "complete" and not one["reused"]]
    within = [one for one in own if one["latency_ms"] <= objective.target_ms]

    def best(of: Trials, figure: str) -> int | None:
        return min(of, key=lambda one: (-one[figure], one["latency_ms"]))["number"] if of else None

    return {"target_ms": objective.target_ms, "soft": best(own, "reward"), "hard": best(within, "accuracy")}


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one side is all alike."""
    if len(pairs) < 3 or any(len({pair[side] for pair in pairs}) == 1 for side in (0, 1)):
        return None
    return float(spearmanr([pair[0] for pair in pairs], [pair[1] for pair in pairs]).statistic)


def _networks(
    context: Context, trials: Trials, front: list[int], best: int, reference: int | None
) -> list[dict[str, Any]]:
    """The chosen one, the reference, and as many of the front as there is room for, from end to end, by latency."""
    known = {trial["number"]: trial for trial in trials}
    shown = [number for number in dict.fromkeys((best, reference)) if number in known]
    others = [number for number in front if number not in shown]
    room = MOST_DRAWN - len(shown)
    if len(others) > room:
        others = [others[round(place * (len(others) - 1) / (room - 1))] for place in range(room)]
    space, drawn = space_of(context), []
    for number in sorted([*shown, *others], key=lambda number: known[number]["latency_ms"] or 0.0):
        built = space.build(known[number]["point"])  # a space may also build networks that are no tables
        drawn.append({"number": number, "layers": layers_of(built) if isinstance(built, Table) else []})
    return drawn


def layers_of(table: Table) -> list[dict[str, Any]]:
    """A network block by block, from the stem to the classifier, as the report draws it."""
    table = split_rows(table)
    plans = [plan for (plan,) in table.blocks()]
    layers = []
    for place, (name, cost) in enumerate(table.row_costs().items()):
        shape = {"out_channels": cost.channels, "height": cost.height, "width": cost.width}
        if place < len(plans):
            plan = plans[place]
            layers.append(
                {
                    "block": plan.block,
                    **shape,
                    "hidden_channels": plan.hidden_channels if plan.expands else None,
                    "kernel_size": plan.kernel_size,
                    "start_kernel_size": plan.start_kernel_size,
                    "stride": plan.stride,
                    "squeeze_channels": plan.squeeze_channels,
                    "skip": plan.skip,
                    "activation": plan.activation,
                }
            )
        elif name == "head.conv":
            layers.append({"block": "conv", **shape, "kernel_size": 1})
        else:
            layers.append({"block": "linear", **shape})
    return layers


def adapt_section(context: Context, record: StageRecord | None) -> dict[str, Any] | None:
    """The `adapt` entry; None without an adaptation."""
    if record is None:
        return None
    section, adaptation = context.recipe.adapt, record.result["adaptation"]
    assert section is not None
    stage = context.folder.stage("adapt")
    iterates, seconds = [], {"timing": 0.0, "tuning": 0.0}
    for one in adaptation["iterates"]:
        kept = read_json(stage / one["folder"] / "iterate.json")
        for phase, spent in kept.get("seconds", {}).items():
            seconds[phase] = seconds.get(phase, 0.0) + spent
        proposals = [{key: p[key] for key in ("what", "latency_ms", "accuracy")} for p in kept.get("proposals", [])]
        folder = (stage / one["folder"]).relative_to(context.folder.path).as_posix()
        iterates.append({**one, "folder": folder, "proposals": proposals})
    first, last = (_table(stage / one["folder"]) for one in (adaptation["iterates"][0], adaptation["iterates"][-1]))
    return {
        "iterates": iterates,
        "ended": adaptation["ended"],
        "target_ms": adaptation["target_ms"],
        "statistic": context.recipe.budget.statistic,
        "rule": section.rule,
        "metric": context.task.primary,
        "higher_is_better": context.task.higher_is_better,
        "latencies": adaptation.get("latencies"),
        "seconds": {phase: round(spent, 3) for phase, spent in seconds.items()},
        "widths": shrunk(first, last),
        "first": {"layers": layers_of(first)},
        "last": {"layers": layers_of(last)},
    }


def _table(folder: Path) -> Table:
    table = load_network(folder).table
    assert table is not None  # only networks from tables are adapted
    return table


def shrunk(first: Table, last: Table) -> list[dict[str, Any]]:
    """The widths of which the last network has other channels than the first, in the order of the blocks.

    Args:
        first: the seed of an adaptation.
        last: the same graph with other widths.
    """
    before, after = ([plan for (plan,) in split_rows(table).blocks()] for table in (first, last))
    found = []
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if old.expands and old.hidden_channels != new.hidden_channels:
            found.append(("expansion", [place], old.hidden_channels, new.hidden_channels))
    for group in width_groups(split_rows(first)):
        places = [0 if name == "stem" else int(name.removeprefix("row")) + 1 for name in group.members]
        if group.width != (width := after[places[0]].out_channels):
            found.append(("width", places, group.width, width))
    keys = ("kind", "blocks", "before", "after")
    return [dict(zip(keys, one, strict=True)) for one in sorted(found, key=lambda one: one[1])]
