import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections import Counter

import optuna
import pytest
import toy_search as toy

from limbeck.errors import InputError
from limbeck.search import CandidateCost, Ceilings, Space
from limbeck.search import study as study_module
from limbeck.types import Evaluation

OPEN = Ceilings()


def filled(result):
    return [trial for trial in result.trials if trial["slot"] is not None]


def test_the_record_of_a_search(tmp_path):
    result = toy.search(tmp_path)
    assert json.loads(json.dumps(result.as_json(), allow_nan=False)) == result.as_json()
    assert [trial["slot"] for trial in filled(result)] == list(range(24))
    assert result.asked == len(result.trials)
    assert result.sampler == "tpe"
    assert set(result.seconds) == {"timing", "training", "other"}
    complete = [trial for trial in result.trials if trial["state"] == "complete"]
    for trial in complete:
        assert trial["accuracy"] == toy.accuracy(trial["point"])
        assert trial["latency_ms"] == toy.latency(trial["point"]) <= 5.0
        assert (trial["params"], trial["macs"]) == toy.cheap_cost(trial["point"])
        assert trial["size_bytes"] == 4 * trial["params"]
    assert result.best["accuracy"] == max(trial["accuracy"] for trial in complete)
    front = [result.trials[index] for index in result.front]
    assert result.best in front
    for one in complete:
        beaten = any(o["accuracy"] >= one["accuracy"] and o["latency_ms"] <= one["latency_ms"] for o in front)
        assert beaten or one in front


def test_the_first_candidate_is_the_reference(tmp_path):
    assert toy.search(tmp_path, trials=1).trials[0]["point"] == dict(toy.toy_space().reference)


def test_the_same_seed_gives_the_same_search_and_another_seed_another(tmp_path):
    first = toy.trajectory(toy.search(tmp_path / "a"))
    assert first == toy.trajectory(toy.search(tmp_path / "b"))
    assert first != toy.trajectory(toy.search(tmp_path / "c", seed=1))


def test_a_random_search_draws_a_new_point_after_every_rejection(tmp_path):
    result = toy.search(tmp_path, sampler="random", ceilings=Ceilings(max_params=200))
    rejected = [trial for trial in result.trials if trial["slot"] is None]
    assert len(rejected) > 3
    assert len({json.dumps(trial["point"]) for trial in rejected}) == len(rejected)


def test_what_is_too_large_is_rejected_before_anything_costly(tmp_path):
    timed = []

    def timing(points):
        timed.extend(points)
        return toy.time_candidates(points)

    result = toy.search(tmp_path, timing=timing)
    rejected = [trial for trial in result.trials if trial["slot"] is None]
    assert rejected
    assert len(filled(result)) == 24
    for trial in rejected:
        assert trial["state"] == "pruned"
        assert trial["params"] > 230
        assert trial["latency_ms"] is None
        assert trial["reason"] == f"params {trial['params']} > max_params 230"
        assert trial["point"] not in timed


def test_what_is_too_slow_is_never_trained(tmp_path):
    result = toy.search(tmp_path)
    slow = [trial for trial in filled(result) if trial["state"] == "pruned"]
    trained = [one["point"] for one in toy.evaluations(tmp_path)]
    assert slow
    for trial in slow:
        assert trial["latency_ms"] > 5.0
        assert "max_latency_ms" in trial["reason"]
        assert trial["accuracy"] is None
        assert trial["point"] not in trained


def test_what_needs_too_much_memory_is_never_trained(tmp_path):
    def timing(points):
        return [CandidateCost(1.0, peak_memory_bytes=1000 * toy.params(point)) for point in points]

    ceilings = Ceilings(max_peak_memory_bytes=210_000)
    result = toy.search(tmp_path, timing=timing, ceilings=ceilings)
    pruned = [trial for trial in result.trials if trial["state"] == "pruned"]
    assert pruned
    for trial in result.trials:
        assert trial["peak_memory_bytes"] == 1000 * toy.params(trial["point"])
        assert (trial["state"] == "pruned") == (trial["peak_memory_bytes"] > 210_000)
    assert f"max_peak_memory_bytes {210_000:,}" in pruned[0]["reason"]
    with pytest.raises(InputError, match=r"the least needs 100,000 bytes of memory"):
        toy.search(tmp_path / "none", timing=timing, ceilings=Ceilings(max_peak_memory_bytes=10))


