"""The figures of a search and of an adaptation: candidates, fronts, rewards, steps. They draw what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from limbeck.report.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, draw_limit, place_label, plane
from limbeck.report.numerals import DASH, amount, figure, milliseconds, percent, spoken, three
from limbeck.report.searching import Adaptation, Iterate, Study, Trial
from limbeck.report.svg import Canvas, Scale, path

__all__ = [
    "adapt_chart",
    "architecture_lines",
    "entropy_chart",
    "fronts_chart",
    "progress_chart",
    "retrained_chart",
    "search_chart",
    "trial_text",
]

HEIGHT = 270


def search_chart(study: Study) -> Markup | None:
    """Draw the candidates that were scored and the Pareto front through them; None when none was scored."""
    scored = [(trial, trial.latency_ms, trial.accuracy) for trial in study.trials]
    shown = [(trial, ms, value) for trial, ms, value in scored if ms is not None and ms > 0 and value is not None]
    if not shown:
        return None
    reference = study.reference
    has_reference = bool(reference and reference.latency_ms and reference.accuracy is not None)
    xs, ys = [ms for _, ms, _ in shown], [value for *_, value in shown]
    if study.ceiling_ms:
        xs.append(study.ceiling_ms)
    if reference and reference.latency_ms and reference.accuracy is not None:
        xs.append(reference.latency_ms)
        ys.append(reference.accuracy)
    canvas, x, y = plane(
        xs, ys, "accuracy", _latency(study.statistic), f"validation accuracy against latency of {len(shown)} candidates"
    )
    draw_limit(canvas, x, y, study.ceiling_ms)
    draw_limit(canvas, x, y, study.objective.target_ms if study.objective else None, name="target", lift=13)
    front = sorted((ms, value) for trial, ms, value in shown if trial.number in (study.front or []))
    if len(front) > 1:
        canvas.add("path", d=path(_stairs(front, x, y)), class_="front")
    if has_reference and reference and reference.latency_ms and reference.accuracy is not None:
        at, up = x(reference.latency_ms), y(reference.accuracy)
        tip = f"reference network\naccuracy {percent(reference.accuracy)}\nlatency {milliseconds(reference.latency_ms)}"
        canvas.add(
            "path", d=path([(at, up - 6), (at + 6, up + 5), (at - 6, up + 5)]) + "Z", class_="reference", tip=tip
        )
    for trial, ms, value in sorted(shown, key=lambda item: item[0].number == study.best):
        kind = "best" if trial.number == study.best else "onfront" if trial.number in (study.front or []) else "trial"
        canvas.add("circle", cx=x(ms), cy=y(value), r=7 if kind == "best" else 5, class_=kind, tip=trial_text(trial))
    best = next(((ms, value) for trial, ms, value in shown if trial.number == study.best), None)
    if best:
        taken = [(x(ms) - 5, y(value) - 5, x(ms) + 5, y(value) + 5) for _, ms, value in shown]
        place_label(canvas, "chosen", x(best[0]), y(best[1]), taken)
    return canvas.markup()


def trial_text(trial: Trial, *, is_short: bool = False) -> str:
    """A candidate in words: its figures, then its architecture unless it is to be short."""
    lines = [f"candidate {trial.number}"]
    if trial.accuracy is not None:
        lines.append(f"accuracy {percent(trial.accuracy)} (validation, short training)")
    if trial.reward is not None:
        lines.append(f"reward {three(trial.reward)}")
    if trial.latency_ms is not None:
        lines.append(f"latency {milliseconds(trial.latency_ms)}")
    if trial.macs is not None or trial.params is not None:
        lines.append(f"{amount(trial.macs)} MACs, {amount(trial.params)} parameters")
    return "\n".join(lines if is_short else [*lines, *architecture_lines(trial)])


def architecture_lines(trial: Trial) -> list[str]:
    """The architecture of a candidate, line by line: its rows where they are recorded, else the point searched."""
    if isinstance(trial.rows, str):
        return trial.rows.strip().splitlines()
    if trial.rows:
        return [row if isinstance(row, str) else _row_text(row) for row in trial.rows]
    return [f"{name} = {_plain(value)}" for name, value in (trial.point or {}).items()]


def _row_text(row: Any) -> str:
    if isinstance(row, dict):
        return " ".join(f"{name}={_plain(value)}" for name, value in row.items() if value is not None)
    return " ".join(_plain(value) for value in row) if isinstance(row, list) else _plain(row)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(_plain(item) for item in value)
    if value is None or isinstance(value, bool):
        return {None: DASH, True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def progress_chart(study: Study, *, higher_is_better: bool = True) -> Markup | None:
    """Draw each candidate's score in the order in which they came, and the best so far; None for fewer than two scores.

    Candidates that parameters or MACs rejected at once have no place in the order: others filled their slots.
    """
    tried = [trial for trial in study.trials if trial.slot is not None]
    scored = [(place, trial, trial.score) for place, trial in enumerate(tried, start=1)]
    shown = [(place, trial, score) for place, trial, score in scored if score is not None]
    if len(shown) < 2:
        return None
    name = "reward" if any(trial.reward is not None for _, trial, _ in shown) else "accuracy"
    canvas, x, y = _sequence(
        [score for *_, score in shown], len(tried), name, f"{name} of {len(shown)} candidates in their order"
    )
    best = shown[0][2]
    stairs = [(x(shown[0][0]), y(best))]
    for place, _, score in shown[1:]:
        if score > best if higher_is_better else score < best:
            stairs += [(x(place), y(best)), (x(place), y(score))]
            best = score
    canvas.add("path", d=path([*stairs, (x(len(tried)), y(best))]), class_="front")
    for place, trial, value in scored:
        if value is None:
            at, ground = x(place), y.start - 5
            cross = path([(at - 3, ground - 3), (at + 3, ground + 3)]) + path(
                [(at - 3, ground + 3), (at + 3, ground - 3)]
            )
            canvas.add(
                "path", d=cross, class_="lost", tip=f"candidate {trial.number}: {trial.state}\n{trial.reason or ''}"
            )
    for place, trial, score in sorted(shown, key=lambda one: one[1].number == study.best):
        is_chosen = trial.number == study.best
        kind, radius = ("best", 6.5) if is_chosen else ("trial", 4.0)
        canvas.add("circle", cx=x(place), cy=y(score), r=radius, class_=kind, tip=trial_text(trial, is_short=True))
    return canvas.markup()


def fronts_chart(study: Study) -> Markup | None:
    """Draw the Pareto front as it grew, each candidate shaded by when it came; None without fronts."""
    fronts = [front for front in study.fronts or [] if front.front]
    tried = [trial for trial in study.trials if trial.slot is not None]
    shown = [
        (place, trial, trial.latency_ms, trial.accuracy)
        for place, trial in enumerate(tried)
        if trial.latency_ms and trial.accuracy is not None and not trial.reused
    ]
    if not fronts or not shown:
        return None
    xs, ys = [ms for *_, ms, _ in shown], [value for *_, value in shown]
    canvas, x, y = plane(xs, ys, "accuracy", _latency(study.statistic), "Pareto fronts as they grew")
    draw_limit(canvas, x, y, study.ceiling_ms)
    draw_limit(canvas, x, y, study.objective.target_ms if study.objective else None, name="target", lift=13)
    ages = range(3 - len(fronts), 3)
    for place, trial, ms, value in shown:
        age = next((age for age, front in zip(ages, fronts, strict=True) if place < front.after), 2)
        canvas.add("circle", cx=x(ms), cy=y(value), r=3.5, class_=f"age{age}", tip=trial_text(trial, is_short=True))
    for age, front in zip(ages, fronts, strict=True):
        points = [(t.latency_ms, t.accuracy) for number in front.front if (t := study.trial(number)) is not None]
        known = sorted((ms, value) for ms, value in points if ms is not None and value is not None)
        if known:
            steps = _stairs(known, x, y)
            canvas.add("path", d=path([*steps, (x.stop, steps[-1][1])]), class_=f"growth age{age}")
    return canvas.markup()


def entropy_chart(study: Study) -> Markup | None:
    """Draw the controller's entropy when it drew each candidate; None where another sampler drew."""
    tried = [trial for trial in study.trials if trial.slot is not None]
    shown = [(place, trial.policy_entropy) for place, trial in enumerate(tried, start=1)]
    known = [(place, entropy) for place, entropy in shown if entropy is not None]
    if len(known) < 2:
        return None
    canvas, x, y = _sequence(
        [entropy for _, entropy in known],
        len(tried),
        "policy entropy",
        "entropy of the controller's decisions",
        unit=0.01,
    )
    canvas.add("path", d=path([(x(place), y(entropy)) for place, entropy in known]), class_="curve h2")
    return canvas.markup()


