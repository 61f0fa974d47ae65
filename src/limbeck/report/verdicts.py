"""What a run showed, in plain sentences read off its table; says where something did not help. No drawing, no HTML."""

from __future__ import annotations

from typing import Any

from limbeck.report.compare import Comparison, compare, ece_floor
from limbeck.report.numerals import amount, change, figure, megabytes, milliseconds, percent
from limbeck.report.schema import Model, Report, Timing, parse_report

__all__ = ["judge"]

Verdicts = list[dict[str, str]]


def judge(report: dict[str, Any]) -> Verdicts:
    """Say of a run what helped, what did not, and what the data cannot tell.

    A difference counts only where its 95 % interval excludes zero: from a paired test where the report holds one under
    `paired["student_vs_plain"]` and the like, else from the standard errors of two independent samples.

    Args:
        report: as in `report.json`; absent sections are not judged.

    Returns:
        `{"kind": "good" | "bad" | "neutral", "topic": ..., "text": ...}` in the order they should be read.

    Raises:
        InputError: the report does not hold what a report must.
    """
    read = parse_report(report)
    found: Verdicts = []
    for part in (
        _distillation,
        _seeds,
        _teacher,
        _budget,
        _off_the_shelf,
        _search,
        _calibration,
        _int8,
        _parity,
        _steady,
        _data,
    ):
        found.extend(part(read))
    return found


def _say(kind: str, topic: str, text: str) -> dict[str, str]:
    return {"kind": kind, "topic": topic, "text": text}


def _distillation(report: Report) -> Verdicts:
    student, plain = report.model_named("student"), report.model_named("plain")
    found = compare(report, student, plain)
    if found is None or student is None or plain is None:
        return []
    base = f"{figure(found.metric, found.first)} {found.metric} against {figure(found.metric, found.second)} for the same student trained without it"
    if found.is_certain and found.gain > 0:
        return [_say("good", "distillation", f"Distillation helped: {base} ({found.words()}).")]
    if found.is_certain:
        return [_say("bad", "distillation", f"Distillation hurt: {base} ({found.words()}).")]
    if found.gain > 0:
        text = f"Distillation did not measurably help: {base}; the difference is {found.doubt} ({found.words()})."
    else:
        text = f"Distillation did not help: {base}; the difference is {found.doubt} ({found.words()})."
    return [_say("neutral", "distillation", text)]


def _seeds(report: Report) -> Verdicts:
    student = report.model_named("student")
    paired = (student.seeds or {}).get("paired") if student else None
    if not isinstance(paired, dict) or paired.get("difference") is None:
        return []
    metric, n = str(paired.get("metric", "top1")), paired.get("n", 0)
    gain = paired["difference"] * (1 if paired.get("higher_is_better", True) else -1)
    side = "better" if gain > 0 else "worse" if gain < 0 else "no different"
    text = f"Over {n} seeds the distilled student is {change(metric, gain)} {metric} {side} than plain on average"
    if gain == 0:
        text = f"Over {n} seeds the distilled student and plain have the same mean {metric}"
    p_value = paired.get("p_value")
    if p_value is not None:
        text += f" (paired t-test, p = {_p(p_value)})"
    if paired.get("too_few"):
        return [_say("neutral", "seeds", f"{text}; {n} seeds are too few to be sure of the sign.")]
    certain = p_value is not None and p_value < 0.05 and gain != 0
    if not certain:
        return [_say("neutral", "seeds", f"{text}: within the noise between seeds.")]
    return [_say("good" if gain > 0 else "bad", "seeds", f"{text}.")]


def _teacher(report: Report) -> Verdicts:
    student, teacher = report.model_named("student"), report.model_named("teacher")
    found = compare(report, student, teacher)
    if found is None or student is None or teacher is None:
        return []
    if not found.is_certain:
        gap = f"matches the teacher within what the test set can tell ({found.words()})"
    else:
        gap = f"is {change(found.metric, found.gain)} {'above' if found.gain > 0 else 'below'} the teacher ({found.words(short=True)})"
    savings = []
    for word, first, second in (
        ("multiply-accumulates", student.macs, teacher.macs),
        ("parameters", student.params, teacher.params),
        ("latency", _median(student), _median(teacher)),
    ):
        if first and second:
            savings.append(f"{_times(second / first)} {word}")
    text = f"The student {gap}" + (f", at {', '.join(savings)}" if savings else "") + "."
    return [_say("neutral", "teacher", text)]


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times less" if ratio >= 1 else f"{1 / ratio:.1f} times more"


