"""What the page shows by SNR: accuracy and calibration of every model, parity of the student's files, confusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from limbeck.report.charts import Curve, curves_chart, hue
from limbeck.report.numerals import percent, signed
from limbeck.report.schema import Report
from limbeck.report.snr import BANDS, Level, Matrix
from limbeck.report.svg import Canvas
from limbeck.report.tables import Cell, Table, label

__all__ = ["matrix_chart", "snr_view"]

HEADINGS = {name: f"mean of {low} to {high} dB" for name, (low, high) in BANDS.items()} | {
    "best_snr_accuracy": "best level"
}
MOST_TEXT = 12  # classes up to which a matrix has its shares written in the cells


def snr_view(report: Report) -> dict[str, Any] | None:
    """What the section on the SNR needs; None where no model has figures by SNR and there are no confusions."""
    curves = {model.name: model.per_snr for model in report.models if model.per_snr}
    for gate in report.parity or []:
        if gate.by_snr and gate.model == "student_int8" and report.model_named(gate.model) is not None:
            curves[gate.model] = [Level(snr=one.snr, n=one.n, accuracy=one.accuracy) for one in gate.by_snr]
    names = report.data.class_names if report.data and report.data.class_names else []
    matrices = []
    for matrix in report.signals.matrices if report.signals else []:
        told = "All frames" if matrix.snr is None else f"{matrix.snr:g} dB"
        chart = matrix_chart(matrix, names)
        if chart is not None:
            matrices.append({"title": told, "chart": chart})
    if not curves and not matrices:
        return None
    figures = []
    for field, title in (("accuracy", "accuracy"), ("ece", "calibration error (ECE)")):
        drawn = []
        for position, model in enumerate(report.models):
            points = [
                (level.snr, value)
                for level in curves.get(model.name, [])
                if (value := getattr(level, field)) is not None
            ]
            if len(points) > 1:
                drawn.append(Curve(label(model), points, hue(model.name, position)))
        chart = curves_chart(drawn, title=title, metric=field, along="SNR, dB")
        if chart is not None:
            legend = [(curve.label, curve.hue) for curve in drawn]
            figures.append({"title": f"{title[:1].upper()}{title[1:]} by SNR", "chart": chart, "legend": legend})
    return {
        "figures": figures,
        "bands": _bands_table(report, set(curves)),
        "table": _levels_table(report, curves),
        "parity": _parity_table(report),
        "matrices": matrices,
    }


def _bands_table(report: Report, told: set[str]) -> Table | None:
    """Means over the bands that the literature tells, and the best level, a row per model; None without such figures."""
    models = [model for model in report.models if model.name in told and model.metrics]
    known = [name for name in HEADINGS if any(name in (model.metrics or {}) for model in models)]
    if not known:
        return None
    rows = []
    for model in models:
        metrics, cells = model.metrics or {}, []
        for name in known:
            at = metrics.get("best_snr_db") if name == "best_snr_accuracy" else None
            cells.append(Cell(percent(metrics.get(name)), note="" if at is None else f"at {at:g} dB"))
        rows.append((label(model), "", cells))
    return Table([HEADINGS[name] for name in known], rows)


def _levels_table(report: Report, curves: dict[str, list[Level]]) -> Table | None:
    """Accuracy of every model, a row per SNR, the best of each marked."""
    models = [model for model in report.models if model.name in curves]
    if not models:
        return None
    rows = []
    for snr in sorted({level.snr for levels in curves.values() for level in levels}):
        here = [next((one for one in curves[model.name] if one.snr == snr), None) for model in models]
        texts = ["–" if one is None else percent(one.accuracy) for one in here]
        best = max((one.accuracy for one in here if one is not None), default=None)
        marked = [one is not None and one.accuracy == best and len(set(texts)) > 1 for one in here]
        note = f"{max(one.n for one in here if one is not None)} frames"
        rows.append((f"{snr:g} dB", note, [Cell(text, best=mark) for text, mark in zip(texts, marked, strict=True)]))
    return Table([label(model) for model in models], rows)


def _parity_table(report: Report) -> Table | None:
    """What the student's files say at each SNR: a row per SNR, decisions changed and accuracy of each file."""
    gates = {
        gate.model: gate.by_snr for gate in report.parity or [] if gate.by_snr and str(gate.model).startswith("student")
    }
    if not gates:
        return None
    headings, rows = [], []
    for name in gates:
        told = "int8" if name == "student_int8" else "fp32"
        headings += [f"{told} accuracy", f"{told} decisions changed"]
    for snr in sorted({one.snr for levels in gates.values() for one in levels}):
        cells: list[Cell] = []
        for levels in gates.values():
            one = next((level for level in levels if level.snr == snr), None)
            if one is None:
                cells += [Cell("–"), Cell("–")]
                continue
            change = one.accuracy - one.reference
            beside = "as before" if not change else signed(change, "accuracy")
            cells += [Cell(percent(one.accuracy), note=beside), Cell(f"{one.changed} of {one.n}")]
        rows.append((f"{snr:g} dB", "", cells))
    return Table(headings, rows)


def matrix_chart(matrix: Matrix, names: Sequence[str]) -> Markup | None:
    """Draw confusions: a row per true class, a column per answer, shares of the row; None without a frame."""
    counts, size = matrix.counts, len(matrix.counts)
    if not size or not sum(map(sum, counts)):
        return None
    called = [str(name) for name in names] if len(names) == size else [str(place) for place in range(size)]
    longest = max(map(len, called))
    left, cell = 12 + round(6.6 * longest), max(16, min(30, 420 // size))
    top = 8
    bottom = 14 + round(6.0 * longest * 0.75)
    at = "all frames" if matrix.snr is None else f"{matrix.snr:g} dB"
    canvas = Canvas(left + cell * size + 24, top + cell * size + bottom, label=f"confusions of the student, {at}")
    for true, row in enumerate(counts):
        total, y = sum(row), top + cell * true
        canvas.add("text", text=called[true], x=left - 6, y=y + cell / 2 + 4, class_="tick end")
        for taken, count in enumerate(row):
            x, share = left + cell * taken, count / max(1, total)
            tip = f"{called[true]} taken for {called[taken]}\n{count} of {total} frames"
            kind = "right" if true == taken else "wrong"
            canvas.add("rect", x=x, y=y, width=cell, height=cell, class_="cell")
            if count:
                canvas.add(
                    "rect", x=x, y=y, width=cell, height=cell, class_=f"share {kind}",
                    fill_opacity=f"{0.08 + 0.92 * share:.2f}", tip=tip,
                )  # fmt: skip
            if count and size <= MOST_TEXT and round(100 * share):
                dark = " onshare" if share > 0.55 else ""
                text = f"{100 * share:.0f}"
                canvas.add("text", text=text, x=x + cell / 2, y=y + cell / 2 + 4, class_=f"tick mid{dark}")
    base = top + cell * size
    for taken, name in enumerate(called):
        at_x, at_y = round(left + cell * taken + cell / 2), base + 12
        turn = f"rotate(-45 {at_x} {at_y})"
        canvas.add("text", text=name, x=at_x, y=at_y, class_="tick end", transform=turn)
    return canvas.markup()
