"""Sentences on what distillation and search gained, and over what. No figures are made here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from limbeck.report.compare import Comparison, Finding, compare
from limbeck.report.numerals import change, figure, milliseconds, percent, spoken
from limbeck.report.schema import Model, Report
from limbeck.report.searching import Reference
from limbeck.report.tables import label

__all__ = [
    "judge_adaptation",
    "judge_chain",
    "judge_confidence",
    "judge_distillation",
    "judge_off_the_shelf",
    "judge_search",
    "judge_seeds",
    "judge_teacher",
]


def judge_distillation(report: Report) -> Iterator[Finding]:
    """Whether the student gained by its teacher, against the same network trained without one."""
    found = compare(report, report.model_named("student"), report.model_named("plain"))
    if found is None:
        return
    base = f"{figure(found.metric, found.first)} {spoken(found.metric)} against {figure(found.metric, found.second)}"
    is_online = any(model.peer for model in report.models)
    base += f" for the same student trained {'alone' if is_online else 'without it'}"
    if found.is_certain:
        kind, claim = ("good", "Distillation helped") if found.gain > 0 else ("bad", "Distillation hurt")
        yield kind, "distillation", f"{claim}: {base} ({found.words()})."
        return
    claim = "Distillation did not measurably help" if found.gain > 0 else "Distillation did not help"
    yield "neutral", "distillation", f"{claim}: {base}; the difference is {found.doubt} ({found.words()})."


def judge_seeds(report: Report) -> Iterator[Finding]:
    """The same over several seeds, where they were run."""
    student = report.model_named("student")
    paired = (student.seeds or {}).get("paired") if student else None
    if not isinstance(paired, dict) or paired.get("difference") is None:
        return
    metric, n, p_value = str(paired.get("metric", "top1")), paired.get("n", 0), paired.get("p_value")
    gain = paired["difference"] * (1 if paired.get("higher_is_better", True) else -1)
    text = f"Over {n} seeds the distilled student "
    if gain == 0:
        text += f"and plain have the same mean {spoken(metric)}"
    else:
        text += f"is {change(metric, gain)} {spoken(metric)} {'better' if gain > 0 else 'worse'} than plain on average"
    if p_value is not None:
        text += f" (paired t-test, p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'})"
    if paired.get("too_few"):
        yield "neutral", "seeds", f"{text}; {n} seeds are too few for a firm conclusion."
    elif p_value is None or p_value >= 0.05:
        yield "neutral", "seeds", f"{text}: within the noise between seeds."
    else:
        yield "good" if gain > 0 else "bad", "seeds", f"{text}."


def judge_teacher(report: Report) -> Iterator[Finding]:
    """How near the student comes to its teacher or its peers, and what it saves."""
    student, peers = report.model_named("student"), [model for model in report.models if model.peer]
    mean = report.model_named("teacher")
    apart = [model for model in report.models if re.fullmatch(r"teacher\d+", model.name)]
    for teacher in peers or ([mean] if mean is not None else apart):
        found = compare(report, student, teacher)
        if found is None or student is None:
            continue
        other = "the mean of its teachers" if teacher.mean_of else label(teacher).lower() if apart else "the teacher"
        if teacher.peer:
            other = "its peer" if len(peers) == 1 else label(teacher).lower()
        text = _told_apart(found, other)
        savings = []
        for what, mine, theirs, less, more in (
            ("multiply-accumulates", student.macs, teacher.macs, "fewer", "more"),
            ("parameters", student.params, teacher.params, "fewer", "more"),
            ("latency", _median(student), _median(teacher), "lower", "higher"),
        ):
            if mine and theirs:
                ratio = theirs / mine
                savings.append(f"{max(ratio, 1 / ratio):.1f} times {less if ratio >= 1 else more} {what}")
        text += (f", with {', '.join(savings)}" if savings else "") + "."
        if teacher.peer:
            text += (
                f" What training together did to {other.replace('its', 'the')} is not known: it was not trained alone."
            )
        yield "neutral", "teacher", text


def _told_apart(found: Comparison, other: str) -> str:
    if found.is_certain:
        is_more = (found.first - found.second) * found.gain > 0  # of a figure of which more is better
        side = ("above" if is_more else "better than") if found.gain > 0 else ("below" if is_more else "worse than")
        text = f"The student is {change(found.metric, found.gain)} {spoken(found.metric)} {side} {other}"
    elif found.has_test:
        text = f"The student cannot be told from {other} in {spoken(found.metric)}"
    else:
        text = f"The student has {figure(found.metric, found.first)} {spoken(found.metric)}"
        text += f", {other} {figure(found.metric, found.second)}"
    return f"{text} ({found.words(short=True)})"


def judge_chain(report: Report) -> Iterator[Finding]:
    """What each network of a chain of assistants reached; whether the detour paid takes another run to tell."""
    assistants = [model for model in report.models if re.fullmatch(r"assistant\d*", model.name)]
    chain = [report.model_named("teacher"), *assistants, report.model_named("student")]
    figures = [(model.primary.name, model.primary.value) for model in chain if model is not None and model.primary]
    if not assistants or len(figures) < len(chain) or any(value is None for _, value in figures):
        return
    by = "an assistant" if len(assistants) == 1 else f"{len(assistants)} assistants"
    steps = ", then ".join(figure(name, value) for name, value in figures)
    start = "the teachers' mean" if chain[0] is not None and chain[0].mean_of else "the teacher"
    text = f"From {start} by {by} to the student: {steps} {figures[0][0]}."
    yield "neutral", "chain", f"{text} Whether the detour helped, a run without assistants would tell."


def judge_confidence(report: Report) -> Iterator[Finding]:
    """How far the student's confidence is off before any calibration, beside plain's and its peers'."""
    peers = [model for model in report.models if model.peer]
    named = [(report.model_named("student"), "the student"), (report.model_named("plain"), "plain")]
    named += [(model, "its peer" if len(peers) == 1 else label(model).lower()) for model in peers]
    shown = []
    for model, whose in named:
        diagram = model.reliability.before if model and model.reliability else None
        if diagram is not None and diagram.ece is not None:
            shown.append(f"{percent(diagram.ece)} for {whose}")
    if len(shown) > 1 and report.model_named("student"):
        told = f"{', '.join(shown[:-1])} and {shown[-1]}"
        yield "neutral", "confidence", f"Before any calibration the ECE is {told} (no test of the difference)."


