"""What the page shows of landmarks: errors by normaliser and subset, their distribution, error bars, modes of shapes, what
inexact boxes cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from limbeck.report.charts import Curve, curves_chart, hue
from limbeck.report.numerals import percent
from limbeck.report.points import PointFindings, Shapes
from limbeck.report.schema import Report
from limbeck.report.svg import Canvas
from limbeck.report.tables import Cell, Table, label

__all__ = ["bars_chart", "landmarks_view", "mode_chart"]

SIDE = 230  # of a drawn shape, in pixels
RATES = ("failure_rate_8", "failure_rate_10", "auc_8", "auc_10")
HEADINGS = {
    "failure_rate_8": "failures, 8 %",
    "failure_rate_10": "failures, 10 %",
    "auc_8": "AUC, 8 %",
    "auc_10": "AUC, 10 %",
}


def landmarks_view(report: Report) -> dict[str, Any] | None:
    """What the section needs; None where no model gives points."""
    found = {model.name: model.points for model in report.models if model.points is not None}
    if not found:
        return None
    names = next(iter(found.values())).normalizers
    shapes = next((model.shape_model for model in report.models if model.shape_model is not None), None)
    student = found.get("student")
    return {
        "normalizer": next(iter(names.values())),
        "figures": _figures_table(report, names),
        "ced": _ced(report, found, next(iter(names.values()))),
        "subsets": [
            (one, _subset_table(report, found, name)) for name, one in names.items() if _has_parts(found, name)
        ],
        "compat": [(label(model), model.points.compat_auc) for model in report.models if model.points is not None],
        "jitter": _jitter(report),
        "bars": _bars_table(report, found),
        "bars_chart": bars_chart(shapes.mean, student.bars.radii) if shapes and student and student.bars else None,
        "coverage": student.bars.coverage if student and student.bars else None,
        "shapes": shapes,
        "modes": []
        if shapes is None
        else [(one.share, mode_chart(shapes, place)) for place, one in enumerate(shapes.first)],
    }


def _figures_table(report: Report, names: dict[str, str]) -> Table:
    """A row per model: the mean error by each normaliser, failures and areas."""
    columns = [(name, f"NME, {one}") for name, one in names.items()] + [(name, HEADINGS[name]) for name in RATES]
    models = [model for model in report.models if model.metrics and not model.withheld]
    filled: list[list[Cell]] = []
    for name, _ in columns:
        values = [(model.metrics or {}).get(name) for model in models]
        filled.append(_ranked([value if isinstance(value, (int, float)) else None for value in values], name))
    rows = [(label(model), "", [cells[place] for cells in filled]) for place, model in enumerate(models)]
    return Table([heading for _, heading in columns], rows)


def _ranked(values: Sequence[float | None], name: str, notes: Sequence[str] | None = None) -> list[Cell]:
    texts = [percent(value) for value in values]
    known = [(value, text) for value, text in zip(values, texts, strict=True) if value is not None]
    pick = max if name.startswith("auc") else min
    best = pick(known)[1] if len({text for _, text in known}) > 1 else None  # nothing is best where all are alike
    return [Cell(text, note, best=text == best) for text, note in zip(texts, notes or [""] * len(texts), strict=True)]


def _has_parts(found: dict[str, PointFindings], name: str) -> bool:
    return any(name in figures for one in found.values() for figures in one.by_subset.values())


def _subset_table(report: Report, found: dict[str, PointFindings], name: str) -> Table:
    """A row per part of the set, a column per model: its mean error, and beneath it its failures."""
    models = [model for model in report.models if model.name in found and found[model.name].by_subset]
    rows = []
    for part in dict.fromkeys(part for model in models for part in found[model.name].by_subset):
        here = [found[model.name].by_subset.get(part, {}) for model in models]
        failed = [one.get("failure_rate_10") for one in here] if name == "nme" else []
        notes = [f"failures {percent(one)}" if one is not None else "" for one in failed]
        count = max(int(one.get("count", 0)) for one in here)
        rows.append((part, f"{count} pictures", _ranked([one.get(name) for one in here], name, notes or None)))
    return Table([label(model) for model in models], rows)


def _ced(report: Report, found: dict[str, PointFindings], normalizer: str) -> dict[str, Any] | None:
    curves = [
        Curve(
            label(model),
            [(100 * error, share) for error, share in zip(one.ced.error, one.ced.share, strict=True)],
            hue(model.name, place),
        )
        for place, model in enumerate(report.models)
        if (one := found.get(model.name)) is not None
    ]
    chart = curves_chart(curves, title="pictures", metric="accuracy", along=f"error at most, % ({normalizer})")
    return None if chart is None else {"chart": chart, "legend": [(curve.label, curve.hue) for curve in curves]}


def _jitter(report: Report) -> dict[str, Any] | None:
    """The student's error by how far its crops are off."""
    points = [(100 * one.shift, one.nme) for one in report.jitter or []]
    curve = Curve("Student", points, hue("student"))
    chart = curves_chart([curve], title="NME", metric="nme", along="boxes off by up to, % of their side")
    return None if chart is None else {"chart": chart, "exact": points[0][1], "worst": points[-1]}


def _bars_table(report: Report, found: dict[str, PointFindings]) -> Table | None:
    rows = []
    for model in report.models:
        bars = found[model.name].bars if model.name in found else None
        if bars is None:
            continue
        held = [one for one in bars.by_point if one is not None]
        spread = f"{percent(min(held))} to {percent(max(held))}" if held else "–"
        rows.append((label(model), "", [Cell(percent(bars.found)), Cell(spread), Cell(percent(bars.radius))]))
    return Table(["points held on test", "of single points", "mean radius, of the crop's side"], rows) if rows else None


def mode_chart(shapes: Shapes, place: int) -> Markup:
    """Draw a mode: each point of the mean shape, and where it goes 3 standard deviations either way."""
    mode = shapes.first[place]
    canvas = Canvas(SIDE, SIDE, label=f"mode {place + 1} of the shape model, {percent(mode.share)} of its variance")
    for low, high in zip(mode.low, mode.high, strict=True):
        canvas.add("line", x1=SIDE * low[0], y1=SIDE * low[1], x2=SIDE * high[0], y2=SIDE * high[1], class_="path")
    for points, kind in ((mode.low, "h4"), (mode.high, "h2"), (shapes.mean, "h1")):
        for x, y in points:
            canvas.add("circle", cx=SIDE * x, cy=SIDE * y, r=2.4, class_=f"model {kind}")
    return canvas.markup()


def bars_chart(mean: Sequence[Sequence[float]], radii: Sequence[float]) -> Markup | None:
    """Draw the mean shape with the radius around each point; None where they are of different numbers."""
    if len(mean) != len(radii):
        return None
    canvas = Canvas(SIDE, SIDE, label="error bars of each point, on the mean shape")
    for (x, y), radius in zip(mean, radii, strict=True):
        canvas.add("circle", cx=SIDE * x, cy=SIDE * y, r=SIDE * radius, class_="radius")
    for number, (x, y) in enumerate(mean):
        tip = f"point {number}\n{percent(radii[number])} of the crop's side"
        canvas.add("circle", cx=SIDE * x, cy=SIDE * y, r=2.4, class_="model h2", tip=tip)
    return canvas.markup()