def test_a_batch_is_timed_in_one_call_while_nothing_is_trained(tmp_path):
    events = []

    def timing(points):
        events.append(("time", len(points)))
        return toy.time_candidates(points)

    def evaluate(point, seed):
        events.append(("train", 1))
        return Evaluation("complete", accuracy=toy.accuracy(point))

    toy.search(tmp_path, timing=timing, evaluate=evaluate, trials=12, batch=4, ceilings=OPEN)
    assert [number for kind, number in events if kind == "time"] == [4, 4, 4]
    assert [kind for kind, _ in events] == (["time"] + ["train"] * 4) * 3


def test_every_evaluation_gets_the_seed_of_the_search(tmp_path):
    toy.search(tmp_path, seed=11, trials=6)
    assert {one["seed"] for one in toy.evaluations(tmp_path)} == {11}


def test_failures_are_recorded_with_their_reason_and_never_scored(tmp_path):
    def timing(points):
        return [
            ("no kernel for this operator" if point["b"] == 1 else ValueError("cannot export"))
            if point["b"] < 3 and point["a"] > 1
            else CandidateCost(toy.latency(point))
            for point in points
        ]

    def evaluate(point, seed):
        if point["c"] == 1:
            raise RuntimeError("the loss is not finite")
        if point["c"] == 3:
            return Evaluation("complete", accuracy=float("nan"))
        if point["c"] == 4:
            return Evaluation("pruned", reason="hopeless after one epoch")
        return Evaluation("complete", accuracy=toy.accuracy(point), metrics={"nll": 1.5})

    result = toy.search(tmp_path, timing=timing, evaluate=evaluate, trials=40, ceilings=OPEN)
    reasons = Counter()
    for trial in result.trials:
        if trial["reused"] is not None:
            continue
        point = trial["point"]
        if point["b"] < 3 and point["a"] > 1:
            wanted = "no kernel for this operator" if point["b"] == 1 else "ValueError: cannot export"
        else:
            wanted = {
                1: "RuntimeError: the loss is not finite (test_study.py:",
                3: "accuracy is nan",
                4: "hopeless",
            }.get(point["c"])
        if wanted is None:
            assert (trial["state"], trial["reason"], trial["metrics"]) == ("complete", "", {"nll": 1.5})
        else:
            assert trial["state"] == ("pruned" if wanted == "hopeless" else "failed")
            assert trial["reason"].startswith(wanted)
            assert trial["accuracy"] is None
            reasons[wanted] += 1
    assert len(reasons) == 5  # each of them really came up
    assert result.best["state"] == "complete"


def test_a_candidate_that_cannot_be_built_fails_and_the_search_goes_on(tmp_path, monkeypatch):
    def cost(point):
        if point["a"] == 3:
            raise ZeroDivisionError("no channels left")
        return 100, 1000

    monkeypatch.setattr(toy, "cheap_cost", cost)
    result = toy.search(tmp_path, ceilings=OPEN)
    failed = [trial for trial in result.trials if trial["state"] == "failed"]
    assert failed
    assert all(t["reason"].startswith("cannot be built: ZeroDivisionError: no channels left") for t in failed)
    assert all(trial["point"]["a"] == 3 for trial in failed)


def test_a_repeated_point_takes_over_the_earlier_result(tmp_path):
    space = toy.toy_space(levels=(0, 1), names=("a", "b"))
    result = toy.search(
        tmp_path, space=space, trials=14, batch=5, sampler="random", ceilings=Ceilings(max_latency_ms=1.9)
    )
    assert len(filled(result)) == 14
    by_number = {trial["number"]: trial for trial in result.trials}
    repeats = [trial for trial in result.trials if trial["reused"] is not None]
    assert len(repeats) == 14 - len({json.dumps(trial["point"]) for trial in result.trials}) >= 10
    for trial in repeats:
        first = by_number[trial["reused"]]
        assert first["reused"] is None
        assert {k: trial[k] for k in trial if k not in ("number", "slot", "seconds", "reused")} == {
            k: first[k] for k in first if k not in ("number", "slot", "seconds", "reused")
        }
    trained = [json.dumps(one["point"], sort_keys=True) for one in toy.evaluations(tmp_path)]
    assert len(trained) == len(set(trained))
    assert {"complete", "pruned"} == {trial["state"] for trial in repeats}
    assert not {trial["number"] for trial in repeats} & {result.trials[index]["number"] for index in result.front}


def test_latency_that_nothing_can_meet_is_told_with_the_fastest(tmp_path):
    with pytest.raises(InputError, match=r"max_latency_ms = 0.5.*the fastest has 1 ms.*raise the budget") as caught:
        toy.search(tmp_path, ceilings=Ceilings(max_latency_ms=0.5), trials=8)
    assert "\n" not in str(caught.value)
    assert toy.evaluations(tmp_path) == []


