"""How long a user waits for `limbeck --help`: whole processes, from start to exit.

    python benchmarks/startup.py [--rounds 15]

Each round starts a fresh process of each command, in an order drawn from the seed; the bare interpreter shows what
Python itself takes of it. Aim: `limbeck --help` below 0.3 s.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from machine import cpu_name


def machine(packages: Sequence[str]) -> str:
    """The processor, Python and the versions that the figures hang on, in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{cpu_name()}, {os.cpu_count()} processors, Python {platform.python_version()}, {versions}"


def seconds_of(command: Sequence[str]) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0, help="of the order of the commands in a round")
    asked = parser.parse_args()
    print(machine(("limbeck", "typer", "pydantic")))
    limbeck = str(Path(sys.executable).with_name("limbeck"))
    commands = {
        "limbeck --help": [limbeck, "--help"],
        "limbeck --version": [limbeck, "--version"],
        "limbeck run --help": [limbeck, "run", "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    draw = random.Random(asked.seed)
    found: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(asked.rounds + 1):
        for name in draw.sample(list(commands), len(commands)):
            took = seconds_of(commands[name])
            if turn:  # the first turn fills the disk cache
                found[name].append(took)
    for name, took in found.items():
        spread = f"{min(took):.3f} to {max(took):.3f}"
        print(f"{name:>20}: {statistics.median(took):.3f} s, median of {len(took)} processes ({spread})")


if __name__ == "__main__":
    main()
