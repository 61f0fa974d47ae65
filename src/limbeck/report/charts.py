"""The figures of the page: accuracy against latency, reliability, training curves, where time went.

They draw what they are given. Not here: those of a search and an adaptation (`candidates`), architectures (`networks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from limbeck.report.compare import standard_error
from limbeck.report.numerals import amount, duration, figure, is_share, megabytes, milliseconds, percent, spoken
from limbeck.report.schema import Diagram, Model
from limbeck.report.svg import Canvas, Scale, path

__all__ = [
    "Bar",
    "Curve",
    "Mark",
    "curves_chart",
    "draw_limit",
    "marks_of",
    "models_chart",
    "phases_of",
    "place_label",
    "plane",
    "reliability_chart",
    "times_chart",
]

WIDTH, HEIGHT = 420, 310
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 44
_HUES = {"teacher": 0, "plain": 1, "student": 2, "student_int8": 3, "off_the_shelf": 4}
_N_HUES = 8


def hue(name: str, position: int = 0) -> int:
    """The colour number of a model: the known ones keep theirs from run to run."""
    return _HUES.get(name, 5 + position % (_N_HUES - 5))


@dataclass(frozen=True)
class Mark:
    """A finished model as a point: latency in ms, the primary metric, its standard error if known."""

    label: str
    x: float
    y: float
    hue: int
    tip: str
    error: float | None = None


@dataclass(frozen=True)
class Curve:
    """One curve: (epoch, value) pairs, and the epoch that was kept; or values along something else."""

    label: str
    points: list[tuple[float, float]]
    hue: int
    kept: float | None = None


def marks_of(models: Sequence[Model], label: Any, *, n_test: int | None = None, p90: bool = False) -> list[Mark]:
    """The models that have both a latency and a primary value, as marks; `label(model)` names them."""
    marks = []
    for position, model in enumerate(models):
        latency = model.latency_ms.statistic("p90" if p90 else "median") if model.latency_ms else None
        if model.withheld or not latency or model.primary is None or model.primary.value is None:
            continue
        name, value = model.primary.name, model.primary.value
        counted = n_test and name in {"top1", "top5", "accuracy"}
        error = standard_error(value, n_test) if counted and n_test else None
        lines = [
            label(model),
            f"{spoken(name)} {figure(name, value)}" + (f" ± {100 * error:.2f} (standard error)" if error else ""),
        ]
        lines += [f"latency {milliseconds(latency)}", f"{amount(model.macs)} MACs, {amount(model.params)} parameters"]
        lines.append(megabytes(model.size_bytes)) if model.size_bytes is not None else None
        marks.append(Mark(label(model), latency, value, hue(model.name, position), "\n".join(lines), error))
    return marks


def models_chart(marks: Sequence[Mark], *, metric: str, latency: str, ceiling_ms: float | None = None) -> Markup | None:
    """Draw models by latency and primary metric, with 95 % whiskers and the budget's line; None without marks."""
    if not marks:
        return None
    xs = [mark.x for mark in marks] + ([ceiling_ms] if ceiling_ms else [])
    ys = [mark.y + way * 1.96 * (mark.error or 0) for mark in marks for way in (-1, 1)]
    canvas, x, y = plane(xs, ys, metric, latency, f"{metric} against latency of {len(marks)} models")
    draw_limit(canvas, x, y, ceiling_ms)
    taken = [(x(m.x) - 7, y(m.y) - 7, x(m.x) + 7, y(m.y) + 7) for m in marks]
    for mark in marks:
        at, up = x(mark.x), y(mark.y)
        if mark.error:
            low, high = (y(max(y.low, min(y.high, mark.y + way * 1.96 * mark.error))) for way in (-1, 1))
            canvas.add("line", x1=at, x2=at, y1=low, y2=high, class_=f"whisker h{mark.hue}")
        diamond = path([(at, up - 7), (at + 7, up), (at, up + 7), (at - 7, up)]) + "Z"
        canvas.add("path", d=diamond, class_=f"model h{mark.hue}", tip=mark.tip)
    for mark in marks:
        place_label(canvas, mark.label, x(mark.x), y(mark.y), taken)
    return canvas.markup()


@dataclass(frozen=True)
class Bar:
    """Where time went: a name, and seconds by phase (one phase without a name where it is not known more closely)."""

    label: str
    phases: dict[str, float]


PHASES = {"": 3, "timing": 4, "training": 2, "tuning": 2, "other": 1}  # phase -> colour number