def retrained_chart(study: Study) -> Markup | None:
    """Draw what retrained candidates reached against their short training; None for fewer than three."""
    pairs = [(one, one.proxy, one.accuracy) for one in study.retrained or []]
    known = [(one.number, proxy, full) for one, proxy, full in pairs if proxy is not None and full is not None]
    if len(known) < 3:
        return None
    canvas = Canvas(
        WIDTH, HEIGHT, label=f"accuracy of {len(known)} candidates after whole training against short training"
    )
    x = Scale.around([proxy for _, proxy, _ in known], LEFT, WIDTH - RIGHT)
    y = Scale.around([full for *_, full in known], HEIGHT - BOTTOM, TOP)
    canvas.axes(
        x,
        y,
        x_title="accuracy after the short training, %",
        y_title="after the whole training, %",
        x_unit=0.01,
        y_unit=0.01,
    )
    taken = [(x(proxy) - 6, y(full) - 6, x(proxy) + 6, y(full) + 6) for _, proxy, full in known]
    for number, proxy, full in known:
        tip = f"candidate {number}\n{percent(proxy)} after the short training\n{percent(full)} after the whole"
        kind = "best" if number == study.best else "onfront"
        canvas.add("circle", cx=x(proxy), cy=y(full), r=6.5 if kind == "best" else 5, class_=kind, tip=tip)
    for number, proxy, full in known:
        place_label(canvas, str(number), x(proxy), y(full), taken)
    return canvas.markup()


