"""Several seeds of one recipe: mean, spread, the paired test of student against plain. No reading of run folders."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from scipy import stats

from limbeck.errors import InputError
from limbeck.report.schema import Model, Report, as_json, parse_report

__all__ = ["attach_seeds", "combine", "paired_test"]

FEW = 5  # below this many seeds an exact two-sided sign-flip test cannot reach p < 0.05 (its least p is 2 / 2**n)


def combine(reports: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Put the figures of several seeds together, model by model.

    Args:
        reports: one `report.json` per seed, of the same recipe.

    Returns:
        By model name `{"n", "seeds": [...], "metrics": {name: {"mean", "std", "values"}}}`; `values` follows `seeds`,
        null where a seed lacks the figure; `std` is of the sample (n - 1), null for fewer than two values. The student
        also has `paired`, its test against plain: see `paired_test`.

    Raises:
        InputError: no reports, or reports of different tasks.
    """
    read = [parse_report(report) for report in reports]
    if not read:
        raise InputError("seeds: no reports to put together")
    tasks = sorted({report.task for report in read})
    if len(tasks) > 1:
        raise InputError(f"seeds: reports of different tasks ({', '.join(tasks)}) cannot be put together")
    seeds = [_seed(report, i) for i, report in enumerate(read)]
    names = list(dict.fromkeys(model.name for report in read for model in report.models))
    combined: dict[str, dict[str, Any]] = {}
    for name in names:
        figures = [_figures(report.model_named(name)) for report in read]
        metrics = {}
        for metric in dict.fromkeys(key for found in figures for key in found):
            values = [found.get(metric) for found in figures]
            metrics[metric] = _spread(values)
        combined[name] = {"n": sum(bool(found) for found in figures), "seeds": seeds, "metrics": metrics}
    if "student" in combined and "plain" in combined:
        primary = next((m.primary for r in read if (m := r.model_named("student")) and m.primary), None)
        if primary is not None:
            student, plain = (combined[name]["metrics"].get(primary.name) for name in ("student", "plain"))
            test = paired_test(student["values"], plain["values"]) if student and plain else paired_test([], [])
            test.update(versus="plain", metric=primary.name, higher_is_better=primary.higher_is_better)
            combined["student"]["paired"] = test
    return as_json(combined)


def paired_test(first: list[float | None], second: list[float | None]) -> dict[str, Any]:
    """Test whether two figures differ on average over seeds, pairing by seed (pairs with a null are dropped).

    Returns:
        `n`; `difference` (mean of first - second) with its 95 % interval `low`, `high`; `p_value` of the paired t-test
        (null with fewer than two pairs, or when every pair differs by the same); `p_value_sign_flip` of the exact
        sign-flip permutation test, which assumes no normal spread; `too_few`: fewer than 5 pairs.
    """
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    differences = np.array([a - b for a, b in pairs], dtype=float)
    n = len(differences)
    found: dict[str, Any] = {
        "n": n,
        "difference": None,
        "low": None,
        "high": None,
        "p_value": None,
        "p_value_sign_flip": None,
    }
    found["too_few"] = n < FEW
    if n:
        found["difference"] = float(differences.mean())
    if n >= 2:
        # equal up to rounding: the t statistic would be a division by nothing
        if np.ptp(differences) > 1e-12:
            t_test = stats.ttest_1samp(differences, 0.0)
            interval = t_test.confidence_interval(0.95)
            found.update(p_value=float(t_test.pvalue), low=float(interval.low), high=float(interval.high))
        flips = stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=9999,
            rng=np.random.default_rng(0),
        )
        found["p_value_sign_flip"] = float(flips.pvalue)
    return found


def attach_seeds(report: dict[str, Any], reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return `report` with each model's `seeds` from `combine(reports)`; other figures stay those of its own seed."""
    combined = combine(reports)
    return {**report, "models": [{**m, "seeds": combined.get(m["name"], m.get("seeds"))} for m in report["models"]]}


def _seed(report: Report, position: int) -> int:
    seed = report.provenance.seed if report.provenance else None
    return position if seed is None else seed


def _figures(model: Model | None) -> dict[str, float]:
    """Every figure of a model by name; empty for a model that is absent or withheld."""
    if model is None or model.withheld:
        return {}
    found: dict[str, Any] = {}
    if model.primary:
        found[model.primary.name] = model.primary.value
    found.update(
        top1=model.top1, ece=model.ece, nll=model.nll, params=model.params, macs=model.macs, size_bytes=model.size_bytes
    )
    if model.latency_ms:
        found.update(latency_ms_median=model.latency_ms.median, latency_ms_p90=model.latency_ms.p90)
    for name, value in (model.metrics or {}).items():
        found.setdefault(name, value)
    return {k: v for k, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}


def _spread(values: list[float | None]) -> dict[str, Any]:
    present = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(present) if present else None,
        "std": statistics.stdev(present) if len(present) > 1 else None,
        "values": values,
    }
