"""Kill a run at random moments, start it again with the same command, and compare what it leaves with an unbroken run.

Counts, over real `limbeck run` processes killed with SIGKILL: how often a run that was killed while it trained, distilled
or searched went on, whether the final weights are the same bit for bit, and whether the search kept every complete trial,
none twice, on the same trajectory. The device is the fake one, so that candidates are the same in every run.

    python benchmarks/kills.py --kills 30 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from limbeck.files import file_sha256

RECIPE = """
name = "kills"
[data]
name = "digits"
image_size = 16
[augment]
crop = "shift"
flip = false
[teacher]
model = "mobilenet_v2"
width_multiplier = 0.5
train = {{ epochs = 6, checkpoint_seconds = 0.5 }}
[student]
model = "mobilenet_v3_small"
width_multiplier = 0.5
[train]
epochs = 6
checkpoint_seconds = 0.5
[budget]
target = "limbeck.testing:FakeDevice,ms_per_million_macs=0.2"
[search]
trials = 6
batch = 3
proxy = {{ epochs = 1 }}
[distill]
method = "{method}"
[export]
int8 = "off"
"""
NETWORKS = ("train/teacher", "train/plain", "distill/student")


def command(recipe: Path, out: Path) -> list[str]:
    """The same command every time."""
    return [sys.executable, "-m", "limbeck.cli", "run", str(recipe), "--out", str(out)]


def stage_under_way(out: Path) -> str:
    """The stage that a killed run was in."""
    begun = sorted((out / "stages").rglob("begun.json")) if (out / "stages").exists() else []
    return str(begun[0].parent.relative_to(out / "stages")) if begun else "between stages"


def trajectory(out: Path) -> list[tuple[object, ...]]:
    """The search's candidates in order of their slots."""
    record = json.loads((out / "stages" / "search" / "report.json").read_text())
    return [
        (t["slot"], t["state"], json.dumps(t["point"]), t["accuracy"], t["latency_ms"])
        for t in record["result"]["study"]["trials"]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="nkd")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        recipe = root / "kills.toml"
        recipe.write_text(RECIPE.format(method=options.method))
        whole = root / "whole" / "run"
        started = time.perf_counter()
        subprocess.run(command(recipe, whole), check=True, capture_output=True, env=environment)
        length = time.perf_counter() - started
        expected = {stage: file_sha256(whole / "stages" / stage / "model.safetensors") for stage in NETWORKS}
        print(f"an unbroken run takes {length:.0f} s")

        kills: dict[str, int] = {}
        runs = same = searches = 0
        while sum(kills.values()) < options.kills:
            broken = root / "broken" / "run"
            shutil.rmtree(broken.parent, ignore_errors=True)
            finished = False
            while not finished:
                process = subprocess.Popen(
                    command(recipe, broken),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                )
                try:
                    _, errors = process.communicate(timeout=draw.uniform(4.0, max(8.0, length / 3)))
                    finished = True
                    if process.returncode != 0:
                        print(errors.decode(), file=sys.stderr)
                        return 1
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    stage = stage_under_way(broken)
                    kills[stage] = kills.get(stage, 0) + 1
            runs += 1
            found = {stage: file_sha256(broken / "stages" / stage / "model.safetensors") for stage in NETWORKS}
            weights_equal, search_equal = found == expected, trajectory(broken) == trajectory(whole)
            same += weights_equal
            searches += search_equal
            print(f"run {runs}: {sum(kills.values())} kills so far, weights equal: {weights_equal}, search equal: {search_equal}")
        print(
            f"{sum(kills.values())} kills in {runs} runs: "
            + ", ".join(f"{count} in {stage}" for stage, count in sorted(kills.items()))
        )
        print(f"resumed and finished: {runs} of {runs}; weights bit-identical: {same} of {runs}", end="; ")
        print(f"search trajectory identical: {searches} of {runs}")
        return 0 if same == searches == runs else 1


if __name__ == "__main__":
    sys.exit(main())
