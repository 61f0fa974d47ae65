"""Rows and columns of the page: which models, which figures, which is best in its column. No HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from limbeck.report.compare import standard_error
from limbeck.report.numerals import DASH, amount, figure, megabytes, milliseconds, spoken
from limbeck.report.schema import Limits, Model, Report
from limbeck.report.searching import Trial
from limbeck.types import per_second

__all__ = [
    "Cell",
    "Table",
    "classes_table",
    "differing_fields",
    "label",
    "models_table",
    "ordered_trials",
    "seeds_table",
]

_LABELS = {
    "seed": "Seed",
    "plain": "Plain",
    "off_the_shelf": "Off the shelf",
    "student": "Student",
    "student_int8": "Student, int8",
}
_FIRST_METRICS = (
    *("top1", "top5", "macro_accuracy"),
    *("pixel_accuracy", "mean_class_accuracy"),
    *("map50", "map75", "map_small", "map_medium", "map_large", "mar_100"),
    *("ece", "nll", "brier"),
)
_TOLD_ELSEWHERE = ("ece_", "mce", "nll_", "nme_", "failure_rate_", "auc_")  # with their column, or their section
_LOWER_IS_BETTER = frozenset({"ece", "mce", "nll", "brier", "loss"})


@dataclass(frozen=True)
class Cell:
    """One figure: its text, what stands small beneath it, whether it is the best of its column or over the budget."""

    text: str
    note: str = ""
    best: bool = False
    over: bool = False


@dataclass(frozen=True)
class Table:
    """Headings, and rows of (label, note, cells)."""

    headings: list[str]
    rows: list[tuple[str, str, list[Cell]]]


def label(model: Model) -> str:
    """What the page calls a model."""
    numbered = re.fullmatch(r"(teacher|assistant)(\d*)", model.name)
    if numbered is None:
        return _LABELS.get(model.name, model.name.replace("_", " "))
    if model.mean_of:
        return "Teachers' mean"
    return f"{'peer' if model.peer else numbered[1]} {numbered[2]}".strip().capitalize()


@dataclass(frozen=True)
class _Column:
    heading: str
    value: Callable[[Model], float | None]
    write: Callable[[float | None], str]
    higher_is_better: bool = False
    note: Callable[[Model], str] = lambda model: ""
    limit: float | None = None
    rank: bool = True


def models_table(
    models: Sequence[Model],
    *,
    budget: Limits | None = None,
    n_test: int | None = None,
    per_second_of: str | None = None,
) -> Table:
    """The comparison: a column per figure that at least one model has, the best of each marked.

    Args:
        models: the rows.
        budget: whose statistic is told, and whose limits are.
        n_test: samples behind shares of right answers.
        per_second_of: what samples are called that come one after the other: so many per second is told of them.
    """
    budget = budget or Limits()
    columns = [*_metric_columns(models, n_test)]
    bounded = "p90" if budget.statistic == "p90" else "median"
    columns += [
        _Column(
            f"{bounded} latency", _latency(bounded), milliseconds, note=_spread(bounded), limit=budget.max_latency_ms
        ),
        *([] if per_second_of is None else [_Column(f"{per_second_of}/s", _per_second, amount, higher_is_better=True)]),
        _Column("size", lambda m: m.size_bytes, megabytes, limit=budget.max_size_bytes),
        _Column("parameters", lambda m: m.params, amount, limit=budget.max_params),
        _Column("MACs", lambda m: m.macs, amount, limit=budget.max_macs),
    ]
    columns = [column for column in columns if any(column.value(model) is not None for model in models)]
    filled = [_fill(column, models) for column in columns]
    rows = []
    for i, model in enumerate(models):
        note = f"withheld: {model.withheld}" if model.withheld else (model.role or "")
        rows.append((label(model), note if note != model.name else "", [cells[i] for cells in filled]))
    return Table([column.heading for column in columns], rows)


def _metric_columns(models: Sequence[Model], n_test: int | None) -> list[_Column]:
    primary = next((model.primary for model in models if model.primary), None)
    columns = []
    if primary is not None:
        counted = n_test if primary.name in {"top1", "top5", "accuracy"} else None

        def value_of(model: Model) -> float | None:
            return model.primary.value if model.primary and model.primary.name == primary.name else None

        def error_of(model: Model) -> str:
            value = value_of(model)
            return f"± {100 * standard_error(value, counted):.2f}" if value is not None and counted else ""

        columns.append(
            _Column(spoken(primary.name), value_of, _write(primary.name), primary.higher_is_better, note=error_of)
        )
    names = {name for model in models for name, value in (model.metrics or {}).items() if _is_number(value)}
    names |= {name for name in ("top1", "ece", "nll") if any(getattr(model, name) is not None for model in models)}
    names.discard(primary.name if primary else "")
    known = [name for name in _FIRST_METRICS if name in names]
    others = [name for name in sorted(names - set(known)) if not name.startswith(_TOLD_ELSEWHERE)]
    if primary is None or primary.name in _FIRST_METRICS:  # these are other tasks'
        others = []
    for name in [*known, *others]:
        higher = name not in _LOWER_IS_BETTER and not name.endswith(("_ece", "_error", "_loss"))
        columns.append(
            _Column(spoken(name), _metric(name), _write(name), higher, note=_before(name), rank=name in _FIRST_METRICS)
        )
    return columns


def _before(name: str) -> Callable[[Model], str]:
    """What stands beneath a figure of confidence: the same before calibration, where a temperature changed it."""

    def note(model: Model) -> str:
        value = (model.metrics or {}).get(f"{name}_before")
        is_changed = model.reliability is not None and model.reliability.after is not None
        return f"was {figure(name, value)}" if is_changed and _is_number(value) else ""

    return note


def _metric(name: str) -> Callable[[Model], float | None]:
    def value(model: Model) -> float | None:
        own = getattr(model, name, None) if name in {"top1", "ece", "nll"} else None
        found = own if own is not None else (model.metrics or {}).get(name)
        return found if _is_number(found) else None

    return value


def _latency(name: str) -> Callable[[Model], float | None]:
    return lambda model: getattr(model.latency_ms, name) if model.latency_ms else None


def _per_second(model: Model) -> float | None:
    latency = model.latency_ms.median if model.latency_ms else None
    return per_second(latency) if latency else None


def _write(name: str) -> Callable[[float | None], str]:
    return lambda value: figure(name, value)


def _spread(bounded: str) -> Callable[[Model], str]:
    """What stands beneath a latency: the other statistic."""
    other = "median" if bounded == "p90" else "p90"

    def note(model: Model) -> str:
        value = getattr(model.latency_ms, other) if model.latency_ms else None
        return f"{other} {milliseconds(value)}" if value is not None else ""

    return note


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _fill(column: _Column, models: Sequence[Model]) -> list[Cell]:
    values = [column.value(model) for model in models]
    cells = [
        Cell(
            column.write(value),
            column.note(model),
            over=column.limit is not None and value is not None and value > column.limit,
        )
        for value, model in zip(values, models, strict=True)
    ]
    running = [(v, c.text) for v, c, m in zip(values, cells, models, strict=True) if v is not None and not m.withheld]
    texts = {text for _, text in running}
    if column.rank and len(texts) > 1:  # nothing is best where all are alike
        pick = max if column.higher_is_better else min
        best = pick(running)[1]  # by the text: what reads the same is as good
        cells = [replace(c, best=c.text == best and not m.withheld) for c, m in zip(cells, models, strict=True)]
    return cells


def seeds_table(report: Report) -> Table | None:
    """Mean and standard deviation over seeds by model; None where no model has them."""
    with_seeds = [model for model in report.models if model.seeds and isinstance(model.seeds.get("metrics"), dict)]
    shown = ("top1", "ece_before", "ece", "nll", "latency_ms_median")
    primaries = [model.primary.name for model in with_seeds if model.primary]
    names = list(dict.fromkeys([*primaries, *shown]))
    names = [name for name in names if any(_mean(model, name) is not None for model in with_seeds)]
    if not names:
        return None
    rows = []
    for model in with_seeds:
        cells = []
        for name in names:
            record = (model.seeds or {})["metrics"].get(name) or {}
            write = milliseconds if name.startswith("latency_ms") else _write(name)
            std = record.get("std")
            cells.append(Cell(write(record.get("mean")), f"± {write(std)}" if std is not None else ""))
        rows.append((label(model), f"{(model.seeds or {}).get('n', DASH)} seeds", cells))
    return Table(
        [
            "median latency" if name == "latency_ms_median" else spoken(name.replace("_before", " before calibration"))
            for name in names
        ],
        rows,
    )


def classes_table(models: Sequence[Model]) -> Table | None:
    """A row per class and a column per model that has the figure, the best of each class marked; None without any."""
    judged = [(model, model.per_class) for model in models if model.per_class and not model.withheld]
    if not judged:
        return None
    rows = []
    for name in dict.fromkeys(name for _, found in judged for name in found.values):
        values = [found.values.get(name) for _, found in judged]
        texts = [figure(found.name, value) for value, (_, found) in zip(values, judged, strict=True)]
        known = [(value, text) for value, text in zip(values, texts, strict=True) if value is not None]
        best = max(known)[1] if len({text for _, text in known}) > 1 else None  # nothing is best where all are alike
        rows.append((name, "", [Cell(text, best=text == best) for text in texts]))
    return Table([label(model) for model, _ in judged], rows)


def _mean(model: Model, name: str) -> float | None:
    record = (model.seeds or {})["metrics"].get(name)
    return record.get("mean") if isinstance(record, dict) else None


def ordered_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Scored candidates first, the most accurate on top; then the others by number."""
    return sorted(trials, key=lambda trial: (trial.accuracy is None, -(trial.accuracy or 0), trial.number))


def differing_fields(trees: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Dotted fields whose values are not the same in all trees, with each tree's value as text."""
    flat = [_flatten(tree) for tree in trees]
    names = list(dict.fromkeys(name for tree in flat for name in tree))
    rows = [(name, [tree.get(name, DASH) for tree in flat]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found.update(_flatten(value, f"{prefix}{name}."))
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            found[f"{prefix}{name}"] = DASH if value is None else text
    return found
