"""What the training loop costs over the loop one would write by hand: same network, same batches, in turns, in one run.

Run: `python benchmarks/train_loop.py [--model timm:mobilenetv3_small_100] [--size 64] [--batch 32] [--rounds 7]`
Prints the ratio of a whole call of fit (with its log, events, checkpoint and weights written) to the bare loop, as the
median over rounds, by the clock and by processor time (which a busy machine disturbs less); aim: below 1.03.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
import torch.nn.functional as F

from limbeck.console import set_quiet
from limbeck.train import Supervised, TrainSettings, fit
from limbeck.types import Batch


class SameBatches:
    """One batch, made before, over and over: reading data is not what is measured."""

    def __init__(self, steps: int, batch: Batch) -> None:
        self.steps, self.batch = steps, batch

    def steps_per_epoch(self) -> int:
        """Number of batches."""
        return self.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches from `start` on."""
        for _ in range(start, self.steps):
            yield self.batch


def bare_loop(network: torch.nn.Module, batches: SameBatches) -> None:
    """The loop of a tutorial, with the same optimizer and memory format."""
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    network.train()
    for batch in batches.epoch(0):
        inputs = batch.inputs.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), batch.target).backward()
        optimizer.step()


def limbeck_loop(network: torch.nn.Module, batches: SameBatches, folder: Path) -> None:
    settings = TrainSettings(epochs=1, batch_size=len(batches.batch), learning_rate=0.01, device="cpu")
    fit(Supervised(network, F.cross_entropy), batches, settings, folder=folder, seed=0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="mobilenetv3_small_100")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--steps", type=int, default=60)
    options.add_argument("--rounds", type=int, default=7)
    asked = options.parse_args()
    set_quiet(True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    target = torch.randint(10, (asked.batch,))
    batch = Batch(torch.arange(asked.batch), torch.rand(asked.batch, 3, asked.size, asked.size), target)
    batches = SameBatches(asked.steps, batch)
    network = timm.create_model(asked.model.removeprefix("timm:"), num_classes=10)
    clocks = {"wall time": time.perf_counter, "processor time": time.process_time}
    seconds: dict[str, dict[str, list[float]]] = {clock: {"bare": [], "fit": []} for clock in clocks}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(asked.rounds + 1):
            for name in ("bare", "fit") if turn % 2 else ("fit", "bare"):
                starts = {clock: read() for clock, read in clocks.items()}
                if name == "bare":
                    bare_loop(network, batches)
                else:
                    limbeck_loop(network, batches, Path(folder) / str(turn))
                for clock, read in clocks.items():
                    if turn:  # the first turn warms up
                        seconds[clock][name].append(read() - starts[clock])
    print(
        f"{asked.model}, {asked.size} pixels, batch {asked.batch}, 1 thread, {asked.rounds} rounds of {asked.steps} steps"
    )
    for clock, found in seconds.items():
        ratios = [ours / bare for ours, bare in zip(found["fit"], found["bare"], strict=True)]
        bare = statistics.median(found["bare"]) / asked.steps * 1e3
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"{clock:>14}: bare {bare:.2f} ms per step, ratio {statistics.median(ratios):.3f} (rounds: {spread})")


if __name__ == "__main__":
    main()