def test_parameters_that_nothing_can_meet_end_the_asking(tmp_path, monkeypatch):
    monkeypatch.setattr(study_module, "MAX_REJECTIONS", 30)
    events = []
    with pytest.raises(InputError, match=r"max_params = 99.*the smallest has 1\d\d parameters"):
        toy.search(tmp_path, ceilings=Ceilings(max_params=99), on_event=lambda name, record: events.append(name))
    assert events.count("rejected") == 30
    assert events[-1] == "exhausted"


def test_a_small_space_ends_when_all_of_it_was_rejected(tmp_path):
    events = []
    space = toy.toy_space(levels=(0, 1), names=("a", "b"))
    with pytest.raises(InputError, match="the smallest has 100 parameters"):
        toy.search(
            tmp_path, space=space, ceilings=Ceilings(max_params=99), on_event=lambda name, record: events.append(record)
        )
    assert 4 <= events[-1]["rejected"] < 100


def test_all_failed_is_told_with_the_first_reason(tmp_path):
    with pytest.raises(InputError, match="all 5 candidates failed; the first: OSError: no space left"):
        toy.search(tmp_path, trials=5, ceilings=OPEN, timing=lambda points: [OSError("no space left")] * len(points))


def test_lower_may_be_better(tmp_path):
    result = toy.search(tmp_path, higher_is_better=False, ceilings=OPEN)
    assert result.best["accuracy"] == min(trial["accuracy"] for trial in result.trials)
    assert result.trials[result.front[-1]] == result.best


def test_of_equally_accurate_candidates_the_faster_is_best(tmp_path):
    result = toy.search(tmp_path, evaluate=lambda point, seed: Evaluation("complete", accuracy=0.5), ceilings=OPEN)
    assert result.best["latency_ms"] == min(trial["latency_ms"] for trial in result.trials)
    assert len(result.front) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trials": 0}, "search.trials = 0"),
        ({"batch": 0}, "search.batch = 0"),
        ({"workers": 0}, "search.workers = 0"),
        ({"sampler": "tpee"}, "unknown sampler 'tpee'; did you mean 'tpe'"),
        ({"storage": "study.db"}, "search.storage = 'study.db': expected a URL"),
        ({"workers": 2, "evaluate": lambda point, seed: None}, "cannot be sent to another process"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(tmp_path, change, told):
    with pytest.raises(InputError, match=told) as caught:
        toy.search(tmp_path, **change)
    assert "\n" not in str(caught.value)


def test_a_timing_that_loses_candidates_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="returned 1 results for 4 points"):
        toy.search(tmp_path, timing=lambda points: [CandidateCost(1.0)])


def test_a_second_driver_is_refused(tmp_path):
    def evaluate(point, seed):
        code = f"import toy_search as toy; toy.search({str(tmp_path)!r})"
        path = os.pathsep.join(sys.path)
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        assert f"another search is at work in this folder (process {os.getpid()})" in done.stderr.splitlines()[-1]
        with pytest.raises(InputError, match="another search is at work in this folder in this process"):
            toy.search(tmp_path)
        return Evaluation("complete", accuracy=toy.accuracy(point))

    result = toy.search(tmp_path, trials=1, evaluate=evaluate)
    assert result.best["reason"] == ""
    assert toy.search(tmp_path, trials=1).trials == result.trials


def test_two_workers_find_what_one_finds(tmp_path):
    one = toy.search(tmp_path / "one", trials=12)
    trainer = toy.Trainer(str(tmp_path / "evaluations.log"), sleep=0.05)
    two = toy.search(tmp_path / "two", trials=12, workers=2, evaluate=trainer)
    assert toy.trajectory(two) == toy.trajectory(one)
    pids = {line["pid"] for line in toy.evaluations(tmp_path)}
    assert len(pids) == 2  # both worked, and both lived on between generations
    assert os.getpid() not in pids
    assert not any(_is_alive(pid) for pid in pids)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_worker_costs_nothing_but_time(tmp_path):
    one = toy.search(tmp_path / "one", trials=8)
    trainer = toy.Trainer(str(tmp_path / "evaluations.log"), kills_once=str(tmp_path / "killed"))
    two = toy.search(tmp_path / "two", trials=8, workers=2, evaluate=trainer)
    assert (tmp_path / "killed").exists()
    assert toy.trajectory(two) == toy.trajectory(one)


