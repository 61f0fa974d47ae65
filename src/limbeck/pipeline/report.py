"""Collects what the stages of a run left into `report.json` and its page. Wording and drawing are the report room's."""

from __future__ import annotations

import math
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from limbeck import __version__
from limbeck.deployed import open_runtime
from limbeck.errors import InputError
from limbeck.files import read_json, write_json, write_text
from limbeck.pipeline.context import Context
from limbeck.pipeline.distill import averages_teachers, in_words, lessons_of, needs_trained_teacher
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.searched import adapt_section, search_section
from limbeck.report import attach_seeds, judge, render, render_many, write_report

__all__ = ["report_runs", "seeds_text", "summary_text", "write_run_report", "write_seeds_report"]

ROLES = {
    "seed": "the network that was made narrower",
    "plain": "the same student without distillation",
    "off_the_shelf": "a ready pretrained network, fine-tuned",
    "student": "the result",
    "student_int8": "the result in int8",
}
ORDER = ("teacher", "assistant", "seed", "plain", "off_the_shelf", "student", "student_int8")
PACKAGES = ("torch", "torchvision", "timm", "onnx", "optuna", "numpy")


def write_run_report(
    context: Context, records: dict[str, StageRecord], *, started: float, command: str
) -> dict[str, Any]:
    """Put the stages together, judge them in words, and write `report.json` and `report.html`."""
    calibrated = records["calibrate"].result["models"]
    exported = records["export"].result
    measured = records["measure"].result["measurements"]
    models = [_model(context, name, records, calibrated, exported, measured) for name in _ordered(calibrated)]
    models += [_int8_model(models, exported, measured)] if exported["int8"] is not None else []
    stage = _stage_of("student", records)
    shown = context.problem.show(context.predictions(stage).test, context.splits.test, lambda: context.load(stage))
    report: dict[str, Any] = {
        "schema": 1,
        "run": context.recipe.name,
        "task": context.recipe.task,
        "samples": context.problem.samples,
        "models": models,
        "search": search_section(context, records.get("search")),
        "adapt": adapt_section(context, records.get("adapt")),
        "parity": exported["parity"],
        "budget": context.recipe.budget.model_dump(mode="json"),
        "data": _data(context),
        "warnings": context.splits.report.get("warnings", []),
        **shown.report,
        "paired": _paired(context, records, exported),
        "stages": [
            {"name": name, "seconds": record.seconds, "note": record.result.get("note")}
            for name, record in records.items()
        ],
        "provenance": provenance(context, started=started, command=command),
    }
    report["verdicts"] = judge(report)
    write_report(context.folder.path, report, pictures=shown.pictures)
    write_json(context.folder.path / "stages" / "pictures.json", shown.pictures)
    return read_json(context.folder.path / "report.json")


def _ordered(names: Any) -> list[str]:
    """In the order of `ORDER`; numbered ones by number, before the mean that has their name without one."""

    def place(name: str) -> tuple[int, float]:
        kind = name if name in ORDER else name.rstrip("0123456789")
        number = name.removeprefix(kind)
        return ORDER.index(kind) if kind in ORDER else len(ORDER), int(number) if number else math.inf

    return sorted(names, key=place)


def _role(context: Context, name: str, trained: dict[str, Any]) -> str:
    """What a model is for, in words."""
    if name in ROLES:
        return ROLES[name]
    if trained["origin"] == "trained along":
        return "the student's peer, trained along" if name in context.recipe.teachers else "trained along"
    if "mean_of" in trained:
        return "of their logits: what is learned from"
    chain = ["teacher", *(lesson.name for lesson in lessons_of(context.recipe))]
    if name in chain[1:]:
        place = chain.index(name)
        before = "the teachers" if place == 1 and len(context.recipe.teachers) > 1 else in_words(chain[place - 1])
        return f"learned from {before}, teaches {in_words(chain[place + 1])}; not deployed"
    asked = context.recipe.teachers[name].train.soft_targets if name in context.recipe.teachers else None
    return "teaches, not deployed" if asked is None else "learned smoothed points, teaches, not deployed"


def _stage_of(name: str, records: dict[str, StageRecord]) -> str:
    for stage in (f"train/{name}", f"distill/{name}"):
        if stage in records:
            return stage
    return f"distill/student/{name}"


