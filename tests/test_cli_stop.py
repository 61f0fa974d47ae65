"""Stopped and damaged trainings from the command line: exit 75, the same command goes on, nothing is made up."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import small_tree

FIT = Path("run/stages/train/student/fit")
COMMAND = [sys.executable, "-m", "limbeck.cli", "train", "small.json", "--out", "run"]


def start(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(COMMAND, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stop(home: Path, number: signal.Signals) -> tuple[int, str]:
    """Start the training, send the signal in its middle, and return exit code and stderr."""
    child = start(home)
    known = sorted(home.glob(f"{FIT}/*.pt"))
    before = [path.stat().st_mtime_ns for path in known]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        now = sorted(home.glob(f"{FIT}/*.pt"))
        if len(now) == 2 and [path.stat().st_mtime_ns for path in now] != before:
            break
        time.sleep(0.02)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    return child.returncode, err


def finish(home: Path) -> tuple[int, str]:
    done = subprocess.run(COMMAND, cwd=home, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


def resumed_from(home: Path) -> int | None:
    record = json.loads((home / FIT.parent / "report.json").read_text())
    return record["result"]["fit"]["resumed_from"]


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A folder whose training was stopped by SIGTERM, with the exit code and what was said."""
    home = tmp_path_factory.mktemp("stopped")
    train = {"epochs": 30, "threads": 1, "checkpoint_seconds": 0.1}
    tree = small_tree(teacher=None, search=None, distill=None, train=train, budget__max_latency_ms=None)
    (home / "small.json").write_text(json.dumps(tree))
    return home, *stop(home, signal.SIGTERM)


@pytest.fixture
def home(stopped: tuple[Path, int, str], tmp_path: Path) -> Path:
    shutil.copytree(stopped[0], tmp_path / "home")
    return tmp_path / "home"


def test_sigterm_exits_75_with_one_line(stopped: tuple[Path, int, str]) -> None:
    home, code, err = stopped
    assert code == 75, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ")
    assert sum(line.startswith("error: ") for line in err.splitlines()) == 1
    assert not (home / FIT.parent / "report.json").exists()


def test_ctrl_c_too_and_the_same_command_goes_on_past_a_corrupt_checkpoint(home: Path) -> None:
    code, err = stop(home, signal.SIGINT)
    assert code == 75, err
    assert "Traceback" not in err
    newest = home / FIT / "checkpoint.pt"
    newest.write_bytes(newest.read_bytes()[:-2000])
    code, err = finish(home)
    assert code == 0, err
    assert "corrupt checkpoint" in err
    assert "going on from the one before it" in err
    assert (resumed_from(home) or 0) > 0


def test_no_checkpoint_that_can_be_read_is_told(home: Path) -> None:
    for path in (home / FIT).glob("*.pt"):
        path.write_bytes(b"not a checkpoint")
    code, err = finish(home)
    assert code == 2
    assert "Traceback" not in err
    assert "checkpoint.pt: corrupt checkpoint" in err.splitlines()[-1]
    assert "delete it to train from the start" in err.splitlines()[-1]
    assert not (home / FIT.parent / "report.json").exists()