def judge_off_the_shelf(report: Report) -> Iterator[Finding]:
    """Whether fine-tuning a ready network would have been the better choice."""
    student, ready = report.model_named("student"), report.model_named("off_the_shelf")
    found = compare(report, ready, student)
    if found is None or student is None or ready is None:
        return
    mine, theirs = _median(student), _median(ready)
    base = f"{figure(found.metric, found.first)} against the student's {figure(found.metric, found.second)}"
    if mine and theirs:
        base += f", at {milliseconds(theirs)} against {milliseconds(mine)}"
    base += f" ({found.words(short=True)})"
    budget, timing = report.budget, ready.latency_ms
    limit = budget.max_latency_ms if budget else None
    cost = timing.statistic(budget.statistic) if budget and timing else None
    over = limit is not None and cost is not None and cost > limit
    if over:
        yield "neutral", "off_the_shelf", f"The off-the-shelf network is over the latency budget: {base}."
    elif found.is_certain and found.gain > 0:
        advice = (
            "" if limit is None and mine and theirs and theirs > mine else " Fine-tuning it is the better choice here."
        )
        yield "bad", "off_the_shelf", f"The off-the-shelf network wins in accuracy: {base}.{advice}"
    elif found.is_certain:
        yield "good", "off_the_shelf", f"The student beats the off-the-shelf network: {base}."
    elif mine and theirs and theirs < 0.95 * mine:
        yield (
            "bad",
            "off_the_shelf",
            f"The off-the-shelf network is faster and, as far as can be told, no worse: {base}.",
        )
    else:
        claim = "cannot be told apart in accuracy" if found.has_test else "were not tested against each other"
        yield "neutral", "off_the_shelf", f"The student and the off-the-shelf network {claim}: {base}."


