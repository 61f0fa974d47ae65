"""What the page shows of a search and of an adaptation: which figures, which rows of which tables. No HTML, no drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limbeck.report import candidates, numerals
from limbeck.report.charts import Bar
from limbeck.report.networks import BLOCKS, network_picture, widest_of
from limbeck.report.numerals import amount, figure, milliseconds, percent, three
from limbeck.report.schema import Report
from limbeck.report.searching import Adaptation, Latencies, Layer, Study, Trial
from limbeck.report.tables import Cell, Table, ordered_trials

__all__ = ["adapt_view", "search_view", "searches_table", "time_bars"]

STATES = (("complete", "scored"), ("pruned", "pruned"), ("rejected", "rejected untimed"), ("failed", "failed"))


def search_view(study: Study | None, *, higher_is_better: bool = True) -> dict[str, Any] | None:
    """What the section on the search needs; None without candidates."""
    if study is None or not study.trials:
        return None
    drawn = study.networks or []
    widest = widest_of(drawn)
    networks = []
    for network in drawn:
        trial = study.trial(network.number)
        name = f"Candidate {network.number}"
        picture = network_picture(network, title=f"{name}, block by block", widest=widest)
        if trial is not None:  # without blocks, as of a network that is no table, it is told by the point searched
            lines = [] if picture is not None else candidates.architecture_lines(trial)
            told = {"name": name, "roles": _roles(study, trial), "trial": trial}
            networks.append({**told, "picture": picture, "lines": lines})
    return {
        "trials": ordered_trials(study.trials),
        "counts": _counts(study),
        "reused": sum(bool(trial.reused) for trial in study.trials),
        "progress": candidates.progress_chart(study, higher_is_better=higher_is_better),
        "scored_by": "reward" if any(trial.reward is not None for trial in study.trials) else "accuracy",
        "fronts": candidates.fronts_chart(study),
        "ages": [front.after for front in study.fronts or [] if front.front],
        "entropy": candidates.entropy_chart(study),
        "retrained_chart": candidates.retrained_chart(study),
        "retrained": _retrained_table(study),
        "rules": _rules(study),
        "latencies": latencies_text(study.latencies, "candidate"),
        "networks": networks,
        "blocks": _legend([layer for network in drawn for layer in network.layers]),
    }


def adapt_view(adaptation: Adaptation | None) -> dict[str, Any] | None:
    """What the section on the adaptation needs; None without a network."""
    if adaptation is None or not adaptation.iterates:
        return None
    first, last = adaptation.first, adaptation.last
    networks = []
    if first is not None and last is not None:
        widest = widest_of([first, last])
        pictures = [("Seed", first, None)] + ([("Adapted", last, first)] if len(adaptation.iterates) > 1 else [])
        for name, network, before in pictures:
            one = adaptation.iterates[0 if before is None else -1]
            picture = network_picture(network, title=f"{name}, block by block", widest=widest, before=before)
            if picture is not None:
                networks.append({"name": name, "iterate": one, "picture": picture})
    return {
        "told": adapt_text(adaptation),
        "latencies": latencies_text(adaptation.latencies, "step"),
        "chart": candidates.adapt_chart(adaptation),
        "has_proposals": any(one.proposals for one in adaptation.iterates),
        "steps": _steps_table(adaptation),
        "networks": networks,
        "widths": [_width_text(one.kind, one.blocks, one.before, one.after) for one in adaptation.widths or []],
        "blocks": _legend([layer for network in (first, last) if network for layer in network.layers]),
    }


def adapt_text(adaptation: Adaptation) -> str:
    """How far the adaptation came, and why it ended there."""
    first, last, count = adaptation.iterates[0], adaptation.iterates[-1], len(adaptation.iterates) - 1
    target = f"the target of {milliseconds(adaptation.target_ms)}"
    if not count and adaptation.ended == "target":
        return f"The seed takes {milliseconds(first.latency_ms)}, within {target}: nothing was changed."
    why = {
        "target": f"{target} is reached",
        "steps": f"{target} is not reached: the steps that the recipe allows are used up",
        "exhausted": f"{target} is not reached: no width is left whose change makes it enough faster",
    }.get(adaptation.ended or "", f"{target} was aimed at")
    steps = "1 step" if count == 1 else f"{count} steps"
    return f"{steps} from {milliseconds(first.latency_ms)} to {milliseconds(last.latency_ms)}; {why}."


def latencies_text(latencies: Latencies | None, kind: str) -> str:
    """How far latencies can be believed that were not taken on the device; empty where they were."""
    if latencies is None or latencies.source == "device":
        return ""
    text = f"told by {'a table of kernels' if latencies.source == 'table' else 'a predictor'}"
    text += f" ({latencies.table})" if latencies.table else ""
    error = latencies.error or {}
    near, count = error.get("within_10"), error.get("networks")
    if near is not None and count is not None:
        text += f", within 10 % for {100 * near:.0f} % of {count:.0f} networks that it was not fitted to"
    told = [
        f"{kind} {one.number} told {milliseconds(one.told_ms)}, takes {milliseconds(one.measured_ms)}"
        for one in latencies.beside or []
    ]
    return f"{text}. On the device: {'; '.join(told)}" if told else text


def time_bars(report: Report) -> list[Bar]:
    """Wall time by stage; that of a search and an adaptation by phase, where it is known."""
    search, adapt = report.search, report.adapt
    known = {
        "search": search.seconds if search and isinstance(search.seconds, dict) else {},
        "adapt": (adapt.seconds or {}) if adapt else {},
    }
    bars = []
    for stage in report.stages or []:
        found = known.get(stage.name, {})
        phases = {str(k): float(v) for k, v in found.items() if isinstance(v, (int, float)) and v > 0}
        whole = stage.seconds or 0.0
        if phases and (rest := whole - sum(phases.values())) > 0:  # such as the retraining of the best
            phases["other"] = phases.get("other", 0.0) + rest
        bars.append(Bar(stage.name, phases or {"": whole}))
    return bars


def searches_table(names: Sequence[str], reports: Sequence[Report]) -> Table | None:
    """What the searches of several runs found, side by side; None where fewer than two of them searched.

    Nothing is marked as best: they may have had other budgets, targets and trainings.
    """
    rows = []
    for name, report in zip(names, reports, strict=True):
        study = report.search
        if study is None or not study.trials:
            continue
        best, goal = study.trial(study.best), study.objective
        spent = study.seconds
        if isinstance(spent, dict):
            spent = sum(value for value in spent.values() if isinstance(value, (int, float)))
        cells = [
            study.sampler or numerals.DASH,
            goal.form if goal else numerals.DASH,
            str(len(study.trials)),
            percent(best.accuracy if best else None),
            milliseconds(best.latency_ms if best else None),
            three(best.reward) if best and best.reward is not None else numerals.DASH,
            str(len(study.front or [])),
            numerals.duration(spent),
        ]
        rows.append((name, study.space or "", [*map(Cell, cells)]))
    headings = ["sampler", "maximised", "candidates", "accuracy", "latency", "reward", "on the front", "time"]
    return Table(headings, rows) if len(rows) > 1 else None


def _counts(study: Study) -> list[tuple[str, int]]:
    """How many candidates came to which end, those that occurred."""
    ends = ["rejected" if t.state == "pruned" and t.slot is None else t.state for t in study.trials]
    known = dict(STATES)
    names = [*known, *sorted({end for end in ends if end not in known})]
    return [(known.get(name, name), ends.count(name)) for name in names if name in ends]


def _roles(study: Study, trial: Trial) -> list[str]:
    roles = ["chosen"] if trial.number == study.best else []
    if study.reference and study.reference.number == trial.number:
        roles.append("reference")
    return roles + (["Pareto front"] if trial.number in (study.front or []) else [])


def _rules(study: Study) -> dict[str, Any] | None:
    """What a soft and a hard reading of the target choose, side by side; None where one of them has nothing to say."""
    rules = study.rules
    soft = study.trial(rules.soft) if rules else None
    if rules is None or soft is None:
        return None
    hard = study.trial(rules.hard)
    headings = ["candidate", "accuracy", "latency", "against the target", "reward"]
    rows = []
    for name, note, trial in (
        ("Soft", "the highest reward", soft),
        ("Hard", "the most accurate within the target", hard),
    ):
        if trial is None:
            rows.append((name, note, [Cell("none is within the target"), *[Cell(numerals.DASH)] * 4]))
            continue
        away = None if trial.latency_ms is None else trial.latency_ms / rules.target_ms - 1
        figures = [
            percent(trial.accuracy),
            milliseconds(trial.latency_ms),
            numerals.DASH if away is None else f"{100 * away:+.0f} %",
            numerals.DASH if trial.reward is None else three(trial.reward),
        ]
        rows.append((name, note, [Cell(str(trial.number)), *map(Cell, figures)]))
    same = hard is not None and hard.number == soft.number
    return {"same": same, "number": soft.number, "target_ms": rules.target_ms, "table": Table(headings, rows)}


def _retrained_table(study: Study) -> Table | None:
    """What retrained candidates reached, the best first; None where none was retrained."""
    retrained = sorted(study.retrained or [], key=lambda one: (one.accuracy is None, -(one.accuracy or 0.0)))
    if not retrained:
        return None
    rows = []
    for one in retrained:
        trial = study.trial(one.number)
        cells = [percent(one.accuracy), percent(one.proxy), milliseconds(trial.latency_ms if trial else None)]
        rows.append((f"Candidate {one.number}", "chosen" if one.number == study.best else "", [*map(Cell, cells)]))
    return Table(["after the whole training", "after the short training", "latency"], rows)


def _steps_table(adaptation: Adaptation) -> Table:
    metric = adaptation.metric or "accuracy"
    rows = []
    for one in adaptation.iterates:
        cells = [milliseconds(one.latency_ms), figure(metric, one.accuracy), amount(one.params), amount(one.macs)]
        tried = str(len(one.proposals)) if one.proposals else numerals.DASH
        rows.append((f"{one.step}: {one.what}", one.folder or "", [*map(Cell, [*cells, tried])]))
    return Table(
        [f"{adaptation.statistic or ''} latency".strip(), numerals.spoken(metric), "parameters", "MACs", "proposals"],
        rows,
    )


def _width_text(kind: str, blocks: list[int], before: int, after: int) -> str:
    names = ["stem" if place == 0 else f"block {place}" for place in blocks]
    where = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    what = "inside" if kind == "expansion" else "out of"
    return f"{what} {where}: {before} → {after}"


def _legend(layers: list[Layer]) -> list[tuple[str, int]]:
    """Name and colour number of the kinds of block that occur."""
    occurring = {layer.block for layer in layers}
    return [(name, colour) for kind, (colour, _, name) in BLOCKS.items() if kind in occurring]
