"""The page itself: what goes into which section, and the template that writes it. Figures come from elsewhere.

One file that works from disk: styles, script, charts and pictures are inside, and a content security policy admits
nothing else, so that the page cannot reach a network even if it wanted to. Every text is escaped by Jinja's autoescape
or by the XML writer of the charts.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from limbeck.report import candidates, charts, numerals, tables
from limbeck.report.by_snr import snr_view
from limbeck.report.landmarks import landmarks_view
from limbeck.report.schema import Model, Report, parse_report
from limbeck.report.searched import adapt_view, search_view, searches_table, time_bars
from limbeck.report.seeds import attach_seeds
from limbeck.report.verdicts import judge

__all__ = ["render", "render_many"]

_PICTURE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+")
_MOST_LEFT_OUT = 200
COUNTED = ("top1", "top5", "accuracy")  # shares of the test pictures, whose standard error is known
_KEPT_TOGETHER = re.compile(r"(?<=\d) (?=%|ms\b|[kMG]?B\b|points?\b)|(?<=\b[pn]) (?=[=<])|(?<=\b[pn] [=<]) (?=\d)")


def render(report: dict[str, Any], *, pictures: dict[str, Any] | None = None) -> str:
    """Write the page of one run.

    Args:
        report: as in `report.json`; verdicts are added by `judge` where it holds none.
        pictures: example pictures for the page alone, so that `report.json` stays small:
            `{"confusions": [{"true", "predicted", "examples": [data URI of a PNG, JPEG, WebP or GIF, ...]}]}`;
            or `{"examples": [{"picture", "text", "image": data URI}], "panels": what an image shows from left to
            right, "legend": [{"name", "image"}]}`; or of landmarks `{"faces": [{"picture", "text", "kind": worst or
            typical, "image"}]}`.

    Returns:
        HTML that needs no other file and no network.

    Raises:
        InputError: the report does not hold what a report must.
    """
    read = parse_report(report)
    verdicts = read.verdicts if read.verdicts is not None else judge(report)
    counts = (read.data.counts or {}) if read.data else {}
    primary = next((model.primary.name for model in read.models if model.primary), "accuracy")
    higher_is_better = all(model.primary.higher_is_better for model in read.models if model.primary)
    bars = time_bars(read)
    p90 = bool(read.budget and read.budget.statistic == "p90")
    n_test = counts.get("test") if primary in COUNTED else None
    marks = charts.marks_of(read.models, tables.label, n_test=n_test, p90=p90)
    view = {
        "report": read,
        "verdicts": verdicts,
        # those of the data stand in its own section
        "warnings": [w for w in read.warnings or [] if not (read.data and w in (read.data.warnings or []))],
        "table": tables.models_table(
            read.models, budget=read.budget, n_test=n_test, per_second_of=_per_second_of(read)
        ),
        "headline": _headline(read),
        "models_chart": charts.models_chart(
            marks,
            metric=primary,
            latency="p90 latency" if p90 else "median latency",
            ceiling_ms=read.budget.max_latency_ms if read.budget else None,
        ),
        "search_chart": candidates.search_chart(read.search) if read.search else None,
        "search": search_view(read.search, higher_is_better=higher_is_better),
        "adapt": adapt_view(read.adapt),
        "times": charts.times_chart(bars),
        "phases": charts.phases_of(bars),
        "reliability": _reliability(read),
        "curves": _curves(read, primary),
        "confusions": _confusions(read, pictures or {}),
        "snr": snr_view(read),
        "higher_is_better": higher_is_better,
        "landmarks": landmarks_view(read),
        "faces": _pictured(pictures or {}, "faces", "picture", "text", "kind"),
        "classes": tables.classes_table(read.models),
        "per_class": next((model.per_class.name for model in read.models if model.per_class), ""),
        "examples": _pictured(pictures or {}, "examples", "picture", "text"),
        "panels": str((pictures or {}).get("panels", "")),
        "legend": _pictured(pictures or {}, "legend", "name"),
        "seeds_table": tables.seeds_table(read),
        "seeds_paired": _paired_over_seeds(read),
        "measurements": [(tables.label(model), timed) for model in read.models for timed in model.measurements or []],
        "fits": [(tables.label(model), model.fit) for model in read.models if model.fit],
        "n_test": n_test,
        "most_left_out": _MOST_LEFT_OUT,
    }
    view["sections"] = _sections(view)
    return _write("page.html", title=f"{read.run}: Limbeck report", **view)


def _per_second_of(report: Report) -> str | None:
    """What the samples of signals are called, of which so many per second are told."""
    return report.samples if report.signals else None


def render_many(reports: Sequence[dict[str, Any]]) -> str:
    """Write one page with several runs side by side; runs that differ in their seed alone are also put together.

    Raises:
        InputError: a report does not hold what a report must, or there is none.
    """
    if len(reports) == 1:
        return render(reports[0])
    read = [parse_report(report) for report in reports]
    names = _distinct([report.run for report in read], [r.provenance.seed if r.provenance else None for r in read])
    recipes = [(report.provenance.recipe or {}) if report.provenance else {} for report in read]
    runs = []
    marks: list[charts.Mark] = []
    for position, (name, one, raw) in enumerate(zip(names, read, reports, strict=True)):
        counts = (one.data.counts or {}) if one.data else {}
        runs.append({"name": name, "report": one, "verdicts": one.verdicts if one.verdicts is not None else judge(raw)})
        for mark in charts.marks_of(
            [m for m in one.models if m.name == "student"], lambda model, name=name: name, n_test=counts.get("test")
        ):
            marks.append(charts.Mark(mark.label, mark.x, mark.y, position % 8, mark.tip, mark.error))
    groups = []
    for model_name in dict.fromkeys(model.name for report in read for model in report.models):
        present = [
            (name, model) for name, report in zip(names, read, strict=True) if (model := report.model_named(model_name))
        ]
        table = tables.models_table([model for _, model in present], per_second_of=_per_second_of(read[0]))
        rows = [(name, note, cells) for (name, _), (_, note, cells) in zip(present, table.rows, strict=True)]
        groups.append((tables.label(present[0][1]), tables.Table(table.headings, rows)))
    together = None
    if _differ_by_seed_only(read, recipes):
        together = parse_report(attach_seeds(dict(reports[0]), list(reports)))
    primary = next((model.primary.name for report in read for model in report.models if model.primary), "accuracy")
    return _write(
        "runs.html",
        title=f"{len(read)} runs: Limbeck report",
        runs=runs,
        names=names,
        groups=groups,
        chart=charts.models_chart(marks, metric=primary, latency="median latency"),
        searches=searches_table(names, read),
        differences=tables.differing_fields(recipes),
        seeds_table=tables.seeds_table(together) if together else None,
        seeds_paired=_paired_over_seeds(together) if together else None,
        seeds_of=sorted({r.provenance.seed for r in read if r.provenance and r.provenance.seed is not None}),
    )


def _write(template: str, **view: Any) -> str:
    environment = Environment(
        loader=PackageLoader("limbeck.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: (
            numerals.DASH if value is None else value
        ),  # absent figures read as a dash, never as None
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=numerals.percent,
        ms=numerals.milliseconds,
        size=numerals.megabytes,
        amount=numerals.amount,
        duration=numerals.duration,
        moment=numerals.moment,
        seconds=lambda value: numerals.duration(value) if isinstance(value, (int, float)) else value,
        signed=numerals.signed,
        spoken=numerals.spoken,
        three=lambda value: numerals.DASH if value is None else numerals.three(value),
        big=lambda value: f"{value:,}" if value < 10**9 else f"{value:.2g}",
        unbroken=lambda text: _KEPT_TOGETHER.sub("\u00a0", text),
        pretty=lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    )
    environment.globals.update(label=tables.label, architecture=candidates.architecture_lines)
    loader = environment.loader
    assert loader is not None
    style, script = (loader.get_source(environment, name)[0] for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    # our own two files, without a closing tag inside: safe to stand in <style> and <script> as they are
    return environment.get_template(template).render(policy=policy, style=Markup(style), script=Markup(script), **view)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _sections(view: dict[str, Any]) -> dict[str, str]:
    """The sections that have something to show, in reading order: id -> title."""
    report: Report = view["report"]
    has = {
        "verdicts": ("What this run shows", view["verdicts"] or view["warnings"]),
        "models": ("Models", report.models),
        "seeds": ("Seeds", view["seeds_table"]),
        "trade-off": ("Accuracy against latency", view["models_chart"] or view["search_chart"]),
        "calibration": ("Confidence", view["reliability"]),
        "confusions": ("Confusions", view["confusions"]),
        "snr": ("Accuracy by SNR", view["snr"]),
        "landmarks": ("Points", view["landmarks"]),
        "classes": ("Classes", view["classes"]),
        "examples": ("Mistaken frames" if report.signals else "Pictures", view["examples"]),
        "training": ("Training", view["curves"] or view["fits"]),
        "search": ("Search", view["search"]),
        "adapt": ("Adaptation", view["adapt"]),
        "parity": ("Parity gates", report.parity),
        "measurements": ("Measurements", view["measurements"]),
        "data": ("Data", report.data),
        "stages": ("Stages", report.stages),
        "provenance": ("Provenance", report.provenance),
    }
    return {name: title for name, (title, shown) in has.items() if shown}


def _headline(report: Report) -> list[dict[str, str]]:
    """Up to four figures of the student, each against what it should be read beside."""
    student = report.model_named("student")
    if student is None:
        return []
    plain, budget, tiles = report.model_named("plain"), report.budget, []
    if student.primary and student.primary.value is not None:
        beside = plain.primary.value if plain and plain.primary and plain.primary.name == student.primary.name else None
        note = f"plain {numerals.figure(student.primary.name, beside)}" if beside is not None else "on test"
        tiles.append(
            {
                "name": numerals.spoken(student.primary.name),
                "value": numerals.figure(student.primary.name, student.primary.value),
                "note": note,
            }
        )
    if student.latency_ms:
        statistic = (budget.statistic if budget else None) or "median"
        value = student.latency_ms.statistic(statistic)
        limit = budget.max_latency_ms if budget else None
        note = (
            f"budget {numerals.milliseconds(limit)}" if limit is not None else ((budget.target or "") if budget else "")
        )
        tiles.append({"name": f"{statistic} latency", "value": numerals.milliseconds(value), "note": note})
    if student.size_bytes is not None:
        note = f"{numerals.amount(student.params)} parameters" if student.params is not None else ""
        tiles.append({"name": "file size", "value": numerals.megabytes(student.size_bytes), "note": note})
    if student.ece is not None:
        before = student.reliability.before.ece if student.reliability and student.reliability.before else None
        note = f"{numerals.percent(before)} before calibration" if before is not None else "calibration error"
        tiles.append({"name": "ECE", "value": numerals.percent(student.ece), "note": note})
    return tiles


def _reliability(report: Report) -> list[dict[str, Any]]:
    """Diagrams by model, the student first and its peer beside it; the others are folded away."""
    shown = []
    for model in sorted(report.models, key=lambda model: (model.name != "student", not model.peer)):
        if model.reliability is None:
            continue
        pair = []
        for diagram, when in (
            (model.reliability.before, "before calibration"),
            (model.reliability.after, "after calibration"),
        ):
            title, counted = f"{tables.label(model)}, {when}", model.reliability.counted or report.samples
            chart = charts.reliability_chart(diagram, title=title, counted=counted) if diagram else None
            if chart:
                pair.append((when, chart))
        if pair:
            entry = {"label": tables.label(model), "reliability": model.reliability, "charts": pair}
            shown.append({**entry, "folded": model.name != "student" and not model.peer})
    return shown


def _curves(report: Report, primary: str) -> list[dict[str, Any]]:
    """One figure per quantity that at least one model logged by epoch: the primary metric, then the loss."""
    figures = []
    for metric, title in ((primary, f"validation {numerals.spoken(primary)}"), ("loss", "training loss")):
        curves = []
        for position, model in enumerate(report.models):
            history = (model.fit.history or []) if model.fit else []
            points = [
                (float(row["epoch"]), float(row[metric])) for row in history if _has_numbers(row, "epoch", metric)
            ]
            if len(points) > 1:
                kept = model.fit.best_epoch if model.fit and metric == primary else None
                curves.append(charts.Curve(tables.label(model), points, charts.hue(model.name, position), kept))
        chart = charts.curves_chart(curves, title=title, metric=metric)
        if chart:
            figures.append({"title": title, "chart": chart, "legend": [(curve.label, curve.hue) for curve in curves]})
    return figures


def _has_numbers(row: dict[str, Any], *names: str) -> bool:
    return all(isinstance(row.get(name), (int, float)) for name in names)


def _confusions(report: Report, pictures: dict[str, Any]) -> list[dict[str, Any]]:
    """The worst confusions with their example pictures; anything that is not an inline picture is left out."""
    examples = {
        (str(item.get("true")), str(item.get("predicted"))): item.get("examples") or []
        for item in pictures.get("confusions") or []
    }
    shown = []
    for confusion in report.confusions or []:
        key = (str(confusion.true), str(confusion.predicted))
        inline = [uri for uri in examples.get(key, []) if isinstance(uri, str) and _PICTURE.fullmatch(uri)]
        shown.append({"true": key[0], "predicted": key[1], "count": confusion.count, "examples": inline})
    return sorted(shown, key=lambda item: -item["count"])


def _pictured(pictures: dict[str, Any], key: str, *texts: str) -> list[dict[str, str]]:
    """Pictures of a section with their texts; anything that is not an inline picture is left out."""
    return [
        {**{name: str(item.get(name, "")) for name in texts}, "image": item["image"]}
        for item in pictures.get(key) or []
        if isinstance(item.get("image"), str) and _PICTURE.fullmatch(item["image"])
    ]


def _paired_over_seeds(report: Report) -> dict[str, Any] | None:
    student: Model | None = report.model_named("student")
    paired = (student.seeds or {}).get("paired") if student else None
    return paired if isinstance(paired, dict) and paired.get("difference") is not None else None


def _distinct(names: list[str], seeds: list[int | None]) -> list[str]:
    """Names that tell runs apart: with the seed, then with a number, where the name alone does not."""
    if len(set(names)) < len(names):
        names = [f"{name}, seed {seed}" if seed is not None else name for name, seed in zip(names, seeds, strict=True)]
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told


def _differ_by_seed_only(reports: Sequence[Report], recipes: Sequence[dict[str, Any]]) -> bool:
    if not all(recipes) or len({report.task for report in reports}) > 1:
        return False
    rest = [{name: value for name, value in recipe.items() if name not in {"seed", "name"}} for recipe in recipes]
    seeds = {report.provenance.seed for report in reports if report.provenance}
    return all(tree == rest[0] for tree in rest) and len(seeds) == len(reports) and None not in seeds
