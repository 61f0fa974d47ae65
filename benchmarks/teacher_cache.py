"""What a teacher's cache spares, and whether its replayed epochs teach as well as new ones.

    python benchmarks/teacher_cache.py                  # a step with a warm cache against a plain student step
    python benchmarks/teacher_cache.py FOLDER --effect  # whole trainings; goes on where it was
        [--data train.parquet --test test.parquet --student cifar_resnet20 --teacher cifar_resnet56 --epochs 24]

The first draws in every round the order of three kinds of steps: the supervised objective alone, `--method` with the
logits read from a cache, and the same with the teacher itself. Batches come from the training's own loader, so that the
look-ups are as scattered as in a training. Aim: a cached step of at most 1.05 plain steps.

The second trains the same students (seeds move start weights, order, augmentation; not the teacher) with the teacher
asked in every epoch, and with caches of a few views, from which epoch e takes view e modulo their number. All are judged
on test by their last epoch. Aim: a difference within the spread of the seeds.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from kd_step import timed
from machine import cpu_name

import limbeck
from limbeck.calibrate import expected_calibration_error, negative_log_likelihood, softmax
from limbeck.data import Augment, DataSplits, Loader, open_data
from limbeck.distill import TeacherCache, distillation, fill_cache, use_caches
from limbeck.files import read_json, write_json
from limbeck.models import Network, create_model
from limbeck.tasks import Classification
from limbeck.train import Supervised, TrainSettings, fit, predict_logits
from limbeck.types import Batch

PLAIN, CACHED, ASKED = "plain step", "cached step", "step with the teacher"
FIGURES = ("top1", "nll")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of the trainings of --effect; default a temporary one")
    parser.add_argument("--effect", action="store_true")
    parser.add_argument("--data", help="training pictures: a parquet file; default the digits of scikit-learn")
    parser.add_argument("--test", help="test pictures: a parquet file")
    parser.add_argument("--image-column", default="img")
    parser.add_argument("--label-column", default="fine_label")
    parser.add_argument("--pictures", type=int, default=5000, help="training pictures, stratified")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--student", default="mobilenet_v3_small")
    parser.add_argument("--teacher", default="mobilenet_v2")
    parser.add_argument("--method", default="kd")
    parser.add_argument("--mixup", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=3, help="steps of each kind in a round")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--views", default="4,8")
    parser.add_argument("--seeds", default="0,1,2")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    splits = open_splits(asked)
    print(
        f"{place(asked.device)}, {asked.threads} threads used, Python {platform.python_version()}, torch "
        f"{torch.__version__}, limbeck {limbeck.__version__}; {asked.method}, {asked.student} from {asked.teacher}, "
        f"{len(splits.train)} pictures of {asked.size} pixels, {len(splits.class_names)} classes, batch {asked.batch}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        (measure_effect if asked.effect else measure_step)(asked, splits, asked.folder or Path(scratch))


def place(device: str) -> str:
    """The processor's or accelerator's own name where the system tells it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{cpu_name()}, {os.cpu_count()} processors"


def open_splits(asked: argparse.Namespace) -> DataSplits:
    if asked.data is None:
        return open_data("digits", image_size=asked.size, validation=0, limit=asked.pictures)
    columns = {"image_column": asked.image_column, "label_column": asked.label_column}
    files = {"path": asked.data, "test_path": asked.test, **columns}
    return open_data("table", **files, image_size=asked.size, validation=0, limit=asked.pictures)


def make_network(asked: argparse.Namespace, name: str, splits: DataSplits, seed: int) -> Network:
    torch.manual_seed(seed)
    return create_model(name, num_classes=len(splits.class_names), input_size=asked.size)


def make_loader(asked: argparse.Namespace, splits: DataSplits, seed: int, views: int | None) -> Loader:
    augment = Augment(flip=asked.data is not None, mixup=asked.mixup)
    return Loader(splits.train, batch_size=asked.batch, augment=augment, seed=seed, views=views)


def make_cache(asked: argparse.Namespace, splits: DataSplits, home: Path, teacher: Network, loader: Loader):
    cache = TeacherCache(home, teacher, loader, data=splits.fingerprint, device=asked.device)
    fill_cache(cache, teacher, loader, loader.views or 1)
    return cache


def distilled(asked: argparse.Namespace, splits: DataSplits, student: Network, teacher: Network) -> Any:
    return distillation(asked.method, student=student, teacher=teacher, num_samples=len(splits.train))