def adapt_chart(adaptation: Adaptation) -> Markup | None:
    """Draw the way from the seed to the last network, and the proposals that were not taken; None without figures."""
    points = [(one, one.latency_ms, one.accuracy) for one in adaptation.iterates]
    shown = [(one, ms, value) for one, ms, value in points if ms is not None and ms > 0 and value is not None]
    if not shown:
        return None
    metric = adaptation.metric or "accuracy"
    others = [
        (other.latency_ms, other.accuracy)
        for one in adaptation.iterates
        for other in one.proposals or []
        if other.what != one.what and other.latency_ms and other.accuracy is not None
    ]
    values = [value for *_, value in shown]
    room = 2 * (max(values) - min(values)) or 0.05 * abs(values[0]) or 0.05
    low, high = min(values) - room, max(values) + room  # one proposal that broke the network would flatten all else
    xs = (
        [ms for _, ms, _ in shown] + [ms for ms, _ in others] + ([adaptation.target_ms] if adaptation.target_ms else [])
    )
    ys = values + [min(max(value, low), high) for _, value in others]
    canvas, x, y = plane(
        xs, ys, metric, _latency(adaptation.statistic), f"{spoken(metric)} against latency of {len(shown)} steps"
    )
    draw_limit(canvas, x, y, adaptation.target_ms, name="target")
    for ms, value in others:
        within = min(max(value, low), high)
        canvas.add("circle", cx=x(ms), cy=y(within), r=2.2, class_="aside" if within == value else "aside beyond")
    canvas.add("path", d=path([(x(ms), y(value)) for _, ms, value in shown]), class_="front")
    ends = {0: "reference", len(shown) - 1: "best"}
    for place, (one, ms, value) in enumerate(shown):
        kind = ends.get(place, "onfront")
        radius = 6.5 if place in ends else 4.5
        canvas.add("circle", cx=x(ms), cy=y(value), r=radius, class_=kind, tip=iterate_text(one, metric))
    taken = [(x(ms) - 7, y(value) - 7, x(ms) + 7, y(value) + 7) for _, ms, value in shown]
    for (_, ms, value), (_, next_ms, next_value) in pairwise(shown):  # nor does a label cover the line
        for share in (k / 24 for k in range(25)):
            at, up = x(ms) + share * (x(next_ms) - x(ms)), y(value) + share * (y(next_value) - y(value))
            taken.append((at - 1, up - 1, at + 1, up + 1))
    for place, name in {0: "seed", len(shown) - 1: "adapted"}.items():
        place_label(canvas, name if len(shown) > 1 else "seed", x(shown[place][1]), y(shown[place][2]), taken)
    return canvas.markup()


def iterate_text(one: Iterate, metric: str) -> str:
    """A step of an adaptation in words."""
    lines = [f"step {one.step}: {one.what}", f"{spoken(metric)} {figure(metric, one.accuracy)}"]
    lines.append(f"latency {milliseconds(one.latency_ms)}")
    lines.append(f"{amount(one.macs)} MACs, {amount(one.params)} parameters")
    return "\n".join(lines)


def _latency(statistic: str | None) -> str:
    return f"{statistic} latency" if statistic else "latency"


def _stairs(points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Pixels of a front through (latency, accuracy) points, from the fastest on."""
    steps = [(x(points[0][0]), y(points[0][1]))]
    for ms, value in points[1:]:
        steps += [(x(ms), steps[-1][1]), (x(ms), y(value))]
    return steps


def _sequence(
    values: list[float], count: int, name: str, label: str, unit: float | None = None
) -> tuple[Canvas, Scale, Scale]:
    """A drawing with axes for figures of candidates in their order."""
    unit = unit or (0.01 if name == "accuracy" and max(values) <= 1 else 1)
    canvas = Canvas(WIDTH, HEIGHT, label=label)
    x = Scale(0, count + 1, LEFT, WIDTH - RIGHT)
    y = Scale.around(values, HEIGHT - BOTTOM, TOP, ceiling=1.0 if unit < 1 else None)
    if y.low >= y.high:
        y = Scale(y.high - 0.1, y.high, y.start, y.stop)
    canvas.axes(x, y, x_title="candidate", y_title=name + (", %" if unit < 1 else ""), y_unit=unit)
    return canvas, x, y
