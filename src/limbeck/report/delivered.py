"""Sentences on what is handed over: budget, calibration, int8, parity, timing, data. No figures are made here."""

from __future__ import annotations

from collections.abc import Iterator

from limbeck.report.compare import Finding, compare, ece_floor, standard_error
from limbeck.report.numerals import amount, change, figure, megabytes, milliseconds, percent, spoken
from limbeck.report.points import Bars
from limbeck.report.schema import Report

__all__ = ["judge_budget", "judge_calibration", "judge_data", "judge_int8", "judge_parity", "judge_steadiness"]


def judge_budget(report: Report) -> Iterator[Finding]:
    """Whether the student and its int8 form keep to every limit of the budget."""
    budget = report.budget
    if budget is None:
        return
    statistic = budget.statistic or "median"
    where = f" on {budget.target}" if budget.target and budget.max_latency_ms is not None else ""
    for name, words in (("student", "student"), ("student_int8", "int8 student")):
        model = report.model_named(name)
        if model is None or model.withheld:
            continue
        latency = model.latency_ms.statistic(statistic) if model.latency_ms else None
        memory = next(
            (timed.peak_memory_bytes for timed in model.measurements or [] if timed.target == budget.target), None
        )
        kept: list[str] = []
        broken: list[str] = []
        unknown: list[str] = []
        for value, limit, write, what in (
            (latency, budget.max_latency_ms, milliseconds, f"{statistic} latency"),
            (model.params, budget.max_params, amount, "parameters"),
            (model.macs, budget.max_macs, amount, "multiply-accumulates"),
            (model.size_bytes, budget.max_size_bytes, megabytes, "file size"),
            (memory, budget.max_peak_memory_bytes, megabytes, "peak memory"),
        ):
            if limit is None:
                continue
            if value is None:
                unknown.append(what)
            else:
                (kept if value <= limit else broken).append(f"{what} {write(value)} of {write(limit)} allowed")
        if broken:
            yield "bad", "budget", f"The {words} breaks the budget{where}: {'; '.join(broken)}."
        elif unknown:
            yield (
                "neutral",
                "budget",
                f"Whether the {words} meets the budget is not known: {', '.join(unknown)} not measured.",
            )
        elif kept:
            yield "good", "budget", f"The {words} meets the budget{where}: {'; '.join(kept)}."


def judge_calibration(report: Report) -> Iterator[Finding]:
    """Whether the temperature brought confidence nearer to accuracy; of points, whether their error bars hold."""
    student = report.model_named("student")
    reliability = student.reliability if student else None
    if student is not None and student.points is not None:
        yield from _judge_bars(report, student.points.bars, reliability.reason if reliability else None)
        return
    if reliability is None:
        return
    if reliability.before is None or reliability.before.ece is None:
        if reliability.reason:
            yield "neutral", "calibration", f"Confidence was not calibrated: {reliability.reason}."
        return
    before = reliability.before.ece
    if reliability.after is None or reliability.after.ece is None:
        why = f" ({reliability.reason})" if reliability.reason else ""
        yield "neutral", "calibration", f"Confidence was not calibrated{why}; the ECE is {percent(before)}."
        return
    # pixels of a picture are much alike: counting them as independent would put the floor too low
    floor = ece_floor(reliability.after) if reliability.counted in (None, report.samples) else None
    after = reliability.after.ece
    told = f"from {percent(before)} to {percent(after)}"
    if reliability.temperature is not None:
        told += f" (temperature {reliability.temperature:.3g})"
    if floor is not None:
        told += f"; a perfectly calibrated model would show about {percent(floor)} on as many test {report.samples}"
    if floor is not None and max(before, after) <= floor:
        yield (
            "neutral",
            "calibration",
            f"The student was well calibrated already, as far as the test set can tell: ECE {told}.",
        )
    elif after < before:
        yield "good", "calibration", f"Calibration lowered the student's ECE {told}."
    elif after == before:
        yield "neutral", "calibration", f"Calibration left the student's ECE as it was: {told}."
    else:
        yield "bad", "calibration", f"Calibration did not help: the student's ECE went {told}."