def judge_search(report: Report) -> Iterator[Finding]:
    """Whether the search found anything, and anything better than its reference network."""
    study = report.search
    if study is None or not study.trials:
        return
    states = list(dict.fromkeys(["complete", "pruned", "failed", *(trial.state for trial in study.trials)]))
    counts = {state: sum(trial.state == state for trial in study.trials) for state in states}
    tally = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    best = next((trial for trial in study.trials if trial.number == study.best), None)
    if best is None or best.accuracy is None:
        yield "bad", "search", f"The search found no candidate to keep ({len(study.trials)} candidates: {tally})."
        return
    if study.front is not None and best.number not in study.front:
        yield (
            "bad",
            "search",
            f"The search chose candidate {best.number}, which is not on its own Pareto front: see the candidates.",
        )
    told = f"candidate {best.number} of {len(study.trials)} ({tally}) scored {percent(best.accuracy)} on validation"
    told += f" at {milliseconds(best.latency_ms)}" if best.latency_ms is not None else ""
    reference = study.reference or Reference()
    over = study.ceiling_ms is not None and (reference.latency_ms or 0) > study.ceiling_ms
    same = (reference.accuracy, reference.latency_ms) == (best.accuracy, best.latency_ms)
    if reference.number == best.number or same:
        yield "neutral", "search", f"Search did not help: the reference network itself came out best, as {told}."
    elif over:
        limit = report.budget.max_latency_ms if report.budget else None
        bound = "the budget" if study.ceiling_ms == limit else "the ceiling of the search"
        takes = f"The reference network takes {milliseconds(reference.latency_ms)}"
        text = f"{takes}, over {bound}; the search found one within it"
        yield "good", "search", f"{text}: {told}."
    elif reference.accuracy is None:
        text = f"Search: {told}; no reference was scored the same way, so what it gained is not known."
        yield "neutral", "search", text
    else:
        tried = counts["complete"]
        yield _against_reference(report, reference, reference.accuracy, best.accuracy, best.latency_ms, tried, told)


def judge_adaptation(report: Report) -> Iterator[Finding]:
    """How much faster the adaptation made its seed, whether that is enough, and what it cost before the last training."""
    adaptation = report.adapt
    if adaptation is None or len(adaptation.iterates) < 2:
        return
    first, last, target = adaptation.iterates[0], adaptation.iterates[-1], adaptation.target_ms
    if not first.latency_ms or not last.latency_ms or target is None:
        return
    metric = adaptation.metric or "accuracy"
    steps = "1 step" if len(adaptation.iterates) == 2 else f"{len(adaptation.iterates) - 1} steps"
    text = f"{steps} took the seed from {milliseconds(first.latency_ms)} to {milliseconds(last.latency_ms)}"
    text += f", and its {spoken(metric)} on validation from {figure(metric, first.accuracy)} to"
    text += f" {figure(metric, last.accuracy)} before the last training"
    if last.latency_ms <= target:
        yield "good", "adaptation", f"Adaptation reached its target of {milliseconds(target)}: {text}."
    else:
        yield "bad", "adaptation", f"Adaptation did not reach its target of {milliseconds(target)}: {text}."


def _against_reference(
    report: Report,
    reference: Reference,
    beaten: float,
    accuracy: float,
    latency_ms: float | None,
    tried: int,
    told: str,
) -> Finding:
    validation = ((report.data.counts or {}) if report.data else {}).get("validation")
    found = Comparison.of_shares("accuracy", accuracy, beaten, validation, samples=f"validation {report.samples}")
    if found.p_value is not None:
        # the best of several is picked by the very score that is compared: Bonferroni's correction for that choice
        found = replace(found, p_value=min(1.0, found.p_value * max(1, tried)), low=None, high=None)
    against = f"{told}, against {percent(beaten)}"
    against += f" at {milliseconds(reference.latency_ms)}" if reference.latency_ms is not None else ""
    against += f" for the reference network ({found.words()}" + (
        f", p corrected for {tried} tries)" if found.has_test else ")"
    )
    faster = bool(latency_ms and reference.latency_ms and latency_ms < 0.95 * reference.latency_ms)
    if found.is_certain and found.gain > 0:
        return "good", "search", f"Search helped: {against}."
    if found.is_certain:
        claim = "Search gave up accuracy for speed" if faster else "Search did not help"
        return "neutral" if faster else "bad", "search", f"{claim}: {against}."
    if faster and found.has_test:
        return (
            "good",
            "search",
            f"Search found a faster network whose accuracy cannot be told from the reference's: {against}.",
        )
    return "neutral", "search", f"Search did not measurably help: {against}; the difference is {found.doubt}."


def _median(model: Model) -> float | None:
    return model.latency_ms.median if model.latency_ms else None
