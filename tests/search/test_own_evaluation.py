"""A search by anyone's evaluation: accuracy and latency from one function, and nothing else known of a point."""

import math

import pytest
import toy_search as toy

from limbeck.errors import InputError, Stopped
from limbeck.search import Ceilings, Halving, Objective, Space, compare_samplers, run_study, search_space
from limbeck.types import Evaluation

SPACE = Space("plain", {"a": (0, 1, 2, 3), "b": (0, 1, 2)}, dict, {"a": 0, "b": 0})


def evaluate(point, *, budget, seed):
    return {"accuracy": 0.1 * point["a"] + 0.05 * point["b"], "latency_ms": 1.0 + point["a"], "seed": seed}


def complete(result):
    return [trial for trial in result.trials if trial["state"] == "complete"]


def test_one_function_tells_accuracy_latency_and_further_figures(tmp_path):
    result = search_space(SPACE, evaluate, folder=tmp_path, trials=16, seed=5, budget=Ceilings(max_latency_ms=3.0))
    assert result.best["point"]["a"] == 2
    for trial in result.trials:
        assert trial["latency_ms"] == 1.0 + trial["point"]["a"]
        assert trial["state"] == ("complete" if trial["point"]["a"] < 3 else "pruned")
        assert (trial["accuracy"] is None) == (trial["state"] == "pruned")
        assert trial["metrics"]["seed"] == 5
    pruned = [trial for trial in result.trials if trial["state"] == "pruned"]
    assert pruned
    assert "max_latency_ms" in pruned[0]["reason"]


def test_it_is_handed_what_it_names(tmp_path):
    seen = []

    def all_of_it(point, **given):
        seen.append(given)
        return {"accuracy": 0.5, "latency_ms": 1.0}

    def of_the_point(point):
        point["a"] = 99  # its own copy
        return {"accuracy": 0.5, "latency_ms": 1.0}

    ceilings = Ceilings(max_latency_ms=3.0)
    search_space(SPACE, all_of_it, folder=tmp_path / "a", trials=1, seed=7, budget=ceilings)
    assert seen == [{"budget": ceilings, "seed": 7, "share": 1.0}]
    result = search_space(SPACE, of_the_point, folder=tmp_path / "b", trials=2)
    assert all(trial["point"]["a"] != 99 for trial in result.trials)


@pytest.mark.parametrize("name", ["params", "macs", "size_bytes", "peak_memory_bytes"])
def test_counts_that_it_tells_are_held_to_their_ceilings(tmp_path, name):
    def counted(point):
        return {"accuracy": 0.1 * point["a"], "latency_ms": 1.0, name: 1000 * (1 + point["a"])}

    result = search_space(SPACE, counted, folder=tmp_path, trials=12, budget=Ceilings(**{f"max_{name}": 2500}))
    for trial in result.trials:
        assert trial[name] == 1000 * (1 + trial["point"]["a"])
        assert trial["state"] == ("complete" if trial["point"]["a"] < 2 else "pruned")
        assert trial["metrics"] == {}


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({"latency_ms": 1.0}, "evaluate gave no accuracy, only latency_ms"),
        ({"accuracy": 0.5}, "evaluate gave no latency_ms, only accuracy"),
        ({}, "evaluate gave no accuracy, only nothing"),
        (0.5, "evaluate gave a float, expected accuracy and latency_ms by name"),
        (
            {"accuracy": math.nan, "latency_ms": 1.0},
            "evaluate gave accuracy = nan, expected a finite number of at least 0",
        ),
        ({"accuracy": -0.1, "latency_ms": 1.0}, "accuracy = -0.1, expected a finite number of at least 0"),
        ({"accuracy": None, "latency_ms": 1.0}, "accuracy = None, expected a finite number"),
        ({"accuracy": 0.5, "latency_ms": 0}, "latency_ms = 0, expected a finite number above 0"),
        ({"accuracy": 0.5, "latency_ms": -2.0}, "latency_ms = -2.0, expected a finite number above 0"),
        ({"accuracy": 0.5, "latency_ms": math.inf}, "latency_ms = inf, expected a finite number above 0"),
        ({"accuracy": 0.5, "latency_ms": 1.0, "params": -3}, "params = -3, expected a finite number of at least 0"),
        ({"accuracy": 0.5, "latency_ms": 1.0, "ece": math.nan}, "ece = nan, expected a finite number"),
        ({"accuracy": 0.5, "latency_ms": 1.0, "note": "slow"}, "note = 'slow', expected a finite number"),
    ],
)
def test_a_wrong_figure_fails_its_candidate_alone(tmp_path, figures, told):
    def sometimes(point):
        return figures if point["b"] == 1 else {"accuracy": 0.5, "latency_ms": 1.0}

    result = search_space(SPACE, sometimes, folder=tmp_path, trials=10, sampler="random")
    failed = [trial for trial in result.trials if trial["point"]["b"] == 1]
    assert failed
    for trial in failed:
        assert trial["state"] == "failed"
        assert told in trial["reason"]
        assert "\n" not in trial["reason"]
        assert trial["accuracy"] is None
    assert len(complete(result)) == len(result.trials) - len(failed)
    assert all(result.trials[index]["state"] == "complete" for index in result.front)
    with pytest.raises(InputError, match="evaluate gave"):
        compare_samplers(SPACE, sometimes, ["random"], [0], evaluations=10)