def _judge_bars(report: Report, bars: Bars | None, reason: str | None) -> Iterator[Finding]:
    """Points of one picture go together, so that chance is counted by pictures."""
    if bars is None:
        if reason:
            yield "neutral", "calibration", f"There are no error bars: {reason}."
        return
    told = f"made to hold {percent(bars.coverage)} of the true points, hold {percent(bars.found)} on test"
    count = ((report.data.counts or {}) if report.data else {}).get("test")
    chance = 1.96 * standard_error(bars.coverage, count) if count else 0.0
    if bars.found >= bars.coverage - chance:
        yield "good", "calibration", f"Error bars, {told}."
    else:
        yield "bad", "calibration", f"Error bars are too short: {told}."


def judge_int8(report: Report) -> Iterator[Finding]:
    """Whether the int8 form kept the accuracy and got faster."""
    student, int8 = report.model_named("student"), report.model_named("student_int8")
    if int8 is None:
        return
    if int8.withheld:
        yield "bad", "int8", f"The int8 form is withheld: {int8.withheld.rstrip('.')}."
        return
    found = compare(report, int8, student)
    if found is not None:
        against = f"{figure(found.metric, found.first)} against {figure(found.metric, found.second)}"
        against += f" ({found.words(short=True)})"
        if not found.is_certain:
            kind, claim = (
                ("good", "int8 costs no measurable accuracy") if found.has_test else ("neutral", "int8 in accuracy")
            )
        elif found.gain < 0:
            kind, claim = "bad", f"int8 costs {change(found.metric, found.gain)} {spoken(found.metric)}"
        else:
            kind, claim = "good", f"int8 gains {change(found.metric, found.gain)} {spoken(found.metric)}"
        yield kind, "int8", f"{claim}: {against}."
    mine, theirs = (int8.latency_ms, student.latency_ms) if student else (None, None)
    if mine and theirs and mine.median and theirs.median:
        told = f"{milliseconds(mine.median)} against {milliseconds(theirs.median)} median"
        # a rule of thumb and no test: samples of one timing are not independent, so a p-value would flatter
        spread = max((mine.iqr or 0) / 2, (theirs.iqr or 0) / 2, 0.02 * theirs.median)
        if abs(mine.median - theirs.median) <= spread:
            yield "neutral", "int8", f"int8 is no faster here: {told}, within the spread of the timing."
        elif mine.median < theirs.median:
            yield "good", "int8", f"int8 is {theirs.median / mine.median:.2f} times as fast: {told}."
        else:
            yield "bad", "int8", f"int8 is slower here: {told}."


def judge_parity(report: Report) -> Iterator[Finding]:
    """Whether the exported files say what the trained networks say."""
    gates = report.parity or []
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        names = "; ".join(
            f"{gate.artifact or 'artifact'} ({gate.text or gate.kind or 'no reason given'})" for gate in failed
        )
        yield "bad", "parity", f"{len(failed)} of {len(gates)} parity gates failed: {names}."
    elif gates:
        passed = "The parity gate passed" if len(gates) == 1 else f"All {len(gates)} parity gates passed"
        yield "good", "parity", f"{passed}: the exported files say what the trained networks say."


def judge_steadiness(report: Report) -> Iterator[Finding]:
    """Whether any timing drifted."""
    shaky = {
        f"{model.name} on {timed.target or timed.device or 'a device'}": None
        for model in report.models
        for timed in model.measurements or []
        if timed.steady is False
    }
    if shaky:
        yield (
            "bad",
            "measurement",
            f"The device was not steady while timing {', '.join(shaky)}: take those latencies with care.",
        )


def judge_data(report: Report) -> Iterator[Finding]:
    """Whether test pictures leaked into training."""
    for pair, n in ((report.data.shared_pictures() if report.data else None) or {}).items():
        one, _, other = pair.partition("/")
        these = f"1 {other} {report.sample} is" if n == 1 else f"{n} {other} {report.samples} are"
        if other == "test":
            yield "bad", "data", f"{these} also in {one}: test figures are too good by an unknown amount."
        else:
            yield "neutral", "data", f"{these} also in {one}: what is chosen or fitted on {other} leans on them."
