"""The whole command under torchrun: two processes train, one does everything else, and nobody waits for ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from small_run import small_tree

from limbeck.files import file_sha256, write_json

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch without gloo")

NETWORKS = ("train/teacher", "train/plain", "distill/student")
PATIENCE = 240  # seconds until a command counts as hanging


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(recipe: Path, out: Path, *more: str) -> list[subprocess.Popen[str]]:
    """The two processes as torchrun starts them, with outputs apart; torchrun itself only adds seconds."""
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "limbeck.cli", "run", str(recipe), "--out", str(out), *more]
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def end(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) per rank."""
    try:
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        told = [process.communicate()[1] for process in processes]
        pytest.fail("the processes wait for each other:\n" + "\n".join(told))
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def weights(out: Path) -> dict[str, str]:
    return {stage: file_sha256(out / "stages" / stage / "model.safetensors") for stage in NETWORKS}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.json"
    write_json(path, small_tree(export__int8="off"))
    return path


@pytest.fixture(scope="module")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes, with a search."""
    out = tmp_path_factory.mktemp("two") / "run"
    for code, _, errors in end(start(recipe, out)):
        assert code == 0, errors
    return out


def test_two_processes_leave_one_finished_run(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    assert [model["name"] for model in report["models"]] == ["teacher", "plain", "student"]
    assert len(report["search"]["trials"]) == 2
    assert not list((run / "stages").rglob("begun.json"))
    log = (run / "stages" / "distill" / "student" / "fit" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log if json.loads(line)["kind"] == "epoch"] == [1]


def test_half_the_pictures_are_seen_by_each(run: Path) -> None:
    """200 training pictures in batches of 64: three steps for one process, one for two that take 64 each."""
    record = json.loads((run / "stages" / "train" / "plain" / "report.json").read_text())
    assert record["inputs"]["data"]["limit"] == 200
    assert record["inputs"]["train"]["batch_size"] == 64
    assert record["result"]["fit"]["history"][-1]["step"] == 1


def test_a_rerun_gives_the_same_weights(run: Path, recipe: Path) -> None:
    """With the teacher and the search finished: no process may wait in a stage that another takes as done."""
    before = weights(run)
    for stage in ("train/plain", "distill/student"):
        shutil.rmtree(run / "stages" / stage)
    for code, _, errors in end(start(recipe, run)):
        assert code == 0, errors
    assert weights(run) == before


@pytest.mark.slow
def test_seeds_borrow_stages_without_leaving_a_process_behind(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "seeds"
    tree = small_tree(export__int8="off", search=None, baselines={"plain": False})
    write_json(tmp_path / "small.json", tree)
    ended = end(start(tmp_path / "small.json", out, "--seeds", "0,1", "--json"))
    for code, _, errors in ended:
        assert code == 0, errors
    assert json.loads(ended[0][1])["models"]
    assert ended[1][1] == ""
    teachers = [file_sha256(out / f"seed-{n}" / "stages" / "train" / "teacher" / "model.safetensors") for n in (0, 1)]
    assert teachers[0] == teachers[1]


def test_bad_input_is_told_once_and_ends_both(tmp_path: Path) -> None:
    write_json(tmp_path / "bad.json", small_tree(search__space="mobilenet_block"))
    started = time.monotonic()
    (code, _, errors), (other, _, said) = end(start(tmp_path / "bad.json", tmp_path / "run"))
    assert code == 2
    assert "did you mean 'mobilenet_blocks'" in errors
    assert other != 0
    assert "Traceback" not in errors + said
    assert said.count("\n") <= 1
    assert time.monotonic() - started < 60


@pytest.mark.slow
def test_a_budget_that_nothing_meets_ends_both(tmp_path: Path) -> None:
    write_json(tmp_path / "slow.json", small_tree(budget__max_latency_ms=0.101, teacher=None, distill=None))
    (code, _, errors), (other, _, said) = end(start(tmp_path / "slow.json", tmp_path / "run"))
    assert code == 2
    assert "within the budget" in errors
    assert other != 0
    assert "Traceback" not in errors + said


@pytest.mark.slow
def test_a_stop_told_to_one_process_stops_both_and_they_go_on(run: Path, recipe: Path, tmp_path: Path) -> None:
    write_json(
        tmp_path / "long.json", small_tree(export__int8="off", search=None, train__epochs=3, teacher=None, distill=None)
    )
    out = tmp_path / "run"
    processes = start(tmp_path / "long.json", out)
    log = out / "stages" / "train" / "student" / "fit" / "log.jsonl"
    while processes[0].poll() is None and not log.exists():
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    codes = [code for code, _, _ in end(processes)]
    assert set(codes) <= {75, 0}
    for code, _, errors in end(start(tmp_path / "long.json", out)):
        assert code == 0, errors
    assert (out / "report.json").exists()