def measure_step(asked: argparse.Namespace, splits: DataSplits, folder: Path) -> None:
    """Interleaved rounds of steps, and the ratios of each kind to a plain one."""
    device = torch.device(asked.device)
    teacher = make_network(asked, asked.teacher, splits, 1)
    loader = make_loader(asked, splits, 0, views=2)
    cache = make_cache(asked, splits, folder, teacher, loader)
    batches = [batch for epoch in range(2) for batch in loader.epoch(epoch)]
    works: dict[str, Callable[[], None]] = {}
    for kind in (PLAIN, CACHED, ASKED):
        student = make_network(asked, asked.student, splits, 0)
        objective = (
            Supervised(student, Classification(student.num_classes).criterion)
            if kind == PLAIN
            else distilled(asked, splits, student, teacher)
        )
        if kind == CACHED:
            use_caches(objective, {"teacher": cache})
        works[kind] = stepper(objective, student, batches, device)
    draw = random.Random(0)
    took: dict[str, list[tuple[float, float]]] = {kind: [] for kind in works}
    for number in range(asked.rounds + 1):
        for kind in draw.sample(list(works), len(works)):
            seconds = timed(works[kind], asked.steps, device)
            if number:  # the first round warms up
                took[kind].append(seconds)
    for clock, label in enumerate(("wall time", "processor time")):
        plain = [both[clock] for both in took[PLAIN]]
        print(f"{label}: {PLAIN} {statistics.median(plain) / asked.steps * 1e3:.2f} ms")
        for kind in (CACHED, ASKED):
            ratios = [both[clock] / base for both, base in zip(took[kind], plain, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            milliseconds = statistics.median(both[clock] for both in took[kind]) / asked.steps * 1e3
            print(f"{kind:>22} {milliseconds:8.2f} ms, ratio {middle:.4f} (quartiles {low:.4f} to {high:.4f})")


def stepper(objective: Any, student: Network, batches: list[Batch], device: torch.device) -> Callable[[], None]:
    """One optimizer step of an objective, as the training loop takes it, over the next batch."""
    objective.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
    progress = torch.full((), 0.5, device=device)
    taken = 0

    def step() -> None:
        nonlocal taken
        batch = batches[taken % len(batches)].to(device, channels_last=True)
        objective(batch, progress)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step()
        taken += 1

    return step


def measure_effect(asked: argparse.Namespace, splits: DataSplits, folder: Path) -> None:
    """Train with the teacher and with caches, and set the test figures of their students side by side."""
    teacher = make_network(asked, asked.teacher, splits, 1)
    alone = Supervised(teacher, Classification(teacher.num_classes).criterion)
    result = train(asked, splits, alone, teacher, make_loader(asked, splits, 1, None), folder / "teacher", 1)
    print(f"the teacher: top1 {result['top1']:.4f}")
    found: dict[str, list[dict[str, float]]] = {}
    for seed in map(int, asked.seeds.split(",")):
        for views in (None, *map(int, asked.views.split(","))):
            student = make_network(asked, asked.student, splits, seed)
            objective = distilled(asked, splits, student, teacher)
            loader = make_loader(asked, splits, seed, views)
            here = folder / f"views-{views or 'new'}-{seed}"
            if views is not None:
                started = time.perf_counter()
                cache = make_cache(asked, splits, folder / "logits", teacher, loader)
                if not (here / "filled.json").exists():
                    write_json(here / "filled.json", time.perf_counter() - started)
                use_caches(objective, {"teacher": cache})
            result = train(asked, splits, objective, student, loader, here, seed)
            filled = read_json(here / "filled.json") if views is not None else 0.0
            name = "a new view in every epoch" if views is None else f"{views} views from a cache"
            found.setdefault(name, []).append(result | {"filling": filled})
    print_table(found)


def train(
    asked: argparse.Namespace,
    splits: DataSplits,
    objective: Any,
    network: Network,
    loader: Loader,
    folder: Path,
    seed: int,
) -> dict[str, float]:
    """Train to the last epoch; returns the figures on test, and the seconds."""
    settings = TrainSettings(
        epochs=asked.epochs,
        batch_size=asked.batch,
        learning_rate=0.05,
        nesterov=True,
        device=asked.device,
        threads=asked.threads,
    )
    identity = {"data": splits.fingerprint, "views": loader.views, "teacher": asked.teacher, "method": asked.method}
    report = fit(
        objective, loader, settings, folder=folder, seed=seed, name=folder.name, identity=identity, tensorboard=False
    )
    shown = Loader(splits.test, batch_size=256, augment=None, shuffle=False, drop_last=False)
    logits, target = predict_logits(network, shown, device=asked.device)
    probabilities = softmax(logits)
    return {
        "top1": float((logits.argmax(1) == target).mean()),
        "nll": negative_log_likelihood(probabilities, target),
        "ece": expected_calibration_error(probabilities, target),
        "seconds": report.seconds,
    }


def print_table(found: dict[str, list[dict[str, float]]]) -> None:
    """Mean and standard deviation over the seeds, and the paired difference to the teacher itself."""
    (_, base), *_ = found.items()
    for name, results in found.items():
        cells = []
        for figure in FIGURES:
            values = [result[figure] for result in results]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"{figure} {statistics.mean(values):.4f} ± {spread:.4f}")
        if results is not base:
            change = [one["top1"] - other["top1"] for one, other in zip(results, base, strict=True)]
            cells.append(f"top1 {statistics.mean(change):+.4f} to the first row")
        seconds, filling = (statistics.mean(result[key] for result in results) for key in ("seconds", "filling"))
        cells.append(f"{seconds:.0f} s training, {filling:.0f} s filling")
        print(f"{name:>26}: {', '.join(cells)}")


if __name__ == "__main__":
    main()