def _budget(report: Report) -> Verdicts:
    budget = report.budget
    if budget is None:
        return []
    said: Verdicts = []
    for model in (report.model_named("student"), report.model_named("student_int8")):
        if model is None or model.withheld:
            continue
        name = "student" if model.name == "student" else "int8 student"
        kept, broken, unknown = [], [], []
        for value, limit, write, what in (
            (
                _statistic(model.latency_ms, budget.statistic),
                budget.max_latency_ms,
                milliseconds,
                f"{budget.statistic or 'median'} latency",
            ),
            (model.params, budget.max_params, amount, "parameters"),
            (model.macs, budget.max_macs, amount, "multiply-accumulates"),
            (model.size_bytes, budget.max_size_bytes, megabytes, "file size"),
        ):
            if limit is None:
                continue
            if value is None:
                unknown.append(what)
            else:
                (kept if value <= limit else broken).append(f"{what} {write(value)} of {write(limit)} allowed")
        where = f" on {budget.target}" if budget.target and budget.max_latency_ms is not None else ""
        if broken:
            said.append(_say("bad", "budget", f"The {name} breaks the budget{where}: {'; '.join(broken)}."))
        elif unknown:
            said.append(
                _say(
                    "neutral",
                    "budget",
                    f"Whether the {name} meets the budget is not known: {', '.join(unknown)} not measured.",
                )
            )
        elif kept:
            said.append(_say("good", "budget", f"The {name} meets the budget{where}: {'; '.join(kept)}."))
    return said


def _off_the_shelf(report: Report) -> Verdicts:
    student, ready = report.model_named("student"), report.model_named("off_the_shelf")
    found = compare(report, ready, student)
    if found is None or student is None or ready is None:
        return []
    mine, theirs = _median(student), _median(ready)
    speed = ""
    if mine and theirs:
        speed = f", at {milliseconds(theirs)} against {milliseconds(mine)}"
    limit = report.budget.max_latency_ms if report.budget else None
    cost = _statistic(ready.latency_ms, report.budget.statistic if report.budget else None)
    over = limit is not None and cost is not None and cost > limit
    base = f"{figure(found.metric, found.first)} against the student's {figure(found.metric, found.second)}{speed} ({found.words(short=True)})"
    if over:
        return [_say("neutral", "off_the_shelf", f"The off-the-shelf network is over the latency budget: {base}.")]
    if found.is_certain and found.gain > 0:
        return [
            _say(
                "bad",
                "off_the_shelf",
                f"The off-the-shelf network wins: {base}. Fine-tuning it is the better choice here.",
            )
        ]
    if found.is_certain:
        return [_say("good", "off_the_shelf", f"The student beats the off-the-shelf network: {base}.")]
    if mine and theirs and theirs < mine:
        return [
            _say("bad", "off_the_shelf", f"The off-the-shelf network is as accurate within noise, and faster: {base}.")
        ]
    return [
        _say(
            "neutral",
            "off_the_shelf",
            f"The student and the off-the-shelf network cannot be told apart in accuracy: {base}.",
        )
    ]


def _search(report: Report) -> Verdicts:
    study = report.search
    if study is None or not study.trials:
        return []
    states = {state: sum(trial.state == state for trial in study.trials) for state in ("complete", "pruned", "failed")}
    tally = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    best = next((trial for trial in study.trials if trial.number == study.best), None)
    if best is None or best.accuracy is None:
        return [
            _say(
                "bad",
                "search",
                f"The search found no candidate that could be kept ({len(study.trials)} candidates: {tally}).",
            )
        ]
    said: Verdicts = []
    if study.front is not None and best.number not in study.front:
        said.append(
            _say(
                "bad",
                "search",
                f"The search's choice, candidate {best.number}, is not on its own Pareto front: another is both faster and no worse.",
            )
        )
    told = f"candidate {best.number} of {len(study.trials)} ({tally}) scored {percent(best.accuracy)} on validation after its short training"
    if best.latency_ms is not None:
        told += f" at {milliseconds(best.latency_ms)}"
    reference = study.reference
    if reference is None or reference.accuracy is None:
        return [
            *said,
            _say(
                "neutral",
                "search",
                f"Search: {told}. No reference network was scored the same way, so its gain is not known.",
            ),
        ]
    n = ((report.data.counts or {}) if report.data else {}).get("validation")
    found = Comparison.of_shares("accuracy", best.accuracy, reference.accuracy, n, samples="validation pictures")
    against = (
        f"{told}, against {percent(reference.accuracy)}"
        + (f" at {milliseconds(reference.latency_ms)}" if reference.latency_ms is not None else "")
        + " for the reference network"
    )
    faster = bool(best.latency_ms and reference.latency_ms and best.latency_ms < 0.95 * reference.latency_ms)
    if found.is_certain and found.gain > 0:
        said.append(
            _say(
                "good",
                "search",
                f"Search helped: {against} ({found.words(short=True)}); the best of many is a little optimistic.",
            )
        )
    elif found.is_certain:
        said.append(
            _say(
                "neutral" if faster else "bad",
                "search",
                f"Search did not gain accuracy: {against} ({found.words(short=True)}).",
            )
        )
    elif faster:
        said.append(
            _say("good", "search", f"Search found a faster network of the same accuracy within noise: {against}.")
        )
    else:
        said.append(
            _say(
                "neutral",
                "search",
                f"Search did not measurably help: {against}; the difference is {found.doubt} ({found.words(short=True)}).",
            )
        )
    return said