def _model(
    context: Context,
    name: str,
    records: dict[str, StageRecord],
    calibrated: dict[str, Any],
    exported: dict[str, Any],
    measured: dict[str, Any],
) -> dict[str, Any]:
    judged, task = calibrated[name], context.task
    record = records.get(_stage_of(name, records))
    trained = record.result if record is not None else records["distill/student"].result["peers"][name]
    metrics = judged["metrics"]
    timed = measured.get(name, [])  # the mean of several teachers is no file to time
    target = timed[0] if timed else {"size_bytes": None, "latency_ms": None}
    return {
        "name": name,
        "role": _role(context, name, trained),
        "peer": trained["origin"] == "trained along",
        "mean_of": trained.get("mean_of"),
        "metrics": metrics,
        "validation": judged["validation"],
        "primary": {"name": task.primary, "value": metrics[task.primary], "higher_is_better": task.higher_is_better},
        "top1": metrics.get("top1"),
        "ece": metrics.get("ece"),
        "nll": metrics.get("nll"),
        "params": trained["params"],
        "macs": trained["macs"],
        "input_size": trained.get("input_size"),
        "size_bytes": target["size_bytes"],
        "latency_ms": target["latency_ms"],
        "measurements": timed,
        "seeds": {},
        "artifact": exported["artifacts"][name]["path"] if timed else None,
        "reliability": {
            "before": judged["before"],
            "after": judged["after"],
            "temperature": judged["temperature"] if judged["after"] else None,
            "reason": judged["reason"] or None,
            "counted": judged.get("counted"),
        },
        "per_class": judged.get("per_class"),
        "per_snr": judged.get("per_snr"),
        "points": judged.get("points"),
        "shape_model": trained.get("shape_model"),
        "origin": trained.get("origin"),
        "fit": _fit(trained.get("fit")),
    }


def _fit(fit: dict[str, Any] | None) -> dict[str, Any] | None:
    """A training's report with its epochs flat: epoch, loss, and the figures on validation."""
    if fit is None:
        return None
    epochs = [{"epoch": h["epoch"], "loss": h["train"].get("loss"), **h["validation"]} for h in fit["history"]]
    return {**fit, "history": epochs}


