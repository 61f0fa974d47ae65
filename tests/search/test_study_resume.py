"""Kill -9 at random moments: the search ends as if it had never been killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import toy_search as toy

from limbeck.errors import InputError, Stopped
from limbeck.search import CandidateCost, Ceilings
from limbeck.types import Evaluation


def start_driver(folder, seed, workers=1):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, toy.__file__, str(folder), str(seed), str(workers)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_with_kills(folder, *, seed, kills, workers=1):
    """Kill the driver `kills` times, each time after its ledger grew by a random amount; then let one end."""
    chance = random.Random(seed)
    journal = folder / "study.journal"
    killed = 0
    for _ in range(kills):
        wanted = chance.uniform(0, 6000) + (journal.stat().st_size if journal.exists() else 0)
        driver = start_driver(folder, seed, workers)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and driver.poll() is None:
            if journal.exists() and journal.stat().st_size > wanted:
                break
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.02))
        killed += driver.poll() is None
        driver.kill()
        driver.communicate()
    driver = start_driver(folder, seed, workers)
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 0, errors
    return killed


def read_study(folder):
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name="limbeck", storage=storage).get_trials(deepcopy=False)


def finished_slots(trials):
    return [t.user_attrs["slot"] for t in trials if t.state.name == "COMPLETE"]


@pytest.mark.parametrize(("seed", "workers", "kills"), [(3, 1, 8), (4, 1, 6), (5, 2, 4)])
def test_a_killed_search_ends_as_if_it_had_not_been_killed(tmp_path, seed, workers, kills):
    unbroken = toy.search(tmp_path / "unbroken", seed=seed)
    folder = tmp_path / "killed"
    folder.mkdir()
    killed = run_with_kills(folder, seed=seed, kills=kills, workers=workers)
    assert killed >= kills - 1  # the last may come too late
    result = json.loads((folder / "done.json").read_text())
    left_out = ("number", "seconds", "reused")
    resumed = [{key: value for key, value in trial.items() if key not in left_out} for trial in result["trials"]]
    assert resumed == toy.trajectory(unbroken)
    assert result["front"] == unbroken.front
    trials = read_study(folder)
    assert max(Counter(finished_slots(trials)).values()) == 1
    assert not [t for t in trials if t.state.name in ("RUNNING", "WAITING")]
    lost = [t for t in trials if t.user_attrs.get("lost")]
    assert all(t.state.name == "FAIL" for t in lost)


def test_a_candidate_is_trained_again_only_if_its_driver_was_killed(tmp_path):
    (tmp_path / "k").mkdir()
    killed = run_with_kills(tmp_path / "k", seed=7, kills=5)
    trained = Counter(json.dumps(one["point"], sort_keys=True) for one in toy.evaluations(tmp_path / "k"))
    again = sum(count - 1 for count in trained.values())
    assert again <= killed  # at most the one under way, each time


def test_every_complete_trial_survives_a_kill_and_keeps_its_number(tmp_path):
    driver = start_driver(tmp_path, 9)
    seen = {}
    while driver.poll() is None and len(seen) < 5:
        if (tmp_path / "study.journal").exists():
            try:
                seen = {t.number: t.value for t in read_study(tmp_path) if t.state.name == "COMPLETE"}
            except (KeyError, ValueError):  # the study is just being made
                continue
    driver.kill()
    driver.communicate()
    result = toy.search(tmp_path, seed=9)
    kept = {trial["number"]: trial["accuracy"] for trial in result.trials if trial["state"] == "complete"}
    assert len(seen) >= 5
    assert seen.items() <= kept.items()


class StopsAfter:
    """Ends the process's search from inside an evaluation or a timing, after so many calls."""

    def __init__(self, calls, error):
        self.left, self.error = calls, error

    def __call__(self, *given):
        self.left -= 1
        if self.left < 0:
            raise self.error
        point = given[0]
        if isinstance(point, list):
            return toy.time_candidates(point)
        return Evaluation("complete", accuracy=toy.accuracy(point))


@pytest.mark.parametrize("calls", [0, 1, 2, 5, 9])
def test_an_interrupt_during_an_evaluation_stops_and_the_search_goes_on(tmp_path, calls):
    with pytest.raises(Stopped, match="the same command goes on"):
        toy.search(tmp_path / "a", evaluate=StopsAfter(calls, KeyboardInterrupt()))
    assert toy.trajectory(toy.search(tmp_path / "a")) == toy.trajectory(toy.search(tmp_path / "b"))


