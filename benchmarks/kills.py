"""Kill a run at random moments, start it again with the same command, and compare what it leaves with an unbroken run.

    python benchmarks/kills.py [--kills 30] [--seed 0] [--method nkd]

Real `limbeck run` processes are killed with SIGKILL: for each kill a stage is drawn, and once that stage is seen at work
a moment within its length, so that no kill is spent on imports. Counted are the kills by stage; how many trainings went
on from a checkpoint (one that is killed before its first begins anew); how many kills fell in runs that ended with the
same weights bit for bit; and whether the search came to the same candidates in the same order, none told of twice. The
device is the fake one, so that latencies are the same in every run. Exits with 1 when anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

import limbeck
from limbeck.files import file_sha256

RECIPE = """
name = "kills"
[data]
name = "digits"
image_size = 16
validation = 0.2
{limit}
[augment]
crop = "shift"
flip = false
[teacher]
model = "mobilenet_v2"
width_multiplier = 0.25
train = {{ epochs = {epochs}, checkpoint_seconds = 0.2, threads = 1 }}
[student]
model = "mobilenet_v3_small"
width_multiplier = 0.35
[train]
epochs = {epochs}
checkpoint_seconds = 0.2
threads = 1
[budget]
target = "limbeck.testing:FakeDevice,ms_per_million_macs=0.2"
[search]
trials = {trials}
batch = 2
proxy = {{ epochs = 1 }}
[distill]
method = "{method}"
[export]
int8 = "off"
[measure]
runs = 20
"""
NETWORKS = ("train/teacher", "train/plain", "distill/student")
STAGES = ("train/teacher", "search", "train/plain", "distill/student", "calibrate", "export", "measure")
WEIGHTS = (3, 4, 3, 4, 0, 1, 1)  # how often a stage is drawn
KILLS_PER_RUN = 6


class Run:
    """One run folder and the command that is given again and again."""

    def __init__(self, recipe: Path, out: Path) -> None:
        self.out, self.stages, self.log = out, out / "stages", out.with_name(f"{out.name}.log")
        self.command = [sys.executable, "-m", "limbeck.cli", "run", str(recipe), "--out", str(out)]

    def start(self) -> subprocess.Popen[bytes]:
        """Give the command; what it says is kept."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        with open(self.log, "ab") as log:
            return subprocess.Popen(self.command, stderr=log, env=environment, start_new_session=True)

    def at_work(self, since: float) -> str | None:
        """The stage that a process begun at `since` works in; a mark that an earlier one left does not count."""
        # By depth, not recursively: the folders of candidates come and go while we look.
        places = [*self.stages.glob("*/begun.json"), *self.stages.glob("*/*/begun.json")]
        marks = [(mark.stat().st_mtime, mark) for mark in places if mark.exists()]
        fresh = [found for found in marks if found[0] >= since]
        return str(max(fresh)[1].parent.relative_to(self.stages)) if fresh else None

    def kill_once(self, stage: str, delay: float) -> str | None:
        """Give the command and kill it `delay` seconds into `stage`, or a later one; where it fell, None if too late."""
        since = time.time()
        process = self.start()
        while process.poll() is None:
            found = self.at_work(since)
            if found is not None and STAGES.index(found) >= STAGES.index(stage):
                break
            time.sleep(0.01)
        try:
            code = process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return self.at_work(since) or "between stages"
        self._check(code)
        return None

    def finish(self) -> None:
        """Give the command and let it end."""
        self._check(self.start().wait())

    def _check(self, code: int) -> None:
        if code != 0:
            sys.exit(f"the command ended with {code}:\n{self.log.read_text()}")

    def weights(self) -> dict[str, str]:
        """SHA-256 of each trained network."""
        return {stage: file_sha256(self.stages / stage / "model.safetensors") for stage in NETWORKS}

    def seconds(self) -> dict[str, float]:
        """How long each finished stage took."""
        return {stage: json.loads((self.stages / stage / "report.json").read_text())["seconds"] for stage in STAGES}

    def trajectory(self) -> list[tuple[object, ...]]:
        """The search's candidates in the order of their slots."""
        record = json.loads((self.stages / "search" / "report.json").read_text())
        return [
            (trial["slot"], trial["state"], json.dumps(trial["point"]), trial["accuracy"], trial["latency_ms"])
            for trial in record["result"]["study"]["trials"]
        ]

    def told_twice(self) -> int:
        """Candidates that were told of as finished more than once: work that a kill had lost."""
        told = Counter(re.findall(r"^search: candidate (\d+) of", self.log.read_text(), re.MULTILINE))
        return sum(count - 1 for count in told.values())

    def gone_on(self) -> int:
        """Trainings that went on from a checkpoint."""
        return len(re.findall(r": goes on from ", self.log.read_text()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--method", default="nkd")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--limit", type=int, help="training pictures; default all of digits")
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"torch {torch.__version__}, limbeck {limbeck.__version__}, seed {asked.seed}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        recipe = root / "kills.toml"
        limit = f"limit = {asked.limit}" if asked.limit else ""
        recipe.write_text(RECIPE.format(method=asked.method, epochs=asked.epochs, trials=asked.trials, limit=limit))
        whole = Run(recipe, root / "whole" / "run")
        started = time.perf_counter()
        whole.finish()
        print(f"an unbroken run takes {time.perf_counter() - started:.0f} s", flush=True)
        expected, candidates, lengths = whole.weights(), whole.trajectory(), whole.seconds()

        kills: Counter[str] = Counter()
        runs = gone_on = identical = same_search = twice = 0
        while kills.total() < asked.kills:
            broken = Run(recipe, root / f"broken{runs}" / "run")
            in_this = 0
            wanted = min(KILLS_PER_RUN, asked.kills - kills.total())
            for stage in sorted(draw.choices(STAGES, WEIGHTS, k=wanted), key=STAGES.index):
                fell = broken.kill_once(stage, draw.uniform(0.0, lengths[stage]))
                if fell is None:
                    break
                kills[fell] += 1
                in_this += 1
            broken.finish()
            runs, gone_on = runs + 1, gone_on + broken.gone_on()
            equal, alike = broken.weights() == expected, broken.trajectory() == candidates
            identical, same_search = identical + in_this * equal, same_search + in_this * alike
            twice += broken.told_twice()
            print(f"run {runs}: killed {in_this} times; weights equal: {equal}; search equal: {alike}", flush=True)
            shutil.rmtree(broken.out.parent)
        by_stage = ", ".join(f"{kills[stage]} in {stage}" for stage in (*STAGES, "between stages") if kills[stage])
        print(f"{kills.total()} kills in {runs} runs: {by_stage}")
        print(f"{gone_on} trainings went on from a checkpoint")
        print(f"{identical} kills bit-identical in all weights, {same_search} with the same search")
        print(f"finished candidates that were trained again: {twice}")
        return 0 if identical == same_search == kills.total() and twice == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
