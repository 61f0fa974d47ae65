"""Every method against the same student without a teacher, on real pictures: accuracy, calibration, and what it costs.

    python benchmarks/distill.py FOLDER --data train.parquet --test test.parquet [--methods none,kd,nkd] [--seeds 0,1,2]
    python benchmarks/distill.py FOLDER --table      # only print what the folder holds
    python benchmarks/distill.py FOLDER --costs      # step time and peak memory of each method, beside the table

The protocol is that of the CIFAR-100 tables of the literature (CRD, mdistiller), shortened: SGD 0.9, rate 0.05, weight
decay 5e-4, batch 64, x 0.1 after 62.5, 75 and 87.5 % of the epochs, random shifts and mirroring. One teacher, trained
before, serves all seeds; the second network of an online method starts from scratch with the student. What moves with
the seed: start weights, order and augmentation. Each run is judged on the test pictures twice: by its last epoch, and
by its best epoch on *validation*. A run that was killed goes on where it was; a finished one is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from machine import high_water
from safetensors.torch import load_file, save_file

import limbeck
from limbeck.calibrate import expected_calibration_error, negative_log_likelihood, softmax
from limbeck.data import Augment, DataSplits, Loader, open_data
from limbeck.distill import METHODS, PRESETS, distillation, teacher_role
from limbeck.files import atomic_path, write_json
from limbeck.models import Network, create_model
from limbeck.tasks import Classification
from limbeck.train import Supervised, TrainSettings, evaluate_network, fit, predict_logits
from limbeck.types import Batch

NONE = "none"  # the student without a teacher
ROWS = (NONE, "kd", "dkd", "dist", "nkd", "uskd", "ps_kd", "dml", "kdcl", "bdkd")
OPTIONS = {"dkd": {"preset": "cifar100_resnet"}}  # beta = 2, as published for CIFAR ResNets; else the preset cifar100
FIGURES = ("top1", "ece", "nll")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="results and unfinished trainings")
    parser.add_argument("--data", help="training pictures: a parquet file")
    parser.add_argument("--test", help="test pictures: a parquet file")
    parser.add_argument("--image-column", default="img")
    parser.add_argument("--label-column", default="fine_label")
    parser.add_argument("--pictures", type=int, default=10_000, help="training pictures, stratified")
    parser.add_argument("--student", default="cifar_resnet20")
    parser.add_argument("--teacher", default="cifar_resnet56")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--teacher-epochs", type=int, help="default: as the student's")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--methods", default=",".join(ROWS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--rounds", type=int, default=15, help="of --costs")
    parser.add_argument("--cost-of", help=argparse.SUPPRESS)  # one method in a process of its own, for its memory
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    methods = asked.methods.split(",")
    if asked.cost_of:
        print(json.dumps(peak_memory(asked, asked.cost_of)))
    elif asked.costs:
        print_costs(asked, methods, asked.rounds)
    else:
        if not asked.table:
            train_all(asked, methods, [int(seed) for seed in asked.seeds.split(",")])
        print_table(asked)


def train_all(asked: argparse.Namespace, methods: list[str], seeds: list[int]) -> None:
    """Train what is not trained yet, seed by seed, so that a table of fewer seeds is there early."""
    splits = open_data(
        "table",
        path=asked.data,
        test_path=asked.test,
        image_column=asked.image_column,
        label_column=asked.label_column,
        image_size=32,
        validation=0.1,
        limit=asked.pictures,
    )
    teacher = make_network(asked.teacher, len(splits.class_names), seed=0)
    if any(method != NONE and teacher_role(method) == "frozen" for method in methods):
        train(asked, splits, Supervised(teacher, criterion(splits)), "teacher", 0, asked.teacher_epochs or asked.epochs)
    for seed in seeds:
        for method in methods:
            student = make_network(asked.student, len(splits.class_names), seed=seed)
            torch.manual_seed(1000 + seed)  # peers, exits and projectors
            train(asked, splits, make_objective(asked, method, student, teacher, splits), method, seed, asked.epochs)


def make_network(name: str, num_classes: int, *, seed: int) -> Network:
    torch.manual_seed(seed)
    return create_model(name, num_classes=num_classes)


def criterion(splits: DataSplits):
    return Classification(len(splits.class_names)).criterion


def make_objective(
    asked: argparse.Namespace, method: str, student: Network, teacher: Network, splits: DataSplits
) -> torch.nn.Module:
    """The student alone, or in the graph of a method at the authors' values for CIFAR-100."""
    if method == NONE:
        return Supervised(student, criterion(splits))
    role = teacher_role(method)
    options = OPTIONS.get(method) or ({"preset": "cifar100"} if "cifar100" in PRESETS.get(method, {}) else {})
    return distillation(
        method,
        student=student,
        teacher={"frozen": teacher, "trained": create_model(asked.teacher, num_classes=student.num_classes)}.get(role),
        criterion=criterion(splits),
        num_samples=len(splits.train),
        epochs=asked.epochs,
        **options,
    )