def test_only_the_candidate_that_kills_its_worker_fails(tmp_path):
    space = toy.toy_space(levels=(0, 1, 2), names=("a", "b"))
    trainer = toy.Trainer(str(tmp_path / "evaluations.log"), sleep=0.02, kills_always=json.dumps({"a": 1}))
    result = toy.search(
        tmp_path, space=space, trials=8, workers=2, evaluate=trainer, ceilings=OPEN, sampler="random", seed=3
    )
    states = {trial["point"]["a"]: set() for trial in result.trials}
    for trial in result.trials:
        states[trial["point"]["a"]].add((trial["state"], trial["reason"]))
    assert states.pop(1) == {("failed", "its worker process died, twice")}
    assert len(states) == 2
    assert all(seen == {("complete", "")} for seen in states.values())


def test_workers_end_when_their_driver_is_killed(tmp_path):
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "import toy_search as toy\n"
        "if __name__ == '__main__':\n"
        f"    trainer = toy.Trainer({str(tmp_path / 'evaluations.log')!r}, sleep=0.2)\n"
        f"    toy.search({str(tmp_path)!r}, workers=2, evaluate=trainer, trials=400)\n"
    )
    (tmp_path / "drive.py").write_text(code)
    driver = subprocess.Popen([sys.executable, str(tmp_path / "drive.py")], env=path)
    deadline = time.monotonic() + 30
    while len({one["pid"] for one in toy.evaluations(tmp_path)}) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    pids = {one["pid"] for one in toy.evaluations(tmp_path)}
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_is_alive(pid) for pid in pids)


def test_a_database_holds_the_study_as_well(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    expected = toy.trajectory(toy.search(tmp_path / "file", trials=6))
    first = toy.search(tmp_path / "a", trials=6, storage=url)
    assert toy.trajectory(first) == expected
    assert toy.search(tmp_path / "a", trials=6, storage=url).trials == first.trials
    toy.search(tmp_path / "b", trials=2, storage=url, seed=5)  # another folder, another study
    names = optuna.get_all_study_names(url)
    assert len(names) == 2
    assert all(name.startswith("limbeck-") for name in names)


def test_a_database_that_cannot_be_reached_is_told_without_its_password(tmp_path):
    with pytest.raises(InputError, match=r"search.storage \(sqlite://...\): cannot be read") as caught:
        toy.search(tmp_path, storage="sqlite:////no/such/folder/secret.db")
    assert "\n" not in str(caught.value)


def test_optuna_is_silent_and_its_verbosity_is_put_back(tmp_path, capfd):
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            toy.search(tmp_path, trials=14)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")
    assert [str(one.message) for one in caught] == []
    assert logging.getLogger("optuna").level == before


def test_samplers_learn_which_candidates_are_feasible(tmp_path):
    """Optuna's own records say so: constraints above zero where a ceiling was exceeded, and nowhere else."""
    toy.search(tmp_path)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    study = optuna.load_study(study_name="limbeck", storage=optuna.storages.JournalStorage(backend))
    for trial in study.get_trials():
        excess = trial.user_attrs["constraints"]
        assert len(excess) == 2
        assert (max(excess) > 0) == (trial.state.name == "PRUNED")
        if hasattr(trial, "constraints"):  # Optuna 5
            assert list(trial.constraints.values()) == excess


def test_tpe_learns_what_is_accurate(tmp_path):
    def last_mean(sampler, seed):
        folder = tmp_path / f"{sampler}{seed}"
        result = toy.search(folder, sampler=sampler, seed=seed, trials=48, batch=4, ceilings=OPEN)
        return sum(trial["accuracy"] for trial in result.trials[-20:]) / 20

    for seed in range(3):
        assert last_mean("tpe", seed) > last_mean("random", seed) + 0.05


def test_a_sampler_comes_from_outside(tmp_path, monkeypatch):
    (tmp_path / "own_sampler.py").write_text(
        "import optuna\ndef make(seed):\n    return optuna.samplers.RandomSampler(seed=seed)\n"
    )
    monkeypatch.chdir(tmp_path)
    mine = toy.search(tmp_path / "a", sampler="own_sampler:make")
    assert toy.trajectory(mine) == toy.trajectory(toy.search(tmp_path / "b", sampler="random"))


def test_a_space_may_build_anything(tmp_path):
    """Networks need not be tables: the study never builds by itself."""
    space = Space("modules", {"a": (0, 1), "b": ("x", "y")}, object(), {"a": 0, "b": "x"})

    def evaluate(point, seed):
        return Evaluation("complete", accuracy=point["a"] + (point["b"] == "y"))

    result = study_module.run_study(
        space,
        folder=tmp_path,
        trials=12,
        batch=2,
        seed=0,
        ceilings=OPEN,
        time_candidates=lambda points: [CandidateCost(1.0)] * len(points),
        cheap_cost=lambda point: (1, 1),
        evaluate=evaluate,
    )
    assert result.best["point"] == {"a": 1, "b": "y"}