@pytest.mark.parametrize("calls", [1, 3, 4, 6, 8])
def test_a_sampler_is_shown_the_same_history_after_an_interruption(tmp_path, calls):
    options = {"sampler": "toy_search:OrderSensitive", "ceilings": Ceilings(max_latency_ms=4.2, max_params=230)}
    with pytest.raises(Stopped):
        toy.search(tmp_path / "a", evaluate=StopsAfter(calls, KeyboardInterrupt()), **options)
    a, b = (toy.search(tmp_path / name, **options) for name in "ab")
    assert toy.trajectory(a) == toy.trajectory(b)
    assert [trial["number"] for trial in a.trials] != [trial["number"] for trial in b.trials]


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_vanished_device_ends_the_search_and_loses_nothing(tmp_path, calls):
    with pytest.raises(InputError, match="device is gone"):
        toy.search(tmp_path / "a", timing=StopsAfter(calls, InputError("device is gone")))
    assert toy.trajectory(toy.search(tmp_path / "a")) == toy.trajectory(toy.search(tmp_path / "b"))


def test_candidates_that_were_timed_are_not_timed_again(tmp_path):
    timed = []

    def timing(points):
        timed.extend(json.dumps(point, sort_keys=True) for point in points)
        return [CandidateCost(toy.latency(point)) for point in points]

    with pytest.raises(Stopped):
        toy.search(tmp_path, timing=timing, evaluate=StopsAfter(2, KeyboardInterrupt()))
    toy.search(tmp_path, timing=timing)
    assert len(timed) == len(set(timed))


def test_sigterm_during_an_evaluation_is_stopped_and_not_swallowed(tmp_path):
    def evaluate(point, seed):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except Exception:  # an evaluation that catches too much
            return Evaluation("failed", reason="swallowed")
        return Evaluation("complete", accuracy=0.5)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"):
        toy.search(tmp_path, evaluate=evaluate)
    assert signal.getsignal(signal.SIGTERM) is before
    assert toy.trajectory(toy.search(tmp_path)) == toy.trajectory(toy.search(tmp_path / "other"))


def test_sigterm_between_evaluations_waits_until_the_ledger_is_written(tmp_path):
    def on_event(name, record):
        if name == "finished" and record["state"] == "complete":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        toy.search(tmp_path, on_event=on_event)
    assert finished_slots(read_study(tmp_path)) == [0]


def test_more_trials_continue_a_finished_search(tmp_path):
    first = toy.search(tmp_path, trials=8)
    longer = toy.search(tmp_path, trials=16)
    assert longer.trials[: len(first.trials)] == first.trials
    assert sum(trial["slot"] is not None for trial in longer.trials) == 16
    assert longer.trials == toy.search(tmp_path, trials=16).trials


def test_a_torn_last_line_and_a_dead_lock_are_mended(tmp_path):
    expected = toy.search(tmp_path, trials=8)
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":5,"worker_id":"ab')
    (tmp_path / "study.journal.lock").symlink_to(journal)
    start = time.monotonic()
    assert toy.search(tmp_path, trials=8).trials == expected.trials
    assert time.monotonic() - start < 10
    assert toy.search(tmp_path, trials=12).trials[: len(expected.trials)] == expected.trials


@pytest.mark.parametrize("damage", [b"not a journal at all\n", b"\x00\x01\x02", b'{"op_code":99}\n', b"[1, 2]\n"])
def test_a_corrupt_ledger_is_told_in_one_line(tmp_path, damage):
    (tmp_path / "study.journal").write_bytes(damage)
    with pytest.raises(InputError, match=r"study\.journal: cannot be read as a study") as caught:
        toy.search(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "study.journal").read_bytes() == damage


def test_a_ledger_damaged_in_the_middle_is_told_and_left_alone(tmp_path):
    toy.search(tmp_path, trials=8)
    journal = Path(tmp_path / "study.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[len(lines) // 2] = b"\x00" * 40 + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="cannot be read as a study"):
        toy.search(tmp_path, trials=8)
    assert journal.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"ceilings": Ceilings(max_latency_ms=9.0, max_params=230)}, "ceilings was"),
        ({"space": toy.toy_space(levels=(0, 1, 2, 3))}, "space_fingerprint was"),
        ({"space": toy.toy_space(name="other")}, 'space was "toy", is "other"'),
        ({"sampler": "random"}, 'sampler was "tpe", is "random"'),
        ({"batch": 3}, "batch was 4, is 3"),
        ({"higher_is_better": False}, "higher_is_better was true, is false"),
        ({"identity": {"data": "abc"}}, 'data was null, is "abc"'),
    ],
)
def test_a_study_of_another_search_is_refused(tmp_path, change, told):
    toy.search(tmp_path, trials=4)
    before = (tmp_path / "study.journal").read_bytes()
    with pytest.raises(InputError, match="was written by another search") as caught:
        toy.search(tmp_path, trials=4, **change)
    assert told in str(caught.value)
    assert (tmp_path / "study.journal").read_bytes() == before


def test_a_study_that_is_not_ours_is_refused(tmp_path):
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    study = optuna.create_study(study_name="limbeck", storage=optuna.storages.JournalStorage(backend))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with pytest.raises(InputError, match="no search of Limbeck wrote"):
        toy.search(tmp_path, higher_is_better=False)