def _calibration(report: Report) -> Verdicts:
    student = report.model_named("student")
    reliability = student.reliability if student else None
    if reliability is None or reliability.before is None or reliability.before.ece is None:
        return []
    before = reliability.before.ece
    if reliability.after is None or reliability.after.ece is None:
        why = f" ({reliability.reason})" if reliability.reason else ""
        return [_say("neutral", "calibration", f"Confidence was not calibrated{why}; the ECE is {percent(before)}.")]
    after, floor = reliability.after.ece, ece_floor(reliability.after)
    told = f"from {percent(before)} to {percent(after)}"
    if reliability.temperature is not None:
        told += f" (temperature {reliability.temperature:.3g})"
    noise = (
        f"; a perfectly calibrated model would show about {percent(floor)} on as many test pictures"
        if floor is not None
        else ""
    )
    if floor is not None and max(before, after) <= floor:
        return [_say("neutral", "calibration", f"The student was calibrated already: its ECE went {told}{noise}.")]
    if floor is not None and abs(after - before) < 0.25 * floor:
        return [
            _say(
                "neutral",
                "calibration",
                f"Calibration changed the ECE by less than the test set can tell: {told}{noise}.",
            )
        ]
    if after < before:
        return [_say("good", "calibration", f"Calibration lowered the student's ECE {told}{noise}.")]
    return [_say("bad", "calibration", f"Calibration did not help: the student's ECE went {told}{noise}.")]


def _int8(report: Report) -> Verdicts:
    student, int8 = report.model_named("student"), report.model_named("student_int8")
    if int8 is None:
        return []
    if int8.withheld:
        return [_say("bad", "int8", f"The int8 form is withheld: {int8.withheld.rstrip('.')}.")]
    said: Verdicts = []
    found = compare(report, int8, student)
    if found is not None:
        if found.is_certain and found.gain < 0:
            said.append(
                _say(
                    "bad",
                    "int8",
                    f"int8 costs {change(found.metric, found.gain)} {found.metric} ({found.words(short=True)}).",
                )
            )
        else:
            held = "int8 gains" if found.is_certain else "int8 holds the accuracy"
            said.append(
                _say(
                    "good" if found.paired or found.n else "neutral",
                    "int8",
                    f"{held}: {figure(found.metric, found.first)} against {figure(found.metric, found.second)} ({found.words(short=True)}).",
                )
            )
    mine, theirs = (int8.latency_ms, student.latency_ms) if student else (None, None)
    if mine and theirs and mine.median and theirs.median:
        told = f"{milliseconds(mine.median)} against {milliseconds(theirs.median)} median"
        spread = max(mine.iqr or 0, theirs.iqr or 0) / 2
        # a median moves by up to half an interquartile range between quiet repeats; 2 % is the timer's own repeatability
        if abs(mine.median - theirs.median) <= max(spread, 0.02 * theirs.median):
            said.append(_say("neutral", "int8", f"int8 is no faster here: {told}, within the spread of the timing."))
        elif mine.median < theirs.median:
            said.append(_say("good", "int8", f"int8 is {theirs.median / mine.median:.2f} times as fast: {told}."))
        else:
            said.append(_say("bad", "int8", f"int8 is slower here: {told}."))
    return said


def _parity(report: Report) -> Verdicts:
    gates = report.parity or []
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        names = "; ".join(
            f"{gate.artifact or 'artifact'} ({gate.text or gate.kind or 'no reason given'})" for gate in failed
        )
        return [_say("bad", "parity", f"{len(failed)} of {len(gates)} parity gates failed: {names}.")]
    if gates:
        return [
            _say(
                "good",
                "parity",
                f"All {len(gates)} parity gates passed: the exported files say what the trained networks say.",
            )
        ]
    return []


def _steady(report: Report) -> Verdicts:
    shaky = sorted(
        {
            f"{model.name} on {timed.target or timed.device or 'a device'}"
            for model in report.models
            for timed in model.measurements or []
            if timed.steady is False
        }
    )
    if not shaky:
        return []
    return [
        _say(
            "bad",
            "measurement",
            f"The device was not steady while timing {', '.join(shaky)}: take those latencies with care.",
        )
    ]


def _data(report: Report) -> Verdicts:
    if report.data is None or not report.data.leakage:
        return []
    n = report.data.leakage
    return [
        _say(
            "bad",
            "data",
            f"{n} test picture{'s are' if n > 1 else ' is'} also in the training data: test figures are too good by an unknown amount.",
        )
    ]


def _median(model: Model) -> float | None:
    return model.latency_ms.median if model.latency_ms else None


def _statistic(timing: Timing | None, name: str | None) -> float | None:
    if timing is None:
        return None
    return timing.p90 if name == "p90" else timing.median


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
