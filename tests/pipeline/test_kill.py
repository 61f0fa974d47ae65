"""Real runs killed with SIGKILL in the middle of their stages end with the bits of a run that was left alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


def campaign(*options: object) -> str:
    """The campaign exits with 1 when a run did not go on, weights differ, or the search went elsewhere."""
    done = subprocess.run([sys.executable, CAMPAIGN, *map(str, options)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_runs_end_with_the_same_bits() -> None:
    told = campaign("--kills", 2, "--epochs", 2, "--trials", 2, "--limit", 200, "--seed", 1)
    assert "2 kills bit-identical in all weights, 2 with the same search" in told
    assert "trained again: 0" in told


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nkd", "uskd", "dml"])
def test_many_kills(method: str) -> None:
    told = campaign("--kills", 20, "--method", method, "--epochs", 3, "--trials", 3, "--limit", 400)
    stages = dict(reversed(pair) for pair in re.findall(r"(\d+) in ([a-z]+/?[a-z]*)", told.split("runs: ", 1)[1]))
    assert {"search", "distill/student"} <= set(stages)