def test_an_error_fails_its_candidate_and_all_failed_is_told(tmp_path):
    def failing(point):
        raise OSError("the board does not answer")

    with pytest.raises(InputError, match="all 3 candidates failed; the first: OSError: the board does not answer"):
        search_space(SPACE, failing, folder=tmp_path, trials=3)


@pytest.mark.parametrize("calls", [0, 1, 3, 6])
def test_a_search_that_was_stopped_goes_on(tmp_path, calls):
    left = calls

    def stopping(point, seed):
        nonlocal left
        left -= 1
        if left == -1:
            raise KeyboardInterrupt
        return evaluate(point, budget=None, seed=seed)

    with pytest.raises(Stopped):
        search_space(SPACE, stopping, folder=tmp_path / "a", trials=10)
    resumed = search_space(SPACE, stopping, folder=tmp_path / "a", trials=10)
    assert toy.trajectory(resumed) == toy.trajectory(search_space(SPACE, evaluate, folder=tmp_path / "b", trials=10))


def test_workers_evaluate_it_and_samplers_of_both_kinds_learn_from_it(tmp_path):
    one = search_space(SPACE, evaluate, folder=tmp_path / "one", trials=8)
    two = search_space(SPACE, evaluate, folder=tmp_path / "two", trials=8, workers=2)
    assert toy.trajectory(one) == toy.trajectory(two)
    for sampler in ("nsga2", "controller"):
        aim = Objective("reward", 2.0) if sampler == "controller" else None
        result = search_space(
            SPACE, evaluate, folder=tmp_path / sampler, trials=12, sampler=sampler, objective=aim, seed=1
        )
        assert len(complete(result)) == len(result.trials)


def test_halving_asks_for_a_share(tmp_path):
    shares = []

    def partly(point, *, share):
        shares.append(share)
        return {"accuracy": share * (0.1 + 0.1 * point["a"]), "latency_ms": 1.0 + point["b"]}

    result = search_space(SPACE, partly, folder=tmp_path / "a", trials=9, batch=9, halving=Halving(3))
    assert set(shares) == {1 / 3, 1.0}
    assert {trial["state"] for trial in result.trials} == {"complete", "pruned"}
    assert any("hopeless" in trial["reason"] for trial in result.trials)
    with pytest.raises(InputError, match="halving: evaluate must take share"):
        search_space(SPACE, evaluate, folder=tmp_path / "b", trials=9, halving=Halving(3))
    with pytest.raises(InputError, match="evaluate: is a str, not a function"):
        search_space(SPACE, "evaluate", folder=tmp_path / "c", trials=9)


def test_the_same_function_compares_samplers():
    found = compare_samplers(SPACE, evaluate, ["random"], [0, 1], evaluations=60)
    assert found.optimum == pytest.approx(0.4)


def test_an_evaluation_without_a_latency_is_not_scored(tmp_path):
    """Also where a study is run by its own call, and an `Evaluation` comes back."""
    options = {"folder": tmp_path, "trials": 2, "batch": 2, "seed": 0, "ceilings": Ceilings()}
    untold = {"time_candidates": None, "cheap_cost": None}
    with pytest.raises(InputError, match="the first: latency_ms is None, not a finite number above 0"):
        run_study(SPACE, **options, **untold, evaluate=lambda point, seed: Evaluation("complete", accuracy=0.5))


def test_a_timing_that_is_no_latency_fails_its_candidate(tmp_path):
    def timing(points):
        wrong = {0: math.nan, 1: -1.0, 2: 0.0}
        costs = toy.time_candidates(points)
        return [type(cost)(wrong.get(point["b"], cost.latency_ms)) for point, cost in zip(points, costs, strict=True)]

    result = toy.search(tmp_path, timing=timing, ceilings=Ceilings(), sampler="random")
    for trial in result.trials:
        is_wrong = trial["point"]["b"] < 3
        assert trial["state"] == ("failed" if is_wrong else "complete")
        assert trial["reason"].startswith("latency_ms is") is is_wrong
        assert trial["point"] not in [one["point"] for one in toy.evaluations(tmp_path)] or not is_wrong