def train(
    asked: argparse.Namespace, splits: DataSplits, objective: torch.nn.Module, method: str, seed: int, epochs: int
) -> None:
    """Train to the end; leaves the test figures of every learner's last and best epoch in `METHOD-SEED/result.json`."""
    folder = asked.folder / f"{method}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    settings = TrainSettings(
        epochs=epochs,
        batch_size=64,
        optimizer="sgd",
        learning_rate=0.05,
        momentum=0.9,
        weight_decay=5e-4,
        decay_norm_and_bias=True,
        warmup_epochs=0,
        schedule="step",
        milestones=tuple(round(epochs * share) for share in (0.625, 0.75, 0.875)),
        precision=asked.precision,
        threads=asked.threads,
        device=asked.device,
    )
    augment = Augment(crop="shift", padding=0.125, flip=True)
    task = Classification(len(splits.class_names))
    assert splits.validation is not None
    held_out = Loader(splits.validation, batch_size=256, augment=None, shuffle=False, drop_last=False)

    def evaluate(network: torch.nn.Module) -> dict[str, float]:
        """Figures on validation; keeps every learner as it now is: after the last epoch these are the last ones."""
        for name, learner in objective.learners().items():
            with atomic_path(folder / f"last-{name}.safetensors") as path:
                save_file({key: value.detach().cpu().contiguous() for key, value in learner.state_dict().items()}, path)
        return evaluate_network(network, held_out, task.metric(), device=asked.device)

    report = fit(
        objective,
        Loader(splits.train, batch_size=64, augment=augment, seed=seed),
        settings,
        folder=folder / "fit",
        seed=seed,
        evaluate=evaluate,
        name=f"{method} (seed {seed})",
        identity={"data": splits.fingerprint, "method": method},
        tensorboard=False,
    )
    if (folder / "result.json").exists():
        return
    result: dict[str, object] = {"method": method, "seed": seed, "epochs": epochs, "seconds": report.seconds}
    for name, learner in objective.learners().items():
        result[name] = {"best": judge(learner, splits, asked.device)}
        learner.load_state_dict(load_file(folder / f"last-{name}.safetensors"))
        result[name] |= {"last": judge(learner, splits, asked.device)}
    write_json(folder / "result.json", result)
    if method != "teacher":
        print_table(asked)


def judge(network: torch.nn.Module, splits: DataSplits, device: str) -> dict[str, float]:
    """Test figures: top-1 in per cent, ECE (15 bins) in per cent, NLL in nats; no temperature is fitted."""
    batches = Loader(splits.test, batch_size=256, augment=None, shuffle=False, drop_last=False)
    logits, target = predict_logits(network, batches, device=device)
    probabilities = softmax(logits)
    return {
        "top1": 100 * float(np.mean(logits.argmax(1) == target)),
        "ece": 100 * expected_calibration_error(probabilities, target, bins=15),
        "nll": negative_log_likelihood(probabilities, target),
    }


