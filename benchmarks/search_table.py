"""A tabular search space whose figures come from real trainings and timings: MnasNet's choices around a small skeleton.

    python benchmarks/search_table.py FOLDER --train --data train.parquet      # in pieces: what is there is not repeated
    python benchmarks/search_table.py FOLDER --time                            # afterwards, on a quiet machine
    python benchmarks/search_table.py FOLDER --networks-to networks.csv        # what search_table_fit.py reads
    python benchmarks/search_table.py LONGER --train --data train.parquet --networks 20 --epochs 12
    python benchmarks/search_table.py LONGER --against FOLDER                  # does the short training rank them as the longer?

The space is `mnasnet_space` around three blocks for small pictures (131,072 points), and beside it `flat_space` around the same
blocks. Networks drawn at random from both, the reference and the extremes are trained briefly by the project's own loop;
some with three seeds, which tells how much of a difference is chance. Each is exported and timed in turn with the
reference, as a search does. Trainings and timings are two commands, so that nothing of ours runs while one is timed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr

from limbeck.console import hushed
from limbeck.data import Augment, DataSplits, Loader, open_data
from limbeck.export import export_probe
from limbeck.files import atomic_path, read_json, write_json
from limbeck.measure import measure_artifacts, open_device
from limbeck.models import Row, Table, build
from limbeck.models.rows import Head
from limbeck.search import Point, Space, flat_space, mnasnet_space
from limbeck.tasks import Classification
from limbeck.train import Supervised, TrainSettings, evaluate_network, fit
from limbeck.types import Artifact

NUM_CLASSES = 20
SIDE = 32  # of the pictures
SPACES = ("factorized", "flat")
SEEDED = 3  # networks that are trained with each of SEEDS
SEEDS = (0, 1, 2)
FLAT_EVERY = 6  # one network in so many is of the flat space
ANCHOR_TIMINGS = 5
GROUP = 8  # networks that are timed in turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="one file per network that was trained, one per network timed")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--data", help="pictures to train and judge on: a parquet file")
    parser.add_argument("--image-column", default="img")
    parser.add_argument("--label-column", default="coarse_label")
    parser.add_argument("--networks", type=int, default=260)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no training after so long")
    parser.add_argument(
        "--reverse", action="store_true", help="begin with the last network: for a second process beside"
    )
    parser.add_argument("--target", default="onnxruntime,threads=1")
    parser.add_argument("--passes", type=int, default=3, help="of --time; all networks are timed once in each")
    parser.add_argument("--networks-to", type=Path, help="a CSV of what was trained and timed")
    parser.add_argument("--against", type=Path, help="another folder: how its trainings rank the networks of both")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.train:
        train_all(asked)
    if asked.time:
        time_all(asked)
    if asked.networks_to:
        write_networks(asked)
    if asked.against:
        print_agreement(asked.folder, asked.against)


def spaces() -> dict[str, Space]:
    """The space of the table, and the flat one that holds all of its networks."""
    rows = tuple(
        Row("inverted", width, stride=stride, expansion=3.0, activation="relu6")
        for width, stride in ((24, 2), (32, 2), (64, 1))
    )
    skeleton = Table(
        name="three_blocks",
        stem=Row("conv", 12, stride=2, activation="relu6"),
        rows=rows,
        head=Head(conv_channels=None),
        num_classes=NUM_CLASSES,
        input_size=(SIDE, SIDE),
        divisor=4,
    )
    options = {"skips": ("identity",), "widths": ((24,), (32, 48), (64, 96)), "depths": (0, 1)}
    return {
        name: make(skeleton, num_classes=NUM_CLASSES, picture_size=SIDE, **options)
        for name, make in zip(SPACES, (mnasnet_space, flat_space), strict=True)
    }


@dataclass(frozen=True)
class Job:
    """One network to train."""

    space: str
    number: int
    point: Point
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.space}-{self.number:03}-{self.seed}"


def jobs(networks: int) -> Iterator[Job]:
    """The reference, the smallest and the largest, those with several seeds, then the others; always the same."""
    known = spaces()
    factorized = known["factorized"]
    drawn = {name: drawing(space, seed) for seed, (name, space) in enumerate(known.items())}
    fixed = [dict(factorized.reference), extreme(factorized, min), extreme(factorized, max)]
    for number, point in enumerate(fixed):
        yield Job("factorized", number, point, 0)
    counts = {"factorized": len(fixed), "flat": 0}
    for index in range(networks - len(fixed)):
        name = "flat" if index >= SEEDED and index % FLAT_EVERY == 0 else "factorized"
        point = next(drawn[name])
        for seed in SEEDS if index < SEEDED else SEEDS[:1]:
            yield Job(name, counts[name], point, seed)
        counts[name] += 1


def drawing(space: Space, seed: int) -> Iterator[Point]:
    """Points at random, one per network: what several points build comes once."""
    random, seen = np.random.default_rng(seed), set()
    while True:
        point = {name: ids[random.integers(len(ids))] for name, ids in space.choices.items()}
        table = space.build(point).fingerprint()
        if table not in seen:
            seen.add(table)
            yield point


def extreme(space: Space, choose) -> Point:
    """The point of the fewest or the most MACs, found choice by choice."""
    point = dict(space.reference)
    for name, ids in space.choices.items():
        point[name] = choose(ids, key=lambda one: space.build({**point, name: one}).macs())
    return point


def train_all(asked: argparse.Namespace) -> None:
    """Train what is not trained yet; a file appears when its network is done."""
    started = time.monotonic()
    splits = open_data(
        "table",
        path=asked.data,
        image_column=asked.image_column,
        label_column=asked.label_column,
        image_size=SIDE,
        validation=0.2,
        test=0.02,
        limit=asked.pictures,
    )
    known = spaces()
    todo = list(jobs(asked.networks))
    for job in reversed(todo) if asked.reverse else todo:
        path = asked.folder / "trained" / f"{job.name}.json"
        if path.exists():
            continue
        if time.monotonic() - started > 60 * asked.minutes:
            break
        path.parent.mkdir(parents=True, exist_ok=True)
        result = train(asked, splits, known[job.space], job)
        write_json(path, result)
        print(f"{job.name}: {100 * result['accuracy']:.2f} % in {result['seconds']:.1f} s", flush=True)


def train(asked: argparse.Namespace, splits: DataSplits, space: Space, job: Job) -> dict[str, object]:
    """One short training; the accuracy is that of the last epoch on validation."""
    folder = asked.folder / "unfinished" / job.name
    shutil.rmtree(folder, ignore_errors=True)
    table = space.build(job.point)
    torch.manual_seed(job.seed)
    network = build(table)
    task = Classification(NUM_CLASSES)
    settings = TrainSettings(
        epochs=asked.epochs, batch_size=50, learning_rate=0.1, warmup_epochs=0.5, precision="fp32", device="cpu"
    )
    batches = Loader(
        splits.train, batch_size=50, augment=Augment(crop="shift", padding=0.125, flip=True), seed=job.seed
    )
    started = time.perf_counter()
    with hushed():
        fit(Supervised(network, task.criterion), batches, settings, folder=folder, seed=job.seed, tensorboard=False)
    held_out = Loader(splits.validation, batch_size=250, augment=None, shuffle=False, drop_last=False)
    figures = evaluate_network(network, held_out, task.metric(), device="cpu")
    shutil.rmtree(folder)
    return {
        "space": job.space,
        "number": job.number,
        "seed": job.seed,
        "point": job.point,
        "accuracy": figures["top1"],
        "params": table.params(),
        "macs": table.macs(),
        "seconds": time.perf_counter() - started,
        "training": [asked.pictures, asked.epochs, len(splits.validation)],
    }


def time_all(asked: argparse.Namespace) -> None:
    """Time what was trained, in groups that take turns with the reference; each pass begins anew with the whole."""
    known, device = spaces(), open_device(asked.target)
    probes = asked.folder / "probes"
    probes.mkdir(parents=True, exist_ok=True)
    reference = export_table(known["factorized"].build(dict(known["factorized"].reference)), probes / "reference.onnx")
    own = asked.folder / "reference.json"
    if not own.exists():
        timings = [measure_artifacts(device, [reference], memory=False)[0] for _ in range(ANCHOR_TIMINGS)]
        medians = [timing.latency_ms.median for timing in timings]  # what disturbs a timing only makes it longer
        write_json(own, {"latency_ms": min(medians), "medians": medians, "device": asdict(timings[0].info)})
    networks = {(one["space"], one["number"]): one for one in results(asked.folder)}
    for number in range(asked.passes):
        left = {name: one for name, one in networks.items() if not timing_path(asked.folder, *name, number).exists()}
        for names in batched(sorted(left), GROUP):
            tables = [known[name[0]].build(left[name]["point"]) for name in names]
            artifacts = [export_table(table, probes / f"{place}.onnx") for place, table in enumerate(tables)]
            timings = measure_artifacts(device, artifacts, reference=reference, memory=False)
            for name, timing in zip(names, timings, strict=True):
                path = timing_path(asked.folder, *name, number)
                path.parent.mkdir(exist_ok=True)
                write_json(path, {"ratio": timing.ratio_to_reference, "raw_ms": timing.latency_ms.median})
        print(f"pass {number + 1}: {len(left)} networks timed", flush=True)
    shutil.rmtree(probes)


def export_table(table: Table, path: Path) -> Artifact:
    torch.manual_seed(0)
    return export_probe(build(table), path, sample_size=table.input_size)


def timing_path(folder: Path, space: str, number: int, turn: int) -> Path:
    return folder / "timed" / f"{space}-{number:03}-{turn}.json"


def results(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted((folder / "trained").glob("*.json"))]


def batched(names: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def write_networks(asked: argparse.Namespace) -> None:
    """One line per training: what was trained, its accuracy, and its latency as the median ratio of all passes."""
    own = read_json(asked.folder / "reference.json")["latency_ms"]
    lines = []
    for one in results(asked.folder):
        paths = [timing_path(asked.folder, one["space"], one["number"], turn) for turn in range(asked.passes)]
        if not all(path.exists() for path in paths):
            continue  # trained, but not timed yet
        ratios = [read_json(path)["ratio"] for path in paths]
        figures = {key: one[key] for key in ("space", "number", "seed", "accuracy", "params", "macs")}
        spread = f"{statistics.stdev(ratios):.3g}" if len(ratios) > 1 else ""  # of one pass there is none
        latency = statistics.median(ratios) * own
        lines.append(
            {
                **figures,
                "latency_ms": f"{latency:.5g}",
                "ratio_spread": spread,
                "point": json.dumps(one["point"]),
            }
        )
    with atomic_path(asked.networks_to) as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    print(f"{asked.networks_to}: {len(lines)} trainings; the reference takes {own:.4g} ms")


def print_agreement(longer: Path, shorter: Path) -> None:
    """Rank correlations of two ways to train the same networks, by their mean accuracies over seeds."""
    found = [seeds_together(folder) for folder in (longer, shorter)]
    both = sorted(found[0].keys() & found[1].keys())
    means = [[statistics.mean(one[name]) for name in both] for one in found]
    spreads = [[statistics.stdev(one[name]) for name in both if len(one[name]) > 1] for one in found]
    bootstrap = np.random.default_rng(0).integers(len(both), size=(2000, len(both)))
    correlations = [spearmanr(*(np.array(one)[rows] for one in means)).statistic for rows in bootstrap]
    low, high = np.nanquantile(correlations, (0.025, 0.975))
    print(f"{len(both)} networks trained both ways")
    for folder, one, spread in zip((longer, shorter), means, spreads, strict=True):
        across = f"standard deviation {100 * statistics.stdev(one):.2f} points"
        seeds = f"over seeds {100 * float(np.sqrt(np.mean(np.square(spread)))):.2f} ({len(spread)} networks)"
        print(f"{folder}: {100 * min(one):.1f} to {100 * max(one):.1f} %, {across}, {seeds}")
    print(
        f"Spearman {spearmanr(*means).statistic:.2f} (95 % {low:.2f} .. {high:.2f}), Kendall {kendalltau(*means).statistic:.2f}"
    )
    top = max(1, len(both) // 4)
    best = [set(np.argsort(one)[-top:]) for one in means]
    print(f"of the best {top} of the longer, {len(best[0] & best[1])} are among the best {top} of the shorter")


def seeds_together(folder: Path) -> dict[tuple[str, int], list[float]]:
    """Accuracies by space and number of a network."""
    found: dict[tuple[str, int], list[float]] = {}
    for one in results(folder):
        found.setdefault((one["space"], one["number"]), []).append(one["accuracy"])
    return found


if __name__ == "__main__":
    main()
