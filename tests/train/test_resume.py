from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from train_toys import ToyBatches, accuracy, pair, same_bits, settings, supervised

from limbeck.errors import InputError, Stopped
from limbeck.train import World, fit, load_checkpoint, loop, save_checkpoint
from limbeck.train.standing import Standing
from limbeck.train.training import Training

HERE = Path(__file__).parent


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def log_lines(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def history(folder: Path) -> list[dict]:
    records = json.loads((folder / "fit.json").read_text())["report"]["history"]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def check_campaign(folder: Path, *, seed: int, kills: int) -> None:
    done = run_script(HERE / "kill_campaign.py", folder, seed, kills)
    assert done.returncode == 0, done.stderr
    assert "child failed" not in done.stderr, done.stderr
    assert done.stderr.count("goes on from") >= 4, "hardly a child found a checkpoint"
    killed = json.loads(done.stdout)
    assert set(killed) == {"supervised", "pair"}
    for kind, count in killed.items():
        assert count >= min(3, kills), "the children finished before they were killed"
        peace, war = folder / kind / "peace", folder / kind / "war"
        assert (peace / "selected.safetensors").read_bytes() == (war / "selected.safetensors").read_bytes()
        assert log_lines(peace) == log_lines(war)
        assert history(peace) == history(war)
        left = sorted(path.name for path in war.iterdir())
        assert left == ["fit.json", "log.jsonl", "selected.safetensors", "tensorboard"]


def test_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    check_campaign(tmp_path, seed=1, kills=6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_many_times_ends_with_the_same_bits(tmp_path, seed):
    check_campaign(tmp_path, seed=seed + 10, kills=20)


class StoppingBatches(ToyBatches):
    """Sends this process a signal at chosen batches, each once."""

    def __init__(self, *moments: tuple[int, int], number: int = signal.SIGTERM, **options) -> None:
        super().__init__(**options)
        self.moments, self.number = list(moments), number

    def epoch(self, epoch, start=0):
        for step, batch in enumerate(super().epoch(epoch, start), start=start):
            if (epoch, step) in self.moments:
                self.moments.remove((epoch, step))
                os.kill(os.getpid(), self.number)
            yield batch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (supervised, {"ema": 0.9}),
        (supervised, {"optimizer": "rmsprop_tf", "learning_rate": 0.005}),
        (supervised, {"optimizer": "rmsprop", "learning_rate": 0.005, "epsilon": 0.0316}),
        (supervised, {"precision": "fp16"}),
        (pair, {"accumulate": 4}),
    ],
)
def test_stop_saves_and_the_next_call_goes_on(tmp_path, make, changes, number):
    whole, halting = make(), make()
    wishes = settings(**changes)
    fit(whole, ToyBatches(), wishes, folder=tmp_path / "whole", seed=1, evaluate=accuracy)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    batches = StoppingBatches((0, 2), (1, 5), number=number)  # in the middle, and in the last batch of an epoch
    for _ in range(2):
        with pytest.raises(Stopped, match="the same command goes on") as caught:
            fit(halting, batches, wishes, folder=tmp_path / "halting", seed=1, evaluate=accuracy)
        assert caught.value.exit_code == 75
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
        halting = make(seed=99)  # what the next process builds is overwritten by the checkpoint
    report = fit(halting, batches, wishes, folder=tmp_path / "halting", seed=1, evaluate=accuracy)
    assert report.resumed_from == 2 * math.ceil(6 / wishes.accumulate)
    assert same_bits(whole.deployable(), halting.deployable())
    assert log_lines(tmp_path / "whole") == log_lines(tmp_path / "halting")