def times_chart(bars: Sequence[Bar]) -> Markup | None:
    """Draw wall time as bars, in their order; None where no time is known."""
    most = max((sum(bar.phases.values()) for bar in bars), default=0.0)
    if most <= 0:
        return None
    row, left = 24, 7.0 * max(len(bar.label) for bar in bars) + 12
    canvas = Canvas(760, row * len(bars) + 6, label="wall time by stage")
    x = Scale(0, most, left, 760 - 92)
    for place, bar in enumerate(bars):
        top, at = 3 + row * place, left
        canvas.add("text", text=bar.label, x=left - 8, y=top + 14, class_="tick end")
        for phase, seconds in bar.phases.items():
            length = x(seconds) - left
            told = f"{bar.label}{f', {phase}' if phase else ''}: {duration(seconds)}"
            hue_of = PHASES.get(phase, 5)
            canvas.add(
                "rect", x=at, width=max(length, 0.5), y=top + 2, height=row - 8, class_=f"model h{hue_of}", tip=told
            )
            at += length
        canvas.add("text", text=duration(sum(bar.phases.values())), x=at + 6, y=top + 14, class_="tick")
    return canvas.markup()


def phases_of(bars: Sequence[Bar]) -> list[tuple[str, int]]:
    """Names and colour number of the phases that have a name, in the order in which they come; like with like."""
    names: dict[int, list[str]] = {}
    for phase in dict.fromkeys(phase for bar in bars for phase in bar.phases if phase):
        names.setdefault(PHASES.get(phase, 5), []).append(phase)
    return [(", ".join(alike), hue_of) for hue_of, alike in names.items()]


