"""What distilling costs over what it cannot do without: one `kd` step against a teacher's forward pass plus a plain step.

    python benchmarks/kd_step.py [--student mobilenet_v3_small --teacher mobilenet_v2 --size 32 --batch 16] [--rounds 30]

Each round times, in an order drawn from the seed, the same number of steps of both: the objective of the method `kd`,
and the parts by themselves (the frozen teacher's forward pass without gradients, then a step of the supervised
objective). Networks, batch, optimizer and memory format are the same. Aim: a ratio of at most 1.03.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from machine import cpu_name

import limbeck
from limbeck.distill import distillation
from limbeck.models import create_model
from limbeck.train import Supervised
from limbeck.types import Batch


def stepper(objective: torch.nn.Module, network: torch.nn.Module, batch: Batch) -> Callable[[], None]:
    """One optimizer step of an objective, as the training loop takes it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
    progress = torch.full((), 0.5, device=batch.inputs.device)
    objective.train()

    def step() -> None:
        objective(batch, progress)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step()

    return step


def timed(work: Callable[[], None], steps: int, device: torch.device) -> tuple[float, float]:
    """Wall and processor seconds of `steps` calls."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(steps):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="mobilenet_v3_small")
    parser.add_argument("--teacher", default="mobilenet_v2")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=3, help="steps of each kind in a round")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    device = torch.device(asked.device)

    def network(name: str) -> torch.nn.Module:
        made = create_model(name, num_classes=asked.classes, input_size=(asked.size, asked.size))
        return made.to(device, memory_format=torch.channels_last)

    pictures = torch.rand(asked.batch, 3, asked.size, asked.size)
    batch = Batch(torch.arange(asked.batch), pictures, torch.randint(asked.classes, (asked.batch,)))
    batch = batch.to(device, channels_last=True)
    teacher, student, plain = network(asked.teacher), network(asked.student), network(asked.student)
    plain.load_state_dict(student.state_dict())
    distilled = stepper(distillation("kd", student=student, teacher=teacher, example=batch), student, batch)
    supervised = stepper(Supervised(plain, F.cross_entropy), plain, batch)
    alone = network(asked.teacher).eval().requires_grad_(False)

    def parts() -> None:
        with torch.no_grad():
            alone(batch.inputs)
        supervised()

    works = {"kd step": distilled, "teacher + plain step": parts}
    for work in works.values():
        timed(work, 3, device)  # warm-up
    draw = random.Random(asked.seed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(asked.rounds):
        for name in draw.sample(list(works), 2):
            found[name].append(timed(works[name], asked.steps, device))

    place = torch.cuda.get_device_name() if device.type == "cuda" else cpu_name()
    print(
        f"{place}, {os.cpu_count()} processors, {asked.threads} threads used, Python {platform.python_version()}, "
        f"torch {torch.__version__}, limbeck {limbeck.__version__}"
    )
    print(
        f"{asked.student} from {asked.teacher}, {asked.size} pixels, batch {asked.batch}, "
        f"{asked.rounds} rounds of {asked.steps} steps, seed {asked.seed}"
    )
    for clock, label in enumerate(("wall time", "processor time")):
        ours, theirs = ([took[clock] for took in found[name]] for name in works)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        milliseconds = [statistics.median(one) / asked.steps * 1e3 for one in (ours, theirs)]
        print(
            f"{label:>14}: kd step {milliseconds[0]:.2f} ms, teacher + plain step {milliseconds[1]:.2f} ms, "
            f"ratio {middle:.4f} (quartiles {low:.4f} to {high:.4f}, IQR {high - low:.4f})"
        )


if __name__ == "__main__":
    main()