@pytest.fixture
def interruptible():
    """Python's own answer to Ctrl-C, which a process that was started in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_second_interrupt_ends_at_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(supervised(), ImpatientBatches(), settings(), folder=tmp_path, seed=1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class ImpatientBatches(ToyBatches):
    def epoch(self, epoch, start=0):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        yield from super().epoch(epoch, start)


def test_stop_while_results_are_written_keeps_them(tmp_path):
    def evaluate(network):
        if evaluate.calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        evaluate.calls += 1
        return accuracy(network)

    evaluate.calls = 0
    with pytest.raises(Stopped, match="finished"):
        fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=evaluate)
    assert (tmp_path / "fit.json").exists()
    assert fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=evaluate).epochs == 3


def test_trains_outside_the_main_thread(tmp_path):
    reports = []
    work = threading.Thread(
        target=lambda: reports.append(fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1))
    )
    work.start()
    work.join()
    assert reports[0].epochs == 3


def test_sigterm_ends_a_process_with_75_and_the_next_goes_on(tmp_path):
    script = tmp_path / "train_once.py"
    script.write_text(
        "import sys, os, signal\n"
        "from train_toys import *\n"
        "from limbeck.errors import LimbeckError\n"
        "from limbeck.train import fit\n"
        "class Halting(ToyBatches):\n"
        "    def epoch(self, epoch, start=0):\n"
        "        for batch in super().epoch(epoch, start):\n"
        "            if epoch == 1: os.kill(os.getpid(), signal.SIGTERM)\n"
        "            yield batch\n"
        "try:\n"
        "    fit(supervised(), Halting(), settings(), folder=sys.argv[1], seed=1)\n"
        "except LimbeckError as error:\n"
        "    print(error); sys.exit(error.exit_code)\n"
    )
    done = run_script(script, tmp_path / "fit")
    assert done.returncode == 75, done.stderr
    assert done.stdout.startswith("student: stopped by SIGTERM, saved in epoch 2 of 3, step 7")
    whole, resumed = supervised(), supervised(seed=5)
    fit(whole, ToyBatches(), settings(), folder=tmp_path / "whole", seed=1)
    report = fit(resumed, ToyBatches(), settings(), folder=tmp_path / "fit", seed=1)
    assert report.resumed_from == 7
    assert same_bits(whole, resumed)


def test_the_best_weights_so_far_survive_a_resume(tmp_path):
    figures = {0: 0.5, 1: 0.9, 2: 0.7, 3: 0.6}

    def evaluate(network):
        return {"top1": next(remaining)}

    remaining, whole = iter(figures.values()), supervised()
    fit(whole, ToyBatches(), settings(epochs=4), folder=tmp_path / "whole", seed=1, evaluate=evaluate)
    remaining, resumed = iter(figures.values()), supervised()
    with pytest.raises(Stopped):
        fit(
            supervised(),
            StoppingBatches((2, 3)),
            settings(epochs=4),
            folder=tmp_path / "fit",
            seed=1,
            evaluate=evaluate,
        )
    report = fit(resumed, ToyBatches(), settings(epochs=4), folder=tmp_path / "fit", seed=1, evaluate=evaluate)
    assert (report.best_epoch, report.best["top1"]) == (2, 0.9)
    assert same_bits(whole, resumed)


def test_the_loss_scale_survives_a_resume():
    options = {"steps_per_epoch": 6, "seed": 1, "world": World(), "device": torch.device("cpu")}
    wishes = settings(precision="fp16")
    one, other = Training(supervised(), wishes, **options), Training(supervised(), wishes, **options)
    one.step(list(ToyBatches(steps=1).epoch(0)), Standing())
    one.scaler.update(1024.0)
    other.load_state(one.state())
    assert other.scaler.get_scale() == 1024.0


def stopped_at(folder: Path, *moments: tuple[int, int], **changes) -> None:
    for _ in moments:
        batches = StoppingBatches(*moments)
        moments = moments[1:]
        with pytest.raises(Stopped):
            fit(supervised(), batches, settings(**changes), folder=folder, seed=1, evaluate=accuracy)


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(tmp_path, capsys):
    whole, resumed = supervised(), supervised(seed=5)
    fit(whole, ToyBatches(), settings(), folder=tmp_path / "whole", seed=1, evaluate=accuracy)
    stopped_at(tmp_path / "fit", (0, 2), (1, 2))
    current = tmp_path / "fit" / "checkpoint.pt"
    content = bytearray(current.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    current.write_bytes(content)
    report = fit(resumed, ToyBatches(), settings(), folder=tmp_path / "fit", seed=1, evaluate=accuracy)
    assert report.resumed_from == 6  # the checkpoint of the first epoch's end
    assert "corrupt checkpoint" in capsys.readouterr().err
    assert same_bits(whole, resumed)
    assert log_lines(tmp_path / "whole") == log_lines(tmp_path / "fit")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 torn"])
def test_no_readable_checkpoint_is_one_clear_line(tmp_path, content):
    stopped_at(tmp_path, (0, 2), (1, 2))
    (tmp_path / "checkpoint.pt").write_bytes(content)
    (tmp_path / "checkpoint.previous.pt").unlink()
    with pytest.raises(
        InputError, match=r"checkpoint\.pt: corrupt checkpoint .* delete it to train from the start"
    ) as caught:
        fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=accuracy)
    assert "\n" not in str(caught.value)


class Payload:
    def __reduce__(self):
        return os.system, ("exit 1",)


def test_a_checkpoint_that_carries_code_is_refused(tmp_path):
    torch.save({"identity": "x", "state": Payload()}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="more than tensors and plain values"):
        load_checkpoint(tmp_path, identity="x", name="student")


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step}, identity="x")
    (tmp_path / "checkpoint.pt").unlink()
    (tmp_path / ".checkpoint.pt.123.tmp").write_bytes(b"torn")
    assert load_checkpoint(tmp_path, identity="x", name="student") == {"step": 1}
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_checkpoint_of_another_training_is_replaced_and_said(tmp_path, capsys):
    stopped_at(tmp_path, (1, 2))
    fresh, again = supervised(), supervised()
    other = settings(learning_rate=0.04)
    fit(fresh, ToyBatches(), other, folder=tmp_path / "fresh", seed=1, evaluate=accuracy)
    report = fit(again, ToyBatches(), other, folder=tmp_path, seed=1, evaluate=accuracy)
    assert report.resumed_from is None
    assert "other settings or data" in capsys.readouterr().err
    assert same_bits(fresh, again)
    assert log_lines(tmp_path / "fresh") == log_lines(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"seed": 2}, {"identity": {"data": "other"}}, {"primary": "nll"}, {"higher_is_better": False}, {"evaluate": None}],
)
def test_what_makes_another_training(tmp_path, changes):
    call = {"folder": tmp_path, "seed": 1, "evaluate": accuracy, "identity": {"data": "one"}}
    with pytest.raises(Stopped):
        fit(supervised(), StoppingBatches((1, 2)), settings(), **call)
    assert fit(supervised(), ToyBatches(), settings(), **{**call, **changes}).resumed_from is None


def test_incidental_settings_are_the_same_training(tmp_path):
    stopped_at(tmp_path, (1, 2), checkpoint_seconds=5)
    changed = settings(checkpoint_seconds=7, device="auto")
    assert fit(supervised(), ToyBatches(), changed, folder=tmp_path, seed=1, evaluate=accuracy).resumed_from == 9


def test_thread_count_is_kept_through_a_resume(tmp_path, capsys):
    counts = []

    def evaluate(network):
        counts.append(torch.get_num_threads())
        return accuracy(network)

    call = {"folder": tmp_path, "seed": 1, "evaluate": evaluate}
    with pytest.raises(Stopped):
        fit(supervised(), StoppingBatches((1, 2)), settings(threads=2), **call)
    assert torch.get_num_threads() == 1
    with pytest.raises(Stopped):
        fit(supervised(), StoppingBatches((2, 2)), settings(), **call)
    assert "with 2 threads, as it began (it would be 1 here)" in capsys.readouterr().err
    fit(supervised(), ToyBatches(), settings(threads=1), **call)
    assert "with 1 threads instead of 2" in capsys.readouterr().err
    assert counts == [2, 2, 1]


def test_finished_training_returns_at_once_with_its_weights(tmp_path):
    first, second = supervised(), supervised(seed=9)
    report = fit(first, ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=accuracy)
    written = (tmp_path / "log.jsonl").read_bytes()

    def never(network):
        raise AssertionError("evaluated again")

    assert fit(second, ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=never) == report
    assert same_bits(first, second)
    assert (tmp_path / "log.jsonl").read_bytes() == written


def test_finished_training_with_lost_weights_is_one_clear_line(tmp_path):
    fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1)
    (tmp_path / "selected.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"selected\.safetensors: missing or corrupt .* to train again"):
        fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1)


def test_a_full_disk_is_one_clear_line_and_leaves_no_finished_look(tmp_path, monkeypatch):
    def full(weights, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("limbeck.train.finished.save_file", full)
    with pytest.raises(InputError, match="No space left on device"):
        fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert not (tmp_path / "fit.json").exists()
    assert not (tmp_path / "selected.safetensors").exists()
    monkeypatch.undo()
    assert fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1).resumed_from is not None


def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    saves = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda *a, **k: saves.append(threading.Event().wait(0.05)))
    fit(supervised(), ToyBatches(), settings(epochs=8, checkpoint_seconds=0.001), folder=tmp_path, seed=1)
    assert len(saves) == 1  # 50 ms for a training of less than a second: the next is due after another second


def test_the_callers_random_states_are_left_alone(tmp_path):
    torch.manual_seed(4)
    random.seed(4)
    expected = torch.get_rng_state(), random.getstate()
    fit(supervised_without_seeding(), ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert torch.equal(torch.get_rng_state(), expected[0])
    assert random.getstate() == expected[1]


def supervised_without_seeding():
    state = torch.get_rng_state()
    objective = supervised()
    torch.set_rng_state(state)
    return objective


def test_folder_can_be_moved_between_stop_and_resume(tmp_path):
    stopped_at(tmp_path / "here", (1, 2))
    shutil.move(tmp_path / "here", tmp_path / "there")
    report = fit(supervised(), ToyBatches(), settings(), folder=tmp_path / "there", seed=1, evaluate=accuracy)
    assert report.resumed_from == 9