def reliability_chart(diagram: Diagram, *, title: str, counted: str = "pictures") -> Markup | None:
    """Draw accuracy by confidence, the gap to perfect calibration, and how many pictures (or pixels) each bin holds."""
    filled = [part for part in diagram.bins if part.count and part.confidence is not None and part.accuracy is not None]
    if not filled:
        return None
    canvas = Canvas(360, 420, label=f"reliability diagram, {title}: expected calibration error {percent(diagram.ece)}")
    x, y = Scale(0, 1, LEFT, 350), Scale(0, 1, 326, TOP)
    strip, most = Scale(0, max(part.count for part in filled), 410, 366), max(part.count for part in filled)
    for value in y.ticks(5):
        canvas.add("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="grid")
        canvas.add("text", text=f"{100 * value:.0f}", x=x.start - 6, y=y(value) + 4, class_="tick end")
        canvas.add("text", text=f"{100 * value:.0f}", x=x(value), y=y.start + 15, class_="tick mid")
    canvas.add("text", text="accuracy, %", x=4, y=14, class_="title")
    canvas.add("text", text="confidence, %", x=(x.start + x.stop) / 2, y=y.start + 30, class_="title mid")
    for part in filled:
        left, width = x(part.low) + 0.8, x(part.high) - x(part.low) - 1.6
        confidence, accuracy = part.confidence or 0.0, part.accuracy or 0.0
        tip = (
            f"confidence {100 * part.low:.0f} to {100 * part.high:.0f} %\nmean confidence {percent(confidence)}\n"
            f"accuracy {percent(accuracy)}\n{part.count} {counted}"
        )
        canvas.add("rect", x=left, width=width, y=y(accuracy), height=y.start - y(accuracy), class_="bar")
        top, bottom = y(max(confidence, accuracy)), y(min(confidence, accuracy))
        over = "gap over" if confidence > accuracy else "gap under"
        canvas.add("rect", x=left, width=width, y=top, height=max(bottom - top, 0.5), class_=over)
        canvas.add(
            "rect", x=left, width=width, y=strip(part.count), height=strip.start - strip(part.count), class_="count"
        )
        canvas.add("rect", x=left, width=width, y=y.stop, height=strip.start - y.stop, class_="hit", tip=tip)
    canvas.add("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="diagonal")
    canvas.add("line", x1=x.start, x2=x.stop, y1=y.start, y2=y.start, class_="axis")
    canvas.add("line", x1=x.start, x2=x.stop, y1=strip.start, y2=strip.start, class_="axis")
    canvas.add("text", text=counted, x=4, y=strip.stop - 4, class_="tick")
    canvas.add("text", text=str(most), x=x.start - 6, y=strip.stop + 8, class_="tick end")
    told = f"ECE {percent(diagram.ece)}" + (f" · MCE {percent(diagram.mce)}" if diagram.mce is not None else "")
    canvas.add("text", text=told, x=x.start + 8, y=y.stop + 14, class_="label")
    return canvas.markup()


def curves_chart(curves: Sequence[Curve], *, title: str, metric: str, along: str = "epoch") -> Markup | None:
    """Draw curves by epoch, a ring on the epoch that was kept, or along something else; None without two points in any."""
    shown = [curve for curve in curves if len(curve.points) > 1]
    if not shown:
        return None
    unit = 0.01 if is_share(metric) else 1
    canvas = Canvas(WIDTH, 270, label=f"{title} by {along}: {', '.join(curve.label for curve in shown)}")
    epochs = [epoch for curve in shown for epoch, _ in curve.points]
    values = [value for curve in shown for _, value in curve.points]
    x = Scale(min(epochs), max(epochs), LEFT, WIDTH - RIGHT)
    y = Scale.around(
        values,
        270 - BOTTOM,
        TOP,
        floor=min(0.0, *values) if min(values) >= 0 else None,
        ceiling=1 if unit < 1 and max(values) <= 1 else None,  # errors are shares that may be above 1
    )
    canvas.axes(x, y, x_title=along, y_title=title + (", %" if unit < 1 else ""), y_unit=unit)
    for curve in shown:
        canvas.add("path", d=path([(x(e), y(v)) for e, v in curve.points]), class_=f"curve h{curve.hue}")
    for curve in shown:
        kept = next(((e, v) for e, v in curve.points if e == curve.kept), None)
        if kept:
            tip = f"{curve.label}\nepoch {kept[0]:g} was kept\n{title} {figure(metric, kept[1])}"
            canvas.add("circle", cx=x(kept[0]), cy=y(kept[1]), r=5, class_=f"kept h{curve.hue}", tip=tip)
    return canvas.markup()


def plane(xs: list[float], ys: list[float], metric: str, latency: str, label: str) -> tuple[Canvas, Scale, Scale]:
    """A drawing with axes for latencies `xs` and values `ys` of a metric, and its two scales."""
    canvas = Canvas(WIDTH, HEIGHT, label=label)
    log = max(xs) / min(xs) > 6
    share = is_share(metric)
    x = Scale.around(xs, LEFT, WIDTH - RIGHT, log=log, floor=None if log else 0.0)
    y = Scale.around(ys, HEIGHT - BOTTOM, TOP, ceiling=1.0 if share and max(ys) <= 1 else None)
    if y.low >= y.high:
        y = Scale(y.high - 0.1, y.high, y.start, y.stop)
    canvas.axes(
        x,
        y,
        x_title=f"{latency}, ms" + (" (log scale)" if log else ""),
        y_title=f"{spoken(metric)}, %" if share else spoken(metric),
        y_unit=0.01 if share else 1,
    )
    return canvas, x, y


def draw_limit(
    canvas: Canvas, x: Scale, y: Scale, limit_ms: float | None, *, name: str = "budget", lift: float = 0
) -> None:
    """Draw the line of a latency that is not to be passed; that of a soft `target` stands out less and bars nothing.

    Args:
        canvas: from `plane`.
        x: its latencies.
        y: its values.
        limit_ms: None = no line.
        name: `budget` or `target`.
        lift: how far above its place the text stands, where another line has its own.
    """
    if limit_ms is None or not x.low <= limit_ms <= x.high:
        return
    at, is_soft = x(limit_ms), name == "target"
    if not is_soft:
        canvas.add("rect", x=at, width=x.stop - at, y=y.stop, height=y.start - y.stop, class_="over")
    canvas.add("line", x1=at, x2=at, y1=y.stop, y2=y.start, class_="aim" if is_soft else "budget")
    near_edge = at > x.stop - 90
    place = ("tick limit" if is_soft else "tick limit budget-text") + (" end" if near_edge else "")
    canvas.add(
        "text",
        text=f"{name} {milliseconds(limit_ms)}",
        x=at - 5 if near_edge else at + 5,
        y=y.start - 7 - lift,
        class_=place,
    )


def place_label(canvas: Canvas, text: str, x: float, y: float, taken: list[tuple[float, float, float, float]]) -> None:
    """Write a label where it covers nothing drawn so far: right, left, above, below, in that order of liking."""
    width, height = 6.6 * len(text), 14
    spots = [(x + 11, y + 4, ""), (x - 11, y + 4, " end"), (x, y - 13, " mid"), (x, y + 22, " mid")]
    spots += [(x + 9, y - 10, ""), (x + 9, y + 19, ""), (x - 9, y - 10, " end"), (x - 9, y + 19, " end")]
    chosen = None
    for at, base, anchor in spots:
        left = at - (width if "end" in anchor else width / 2 if "mid" in anchor else 0)
        box = (left, base - height + 3, left + width, base + 3)
        inside = box[0] >= LEFT and box[2] <= WIDTH - 2 and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
        clear = all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in taken)
        if inside and (chosen is None or clear):
            chosen = (at, base, anchor, box)
        if inside and clear:
            break
    at, base, anchor, box = chosen or (*spots[0], (x, y, x, y))
    taken.append(box)
    canvas.add("text", text=text, x=at, y=base, class_=f"label{anchor}")