def print_table(asked: argparse.Namespace) -> None:
    """What the folder holds, as Markdown: mean +- standard deviation over the seeds."""
    results = [json.loads(path.read_text()) for path in sorted(asked.folder.glob("*/result.json"))]
    print("\n| method | seeds | top-1 %, last | top-1 %, best on validation | ECE %, last | NLL, last | minutes |")
    print("|---|---|---|---|---|---|---|")
    for method in dict.fromkeys(("teacher", *ROWS, *(result["method"] for result in results))):
        runs = [result for result in results if result["method"] == method]
        for name in ("student", "peer"):
            rows = [run[name] for run in runs if name in run]
            if rows:
                cells = [spread([row["last"]["top1"] for row in rows]), spread([row["best"]["top1"] for row in rows])]
                cells += [spread([row["last"][key] for row in rows], 3 if key == "nll" else 2) for key in FIGURES[1:]]
                title = method if name == "student" else f"{method}, its {asked.teacher} peer"
                minutes = statistics.mean(run["seconds"] for run in runs) / 60
                print(f"| {title} | {len(rows)} | {' | '.join(cells)} | {minutes:.1f} |")


def spread(values: list[float], digits: int = 2) -> str:
    """Mean and sample standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def steppers(asked: argparse.Namespace, methods: list[str]) -> dict[str, object]:
    """Per method a function that takes one optimizer step on one fixed batch of noise."""
    torch.manual_seed(0)
    inputs, target = torch.rand(64, 3, 32, 32), torch.randint(100, (64,))
    batch = Batch(torch.arange(64), inputs, target).to(asked.device, channels_last=True)

    def make(method: str):
        student, teacher = (make_network(name, 100, seed=0).to(asked.device) for name in (asked.student, asked.teacher))
        splits = _Sized(100, 10_000)
        objective = make_objective(asked, method, student, teacher, splits).to(asked.device)  # type: ignore[arg-type]
        objective = objective.to(memory_format=torch.channels_last).train()
        parameters = [p for p in objective.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
        progress = torch.full((), 0.5)

        def step() -> None:
            objective(batch, progress)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            objective.after_step()

        return step

    return {method: make(method) for method in methods}


class _Sized:
    """As much of `DataSplits` as an objective needs to be made."""

    def __init__(self, classes: int, pictures: int) -> None:
        self.class_names, self.train = ("",) * classes, range(pictures)


def peak_memory(asked: argparse.Namespace, method: str) -> float:
    """MB that building a method's graph and taking ten steps add to this process at its peak."""
    before = high_water()
    for step in steppers(asked, [method]).values():
        for _ in range(10):
            step()
    return (high_water() - before) / 1024


def print_costs(asked: argparse.Namespace, methods: list[str], rounds: int) -> None:
    """Step times as ratios within rounds of random order; memory each in a process of its own."""
    works, draw = steppers(asked, methods), random.Random(0)
    took: dict[str, list[float]] = {method: [] for method in methods}
    for turn in range(rounds + 2):  # two rounds to warm up
        for method in draw.sample(methods, len(methods)):
            start = time.perf_counter()
            works[method]()
            if turn > 1:
                took[method].append(time.perf_counter() - start)
    place = f"{os.cpu_count()} processors, {asked.threads} threads used, torch {torch.__version__}"
    print(f"{platform.machine()}, {place}, limbeck {limbeck.__version__}; batch 64, fp32, {rounds} rounds")
    print("\n| method | step, ms | of the plain step (quartiles) | peak memory, MB |\n|---|---|---|---|")
    for method in methods:
        ratios = [a / b for a, b in zip(took[method], took[NONE], strict=True)] if NONE in took else []
        low, middle, high = statistics.quantiles(ratios, n=4) if ratios else (float("nan"),) * 3
        command = [sys.executable, __file__, str(asked.folder), "--cost-of", method, "--threads", str(asked.threads)]
        command += ["--student", asked.student, "--teacher", asked.teacher, "--device", asked.device]
        memory = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        milliseconds = 1e3 * statistics.median(took[method])
        print(f"| {method} | {milliseconds:.1f} | {middle:.2f} ({low:.2f}..{high:.2f}) | {memory:.0f} |")


if __name__ == "__main__":
    missing = [name for name in ROWS if name != NONE and name not in METHODS]
    if missing:
        sys.exit(f"no such method: {', '.join(missing)}")
    main()
