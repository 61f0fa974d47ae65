"""Samplers on the tabular space of `search_table.py`: regret, hypervolume, reward of the last 50 evaluations, over seeds.

    python benchmarks/samplers.py FOLDER TABLE.parquet --seeds 0-19          # in pieces: what is there is not repeated
    python benchmarks/samplers.py FOLDER TABLE.parquet --networks NETWORKS.csv --studies flat
    python benchmarks/samplers.py FOLDER TABLE.parquet --print

Studies: `reward` compares all samplers on the soft reward; `accuracy` lets them maximise accuracy alone, `hard` lets the
controller maximise the hard reward; `flat` lets it and random search the factorized and the flat space, both
judged by the models fitted to the trained networks, since no table could hold the flat space. The target is the
reference's latency. Two processes with other seeds or samplers may share a folder.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.files import read_json, write_json
from limbeck.search import Objective, Point, Space, compare_samplers, hypervolume, read_tabular

SAMPLERS: dict[str, dict[str, Any]] = {
    "controller, short": {"sampler": "controller", "preset": "short"},
    "controller, nasnet": {"sampler": "controller", "preset": "nasnet"},
    "tpe": {"sampler": "tpe"},
    "nsga2": {"sampler": "nsga2"},
    "random": {"sampler": "random"},
}
STUDIES = {
    "reward": tuple(SAMPLERS),
    "accuracy": ("controller, short", "random"),
    "hard": ("controller, short", "random"),
    "flat": ("controller, short", "random"),
}
LAST = 50
FIGURES = {
    "regret": "regret, 1e-3",
    "last_reward": "reward of the last 50",
    "hypervolume": "hypervolume",
    "within_target": "best accuracy within T, %",
    "last_latency": "latency of the last 50, of T",
    "distinct": "figures that differ",
}
SCALES = {"regret": 1000.0, "within_target": 100.0}
DIGITS = {"regret": 2, "last_reward": 4, "hypervolume": 4, "within_target": 2, "last_latency": 2, "distinct": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="one file per run")
    parser.add_argument("table", type=Path, help="of search_table_fit.py")
    parser.add_argument("--networks", type=Path, help="CSV of search_table.py; needed by the study flat")
    parser.add_argument("--seeds", default="0-19", help="such as 0-19 or 3,5")
    parser.add_argument("--evaluations", type=int, default=600)
    parser.add_argument("--studies", default="reward,accuracy,hard")
    parser.add_argument("--samplers", help="labels, separated by ';'; default: those of the study")
    parser.add_argument("--print", action="store_true", dest="is_printed", help="only print what the folder holds")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if not asked.is_printed:
        run_all(asked)
    print_tables(asked.folder)


def run_all(asked: argparse.Namespace) -> None:
    """Run what was not run yet, seed by seed, so that a table of fewer seeds is there early."""
    space, evaluate = read_tabular(asked.table, ignore=("trained",))
    target = evaluate(reference_of(space))["latency_ms"]
    for seed in seeds_of(asked.seeds):
        for study in asked.studies.split(","):
            for label in asked.samplers.split(";") if asked.samplers else STUDIES[study]:
                for name, (searched, judge) in searched_spaces(study, asked, space, evaluate).items():
                    path = asked.folder / study / f"{name} {label} {seed}.json"
                    if not path.exists():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        run = search(searched, judge, study, label, seed, asked.evaluations, target)
                        write_json(path, {"space": name, **run})
                        print(f"{study}, {path.stem}: {run['seconds']:.0f} s", flush=True)


def reference_of(space: Space) -> Point:
    """The skeleton itself: MBConv3 3x3 without squeeze-excite, one layer per block, the narrower widths."""
    known = {"op": "mbconv3", "kernel": 3, "se": 0.0, "depth": 0}
    return space.check({name: known.get(name.split(".")[-1], min(ids)) for name, ids in space.choices.items()})


def searched_spaces(
    study: str, asked: argparse.Namespace, space: Space, evaluate: Any
) -> dict[str, tuple[Space, Callable[[Point], Mapping[str, float]]]]:
    """The table, or for the study `flat` both spaces judged by the models."""
    if study != "flat":
        return {"table": (space, evaluate)}
    known, judge = modelled(asked.networks)
    return {name: (one, judge(one)) for name, one in known.items()}


@cache
def modelled(networks: Path) -> tuple[dict[str, Space], Callable[[Space], Callable[[Point], dict[str, float]]]]:
    """Both spaces, and what judges a point of either by the models that filled the table."""
    from search_table import spaces
    from search_table_fit import describe, fitted, read_networks

    models = fitted(read_networks(networks))

    def judge(space: Space) -> Callable[[Point], dict[str, float]]:
        def evaluate(point: Point) -> dict[str, float]:
            described = np.array([describe(space, point)])
            return {figure: float(model.predict(described)[0]) for figure, model in models.items()}

        return evaluate

    return spaces(), judge


@dataclass
class Recorded:
    """An evaluation that keeps what it was asked, for the figures that `compare_samplers` does not have."""

    evaluate: Any
    trace: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, point: Point) -> Mapping[str, float]:
        """The figures of the point."""
        found = self.evaluate(point)
        self.trace.append((found["accuracy"], found["latency_ms"]))
        return found


def search(
    space: Space, evaluate: Any, study: str, label: str, seed: int, evaluations: int, target: float
) -> dict[str, Any]:
    """One search, and its figures; whatever it maximised, its points are judged by the soft reward too."""
    soft = Objective("reward", target)
    maximised = {"accuracy": Objective(), "hard": Objective("reward", target, alpha=0.0, beta=-1.0)}.get(study, soft)
    recorded, started = Recorded(evaluate), time.perf_counter()
    compare_samplers(space, recorded, {label: SAMPLERS[label]}, [seed], evaluations, objective=maximised)
    seconds = time.perf_counter() - started
    scores = [soft.score(*pair) for pair in recorded.trace]
    within = [accuracy for accuracy, latency in recorded.trace if latency <= target]
    found: dict[str, Any] = {
        "study": study,
        "sampler": label,
        "seed": seed,
        "evaluations": evaluations,
        "seconds": seconds,
        "best_reward": max(scores),
        "last_reward": statistics.fmean(scores[-LAST:]),
        "within_target": max(within, default=None),
        "last_latency": statistics.median(latency for _, latency in recorded.trace[-LAST:]) / target,
        "distinct": len(set(recorded.trace)),
    }
    if hasattr(evaluate, "all"):
        accuracies, latencies = (np.array(one) for one in zip(*evaluate.all(), strict=True))
        worst = (float(accuracies.min()), float(latencies.max()))
        box = (accuracies.max() - worst[0]) * (worst[1] - latencies.min())
        found["regret"] = max(soft.score(*pair) for pair in evaluate.all()) - found["best_reward"]
        found["hypervolume"] = hypervolume(recorded.trace, worst) / float(box)
    return found


def seeds_of(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last) + 1)) if last else [int(one) for one in text.split(",")]


def print_tables(folder: Path) -> None:
    """What the folder holds, as Markdown: mean +- standard deviation over the seeds."""
    for study in STUDIES:
        runs = [read_json(path) for path in sorted((folder / study).glob("*.json"))]
        figures = [name for name in (*FIGURES, "best_reward") if any(name in run for run in runs)]
        if "regret" in figures:
            figures.remove("best_reward")
        groups = sorted({(run["space"], run["sampler"]) for run in runs}, key=lambda one: (one[0], order(one[1])))
        if runs:
            titles = [FIGURES.get(name, "best reward") for name in figures]
            print(f"\n{study}\n\n| space | sampler | seeds | {' | '.join(titles)} |")
            print("|" + "---|" * (len(figures) + 3))
        for space, sampler in groups:
            mine = [run for run in runs if (run["space"], run["sampler"]) == (space, sampler)]
            cells = [cell(name, [run[name] for run in mine if run[name] is not None]) for name in figures]
            print(f"| {space} | {sampler} | {len(mine)} | {' | '.join(cells)} |")


def order(label: str) -> int:
    return list(SAMPLERS).index(label)


def cell(name: str, values: list[float]) -> str:
    """Mean and sample standard deviation."""
    if not values:
        return "none"
    scaled, digits = [SCALES.get(name, 1.0) * one for one in values], DIGITS.get(name, 4)
    mean = f"{statistics.fmean(scaled):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(scaled):.{digits}f}"


if __name__ == "__main__":
    main()