def _int8_model(models: list[dict[str, Any]], exported: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """The int8 form shares the student's counts; its figures are its own, from the device's runtime."""
    student = next(m for m in models if m["name"] == "student")
    int8 = exported["int8"]
    entry = {key: student[key] for key in ("params", "macs", "input_size")}
    entry |= {"name": "student_int8", "role": ROLES["student_int8"], "seeds": {}, "metrics": int8["metrics"]}
    primary = student["primary"]["name"]
    entry["primary"] = {**student["primary"], "value": int8["metrics"][primary]}
    entry |= {key: int8["metrics"].get(key) for key in ("top1", "ece", "nll")}
    if "student_int8" in measured:
        target = measured["student_int8"][0]
        entry |= {
            "size_bytes": target["size_bytes"],
            "latency_ms": target["latency_ms"],
            "measurements": measured["student_int8"],
        }
        entry["artifact"] = exported["artifacts"]["student_int8"]["path"]
    else:
        entry["withheld"] = int8["withheld"]
    return entry


def _data(context: Context) -> dict[str, Any]:
    splits = context.splits
    found = splits.report
    return {
        "name": context.recipe.data.name if context.recipe.data.path is None else Path(context.recipe.data.path).name,
        "classes": len(splits.class_names),
        "class_names": list(splits.class_names),
        "image_size": list(splits.image_size),
        **{key: found[key] for key in ("counts", "left_out", "left_out_count") if key in found},
        "leakage": found.get("leakage"),
        "warnings": found.get("warnings", []),
        "fingerprint": splits.fingerprint,
    }


def _paired(context: Context, records: dict[str, StageRecord], exported: dict[str, Any]) -> dict[str, Any]:
    """Paired differences on the same test pictures."""
    kept = {}
    recipe = context.recipe
    apart = [] if averages_teachers(recipe) or not needs_trained_teacher(recipe) else [*recipe.teachers]
    others = dict.fromkeys(["plain", "off_the_shelf", "teacher", *apart])
    for name in ("student", *others):
        stage = _stage_of(name, records)
        if (context.folder.stage(stage) / "predictions.npz").exists():
            kept[name] = context.predictions(stage).test
    compare, pictures = context.problem.compare, context.splits.test
    pairs = [("student", other) for other in others if other in kept]
    found = {f"{a}_vs_{b}": compare(kept[a], kept[b], pictures) for a, b in pairs if a in kept}
    if exported["int8"] is not None:
        found["student_int8_vs_student"] = exported["int8"]["paired"]
    return found


def provenance(context: Context, *, started: float, command: str) -> dict[str, Any]:
    """What is needed to do the run again."""
    form = "%Y-%m-%dT%H:%M:%SZ"
    return {
        "recipe": context.recipe.resolved(),
        "versions": _versions(),
        "seed": context.recipe.seed,
        "commit": _commit(),
        "host": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "command": command,
        "started": time.strftime(form, time.gmtime(started)),
        "finished": time.strftime(form, time.gmtime()),
    }


def _versions() -> dict[str, str]:
    """Of what computes; onnxruntime says its own, since packages of several names bring it."""
    known = {"limbeck": __version__, "onnxruntime": open_runtime().__version__, "python": platform.python_version()}
    return {name: version(name) for name in PACKAGES} | known


def _commit() -> str | None:
    """The commit of Limbeck's own source tree, where it runs from one; not that of a repository which it is installed in."""
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("rev-parse", "--short=12", "HEAD")


def _git(*asked: str) -> str | None:
    """What git says in the folder of this file; None where it says nothing, refuses, or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *asked], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def write_seeds_report(path: Path, seeds: list[int], reports: list[dict[str, Any]]) -> dict[str, Any]:
    """One report over several seeds: the figures of the first, with every model's mean, spread and paired test."""
    combined = attach_seeds(reports[0], reports)
    combined["run"] = f"{reports[0]['run']}, seeds {', '.join(map(str, seeds))}"
    combined["verdicts"] = judge(combined)
    pictures = path / f"seed-{seeds[0]}" / "stages" / "pictures.json"
    write_report(path, combined, pictures=read_json(pictures) if pictures.exists() else None)
    return read_json(path / "report.json")


def report_runs(runs: list[Path], *, output: Path | None = None) -> Path:
    """Write one run's page again from its `report.json`, or one page of several runs side by side.

    Raises:
        InputError: a run has no report.
    """
    reports = []
    for run in runs:
        path = run / "report.json"
        if not path.exists():
            raise InputError(f"{run}: no report.json; `limbeck run {run}` finishes the run first")
        reports.append(read_json(path))
    page = output or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    if len(runs) > 1:
        write_text(page, render_many(reports))
    else:
        pictures = runs[0] / "stages" / "pictures.json"
        write_text(page, render(reports[0], pictures=read_json(pictures) if pictures.exists() else None))
    return page


def seeds_text(report: dict[str, Any]) -> str:
    """The lines that end a run of several seeds: each model's primary figure and ECE, mean and standard deviation."""
    lines = []
    for model in report["models"]:
        figures = (model["seeds"] or {}).get("metrics", {})
        shown = [(name, figures[name]) for name in (model["primary"]["name"], "ece") if name in figures]
        spreads = [
            f"{name} {f['mean']:.4f}" + (f" ± {f['std']:.4f}" if f["std"] is not None else "") for name, f in shown
        ]
        lines.append(f"{model['name']:<16}{', '.join(spreads)}")
    return "\n".join(lines)


def summary_text(report: dict[str, Any]) -> str:
    """The table that ends a run in the terminal."""
    named = next((model["primary"]["name"] for model in report["models"] if model.get("primary")), "primary")
    lines = [f"{'model':<16}{named:>9}{'ECE':>8}{'median ms':>11}{'p90 ms':>9}{'size kB':>9}{'params':>11}"]
    for model in report["models"]:
        if model.get("withheld"):
            lines.append(f"{model['name']:<16}withheld: {model['withheld']}")
            continue
        ece = "" if model["ece"] is None else f"{model['ece']:.4f}"
        head = f"{model['name']:<16}{model['primary']['value']:>9.4f}{ece:>8}"
        latency = model["latency_ms"]
        timed = (
            f"{latency['median']:>11.3f}{latency['p90']:>9.3f}{model['size_bytes'] / 1e3:>9.0f}"
            if latency
            else f"{'':29}"
        )
        lines.append(f"{head}{timed}{model['params']:>11,}")
    lines += [
        f"{'+' if v['kind'] == 'good' else '-' if v['kind'] == 'bad' else ' '} {v['text']}" for v in report["verdicts"]
    ]
    return "\n".join(lines)
