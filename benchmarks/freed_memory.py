"""What it spares a training on the CPU that its process keeps freed memory (`limbeck.train.runtime.keep_freed_memory`).

    python benchmarks/freed_memory.py [--models mobilenet_v3_large,timm:resnet18] [--size 96] [--batch 32] [--rounds 5]

Each round is two new processes in random order, one with and one without; prints processor time and peak memory of the
former over the latter, median and quartiles over the rounds. One thread.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from machine import high_water

from limbeck.models import create_model
from limbeck.train.runtime import keep_freed_memory


def measure(model: str, size: int, batch: int, steps: int, *, keeps: bool) -> tuple[float, int]:
    """Processor seconds of some steps, and this process's peak memory in kB."""
    torch.set_num_threads(1)
    if keeps and not keep_freed_memory():
        sys.exit("the C library here is not glibc, or MALLOC_... is set: nothing to measure")
    network = create_model(model, num_classes=10, input_size=size).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    inputs = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    target = torch.zeros(batch, dtype=torch.long)
    start = 0.0
    for step in range(steps + 2):
        if step == 2:
            start = time.process_time()
        F.cross_entropy(network(inputs), target).backward()
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - start, high_water()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mobilenet_v3_large,timm:resnet18")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=("keep", "free"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.models, asked.size, asked.batch, asked.steps, keeps=asked.one == "keep")))
        return
    draw = random.Random(0)
    for model in asked.models.split(","):
        times, peaks = [], []
        for _ in range(asked.rounds):
            found = {}
            for way in draw.sample(("keep", "free"), 2):
                command = [sys.executable, __file__, "--one", way, "--models", model, "--size", str(asked.size)]
                command += ["--batch", str(asked.batch), "--steps", str(asked.steps)]
                found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            times.append(found["keep"][0] / found["free"][0])
            peaks.append(found["keep"][1] / found["free"][1])
        for what, ratios in (("processor time", times), ("peak memory", peaks)):
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{model}: {what} {middle:.2f} ({low:.2f}..{high:.2f}) of what it is without", flush=True)


if __name__ == "__main__":
    main()
