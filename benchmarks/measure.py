"""How far a measured ratio can be trusted: the same file timed against itself, alone and beside busy processes.

    python benchmarks/measure.py [model.onnx] [--target onnxruntime,threads=1] [--rounds 10]

Each round times two copies of one file in turn. Their true ratio is 1; what is printed is how far the measured one, and
the latency itself, move from round to round.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from limbeck.deployed import read_artifact
from limbeck.measure import compare, open_device, summarize
from limbeck.protocols import Device
from limbeck.testing import make_artifact
from limbeck.types import Artifact


def compute_forever(started) -> None:
    """What a training does to its neighbours: large products in memory, without a pause."""
    matrix = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    matrix @ matrix
    started.wait()
    while True:
        matrix @ matrix


@contextmanager
def neighbours(count: int):
    """Keep `count` processes computing for the block."""
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    started = context.Barrier(count + 1)
    processes = [context.Process(target=compute_forever, args=(started,), daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    started.wait()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def repeat(device: Device, artifact: Artifact, rounds: int, runs: int) -> None:
    """Time the file against itself, round by round, and print what moved."""
    ratios, medians, p90s, covered = [], [], [], 0
    for _ in range(rounds):
        first, second = device.time([artifact, artifact], warmup=20, runs=runs)
        found = compare(first, second)
        ratios.append(found.ratio)
        covered += not found.differs
        medians.append(summarize(first).median)
        p90s.append(summarize(first).p90)
    spread = (max(medians) - min(medians)) / np.median(medians)
    print(f"  A/A ratio  {np.median(ratios):.4f}   {min(ratios):.4f} .. {max(ratios):.4f}")
    print(f"  interval holds 1 in {covered} of {rounds} rounds")
    print(f"  median     {np.median(medians):.4f} ms   spread {spread:.1%}")
    print(f"  p90        {np.median(p90s):.4f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="ONNX file; a small convolutional network without")
    parser.add_argument("--target", default="onnxruntime,threads=1")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=300)
    arguments = parser.parse_args()
    device = open_device(arguments.target)
    info = device.describe()
    print(f"{info.target} on {info.device}, {info.runtime} {info.runtime_version}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as folder:
        artifact = (
            read_artifact(arguments.model)
            if arguments.model
            else make_artifact(Path(folder) / "small.onnx", channels=32, layers=4, image_size=32)
        )
        print("as the machine is:")
        repeat(device, artifact, arguments.rounds, arguments.runs)
        for count in (1, os.cpu_count() or 1):
            print(f"beside {count} busy process{'es' if count > 1 else ''}:")
            with neighbours(count):
                repeat(device, artifact, arguments.rounds, arguments.runs)


if __name__ == "__main__":
    main()
