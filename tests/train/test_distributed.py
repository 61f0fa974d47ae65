from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from train_toys import ToyBatches, accuracy, same_bits, settings, supervised

from limbeck.train import fit

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch without gloo")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("train_two_ranks")
    done = run(HERE / "train_two_ranks.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def ended(folder: Path, case: str, rank: int) -> dict:
    return torch.load(folder / f"{case}.{rank}.pt", weights_only=True)


def states_are_equal(one: dict, other: dict, *, of: str = "") -> bool:
    keys = [key for key in one["state"] if key.startswith(of)]
    return bool(keys) and all(torch.equal(one["state"][key], other["state"][key]) for key in keys)


def test_two_processes_train_what_one_would_on_both_halves(folder, tmp_path):
    alone = supervised(norm=False, dropout=0.0)
    report = fit(alone, ToyBatches(), settings(accumulate=2), folder=tmp_path, seed=1, evaluate=accuracy)
    together = ended(folder, "together", 0)
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(together["state"][key], value, atol=1e-6, rtol=1e-4)
    assert together["report"]["best_epoch"] == report.best_epoch
    assert together["report"]["best"]["nll"] == pytest.approx(report.best["nll"], rel=1e-4)


def test_both_end_with_the_same_weights_and_report_and_one_evaluates(folder):
    one, other = ended(folder, "together", 0), ended(folder, "together", 1)
    assert states_are_equal(one, other)
    assert one["report"]["best"] == other["report"]["best"]
    assert (one["evaluations"], other["evaluations"]) == (3, 0)


def test_one_process_writes(folder):
    lines = [json.loads(line) for line in (folder / "together" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [1, 2, 3]
    assert (folder / "together" / "fit.json").exists()


def test_a_stop_told_to_one_stops_both_and_both_go_on_alike(folder):
    whole = ended(folder, "whole", 0)
    for rank, cause in enumerate(("another process", "SIGTERM")):
        found = ended(folder, "halting", rank)
        assert f"stopped by {cause}, saved in epoch 2 of 3, step 8" in found["stopped"]
        assert found["report"]["resumed_from"] == 8
        assert states_are_equal(whole, found)


def test_a_finished_training_is_given_to_both(folder):
    for rank in range(2):
        for learner in ("a.", "b."):
            assert states_are_equal(ended(folder, "whole", 0), ended(folder, "again", rank), of=learner)


def test_one_process_may_train_alone(folder, tmp_path):
    objective = supervised()
    fit(objective, ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert states_are_equal({"state": objective.state_dict()}, ended(folder, "alone", 0))


@pytest.mark.slow
def test_torchrun_starts_it(tmp_path):
    script = tmp_path / "under_torchrun.py"
    script.write_text(
        "import sys\n"
        "from train_toys import *\n"
        "from limbeck.train import fit, join_world\n"
        "world, _ = join_world('cpu')\n"
        "batches = ToyBatches(rank=world.rank, world=world.size)\n"
        "fit(supervised(norm=False, dropout=0.0), batches, settings(), folder=sys.argv[1], seed=1, evaluate=accuracy)\n"
    )
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, tmp_path / "fit")
    done = run(*launcher)
    assert done.returncode == 0, done.stderr
    alone, together = supervised(norm=False, dropout=0.0), supervised(seed=4, norm=False, dropout=0.0)
    fit(alone, ToyBatches(), settings(), folder=tmp_path / "alone", seed=1, evaluate=accuracy)
    fit(together, ToyBatches(), settings(), folder=tmp_path / "fit", seed=1, evaluate=accuracy)
    assert not same_bits(together, supervised(seed=4, norm=False, dropout=0.0))
    for a, b in zip(alone.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
