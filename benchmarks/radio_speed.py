"""How fast the radio part works on one core: training steps of every recogniser, and frames of the generator.

    python benchmarks/radio_speed.py
    python benchmarks/radio_speed.py --rounds 1 --seconds 0.2      # whether it runs

A step is forward, loss, backward and AdamW on a batch of made noise, in the training loop's manner (freed memory is
kept). In each round all networks take steps in random order for at least `--seconds`; a ratio is to MCLDNN in the same
round. Medians over the rounds, quartiles behind the ratio; processor time of one thread, so that a busy machine tells
nearly the same. Frames of the generator: all classes and four SNRs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from machine import cpu_name
from radio import NETWORKS, TEACHER, print_row
from radio_generator import frames_per_second

from limbeck.data.radio import PROFILES
from limbeck.models import create_model
from limbeck.train import Supervised
from limbeck.train.runtime import keep_freed_memory
from limbeck.types import Batch

ANCHOR = "mcldnn"
CLASSES = 11
TRAINED = (TEACHER, "clst_t", *(name for name in NETWORKS if name != TEACHER))


def training(name: str, batch: int, length: int) -> tuple[Callable[[], None], int]:
    """One step of a network with fresh weights, and its parameters."""
    network = create_model(name, num_classes=CLASSES, input_size=(1, length)).train()
    objective = Supervised(network, F.cross_entropy)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-3, fused=True)
    frames, target = torch.randn(batch, 2, length), torch.randint(CLASSES, (batch,))
    made, progress = Batch(torch.arange(batch), frames, target), torch.tensor(0.5)

    def step() -> None:
        objective(made, progress)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, sum(value.numel() for value in network.parameters())


def rate(step: Callable[[], None], batch: int, seconds: float) -> float:
    """Frames per second of processor time, of steps for at least so long."""
    start, steps = time.process_time(), 0
    while (spent := time.process_time() - start) < seconds or not steps:
        step()
        steps += 1
    return batch * steps / spent


def print_trainings(batch: int, length: int, rounds: int, seconds: float, seed: int) -> None:
    """A row per network, as Markdown."""
    made = {name: training(name, batch, length) for name in TRAINED}
    for step, _ in made.values():
        step()  # warm-up
        step()
    draw, found = random.Random(seed), {name: [] for name in TRAINED}
    for _ in range(rounds):
        for name in draw.sample(TRAINED, len(TRAINED)):
            found[name].append(rate(made[name][0], batch, seconds))
    print(f"\nTraining, batches of {batch} frames of {length} samples, {rounds} rounds, seed {seed}\n")
    print_row("network", "parameters", "frames/s", f"of {ANCHOR}'s", "quartiles")
    print("|---" * 5 + "|")
    for name in TRAINED:
        ratios = [one / other for one, other in zip(found[name], found[ANCHOR], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios[0],) * 3
        told = (f"{made[name][1]:,}", f"{statistics.median(found[name]):,.0f}", f"{statistics.median(ratios):.2f}")
        print_row(name, *told, f"{low:.2f} to {high:.2f}")


def print_generator(frames: int, length: int, rounds: int) -> None:
    """A row per profile, as Markdown."""
    print(f"\nGenerator, frames of {length} samples, {frames} of each class and SNR, {rounds} rounds\n")
    print_row("profile", "frames/s per core")
    print("|---" * 2 + "|")
    for profile in PROFILES:
        print_row(profile, f"{frames_per_second(profile, length, frames, rounds):,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each network in a round")
    parser.add_argument("--frames", type=int, default=128, help="of the generator: per class and SNR")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    keep_freed_memory()
    print(f"{cpu_name()}, 1 thread, torch {torch.__version__}")
    print_trainings(asked.batch, asked.length, asked.rounds, asked.seconds, asked.seed)
    print_generator(asked.frames, asked.length, asked.rounds)


if __name__ == "__main__":
    main()
