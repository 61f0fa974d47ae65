"""What a second worker brings a search: wall time of its parts with one and with two, on the same candidates.

    python benchmarks/workers.py [--trials 8] [--epochs 6] [--repeats 3]

Real `limbeck search` processes on scikit-learn's handwriting, random candidates, in turn with one worker and with two;
a first one of each, whose time is not counted, fills the caches of files. Told are the medians over the repeats, and the
ratio of the trainings' times in each pair. Needs as many idle cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from limbeck.files import read_json

RECIPE = """
name = "workers"
[data]
name = "digits"
image_size = 32
validation = 0.2
[augment]
crop = "shift"
flip = false
[student]
model = "mobilenet_v3_small"
width_multiplier = 0.5
[search]
sampler = "random"
trials = {trials}
batch = {trials}
workers = {workers}
[search.proxy]
epochs = {epochs}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(asked.repeats + 1):
            for workers, several in found.items():
                seconds = search(Path(folder) / f"{turn}-{workers}", asked, workers)
                told = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
                print(f"{'warm-up' if turn == 0 else turn}: {workers} worker(s): {told}", flush=True)
                if turn > 0:
                    several.append(seconds)
    for workers, several in found.items():
        medians = {name: statistics.median(one[name] for one in several) for name in several[0]}
        print(f"{workers} worker(s): " + ", ".join(f"{name} {value:.1f} s" for name, value in medians.items()))
    ratios = [one["training"] / two["training"] for one, two in zip(found[1], found[2], strict=True)]
    print(f"training: {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


def search(folder: Path, asked: argparse.Namespace, workers: int) -> dict[str, float]:
    """Seconds of each part."""
    folder.mkdir()
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(trials=asked.trials, epochs=asked.epochs, workers=workers))
    command = [str(Path(sys.executable).with_name("limbeck")), "search", str(recipe), "--out", str(folder / "run")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    seconds: dict[str, float] = read_json(folder / "run" / "stages" / "search" / "report.json")["result"]["study"][
        "seconds"
    ]
    return seconds


if __name__ == "__main__":
    main()
