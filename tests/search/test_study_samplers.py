"""The samplers inside the study: what they maximise, what they are told, and that a killed search goes on as it was."""

import json

import numpy as np
import pytest
import toy_search as toy

from limbeck.errors import InputError, Stopped
from limbeck.search import Ceilings, Objective, reward
from limbeck.types import Evaluation

OPEN = Ceilings()
SHORT = {"batch_size": 4, "learning_rate": 0.01}


class StopsAfter:
    def __init__(self, calls):
        self.left = calls

    def __call__(self, point, seed):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return Evaluation("complete", accuracy=toy.accuracy(point))


def late_mean(result, figure="accuracy"):
    return np.mean([trial[figure] for trial in result.trials[-30:] if trial[figure] is not None])


@pytest.mark.parametrize("calls", [2, 15])
@pytest.mark.parametrize(
    ("sampler", "options"), [("controller", SHORT), ("nsga2", {"population_size": 6}), ("controller", {})]
)
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, sampler, options, calls):
    given = {"sampler": sampler, "sampler_options": options, "trials": 36, "ceilings": Ceilings(max_params=240)}
    with pytest.raises(Stopped):
        toy.search(tmp_path / "a", evaluate=StopsAfter(calls), **given)
    resumed, unbroken = (toy.search(tmp_path / name, **given) for name in "ab")
    assert toy.trajectory(resumed) == toy.trajectory(unbroken)


def test_the_controller_and_nsga2_learn_what_is_accurate(tmp_path):
    found = {
        sampler: toy.search(tmp_path / sampler, sampler=sampler, trials=112, batch=8, ceilings=OPEN)
        for sampler in ("controller", "nsga2", "random")
    }
    assert late_mean(found["controller"]) > late_mean(found["random"]) + 0.1
    assert late_mean(found["nsga2"]) > late_mean(found["random"])  # half of it looks for what is fast


def test_what_is_maximised_moves_where_the_search_goes(tmp_path):
    """A target of 2 ms, a hard exponent: the reward's search is faster than the accuracy's."""

    def latency(name, objective):
        result = toy.search(
            tmp_path / name,
            sampler="controller",
            sampler_options=SHORT,
            trials=104,
            batch=8,
            ceilings=OPEN,
            objective=objective,
        )
        return late_mean(result, "latency_ms")

    hard = Objective("reward", target_ms=2.0, alpha=0.0, beta=-1.0)
    assert latency("hard", hard) < latency("free", None) - 0.5


def test_the_best_is_that_of_the_highest_reward(tmp_path):
    objective = Objective("reward", target_ms=3.0, alpha=-0.2, beta=-0.5)
    result = toy.search(tmp_path, sampler="random", trials=40, ceilings=OPEN, objective=objective)
    complete = [trial for trial in result.trials if trial["state"] == "complete"]
    for trial in complete:
        expected = reward(trial["accuracy"], trial["latency_ms"], 3.0, alpha=-0.2, beta=-0.5)
        assert trial["reward"] == expected
    assert result.best["reward"] == max(trial["reward"] for trial in complete)
    assert result.best["accuracy"] < max(trial["accuracy"] for trial in complete)
    plain = toy.search(tmp_path / "plain", sampler="random", trials=4, ceilings=OPEN)
    assert {trial["reward"] for trial in plain.trials} == {None}


def test_the_entropy_of_the_policy_is_kept_with_each_draw(tmp_path):
    result = toy.search(tmp_path, sampler="controller", sampler_options=SHORT, trials=120, ceilings=OPEN)
    entropies = [trial["metrics"].get("policy_entropy") for trial in result.trials]
    assert entropies[0] is None  # the reference was not drawn
    assert all(0 <= one <= 1 + 1e-9 for one in entropies[1:])
    assert np.mean(entropies[-10:]) < np.mean(entropies[1:11]) - 0.05
    assert json.loads(json.dumps(result.as_json(), allow_nan=False)) == result.as_json()
    other = toy.search(tmp_path / "tpe", trials=4, ceilings=OPEN)
    assert all("policy_entropy" not in trial["metrics"] for trial in other.trials)


def test_a_lower_figure_may_be_what_is_better(tmp_path):
    def errors(sampler):
        result = toy.search(
            tmp_path / sampler, sampler=sampler, trials=120, ceilings=OPEN, higher_is_better=False, seed=2
        )
        return late_mean(result)

    assert errors("controller") < errors("random") - 0.05


def test_samplers_from_outside_are_handed_what_they_name(tmp_path, monkeypatch):
    (tmp_path / "own_policy.py").write_text(
        "import optuna\n"
        "number = 3\n"
        "def make(seed, *, search_seed, space, share=0.5):\n"
        "    assert search_seed == 7 and space.name == 'toy' and share == 0.25\n"
        "    return optuna.samplers.RandomSampler(seed=seed)\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is a int, not a function of a seed"):
        toy.search(tmp_path / "number", sampler="own_policy:number")
    mine = toy.search(tmp_path / "a", sampler="own_policy:make", sampler_options={"share": 0.25}, seed=7)
    assert toy.trajectory(mine) == toy.trajectory(toy.search(tmp_path / "b", sampler="random", seed=7))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sampler": "controler"}, "unknown sampler 'controler'; did you mean 'controller'"),
        ({"sampler": "controller", "sampler_options": {"preset": "nas"}}, "unknown preset 'nas'"),
        ({"sampler": "controller", "sampler_options": {"clips": 1}}, "unknown constant 'clips'; did you mean 'clip'"),
        ({"sampler": "controller", "sampler_options": {"preset": ["nasnet"]}}, r"unknown preset '\['nasnet'\]'"),
        ({"sampler": "controller", "sampler_options": {"seed": 3}}, "unknown option 'seed'"),
        ({"sampler": "controller", "sampler_options": {"draw_seed": 3}}, "unknown constant 'draw_seed'"),
        ({"sampler": "controller", "sampler_options": {"constants": 3}}, "unknown constant 'constants'"),
        ({"sampler": "nsga2", "sampler_options": {"population_size": 1}}, "population_size must be a whole number"),
        ({"sampler": "nsga2", "sampler_options": {"population": 9}}, "did you mean 'population_size'"),
        ({"sampler": "tpe", "sampler_options": {"seed": 9}}, "it takes no options, got 'seed'"),
    ],
)
def test_wrong_options_are_told_before_any_work(tmp_path, change, told):
    with pytest.raises(InputError, match=told) as caught:
        toy.search(tmp_path, **change)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "study.journal").exists()


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        (("rewards", 2.0), "unknown objective 'rewards'; did you mean 'reward'"),
        (("reward", None), "needs a latency to aim at, search.target_latency_ms"),
        (("reward", -1.0), "target_ms must be above 0"),
        (("reward", 2.0, 0.1), "alpha must be 0 or less"),
    ],
)
def test_objectives_that_cannot_be_are_refused(objective, told):
    with pytest.raises(InputError, match=told):
        Objective(*objective)


def test_a_reward_of_an_error_is_refused(tmp_path):
    with pytest.raises(InputError, match="needs a figure of which more is better"):
        toy.search(tmp_path, higher_is_better=False, objective=Objective("reward", target_ms=2.0))


def test_a_study_of_another_objective_is_refused(tmp_path):
    toy.search(tmp_path, trials=4)
    with pytest.raises(InputError, match="was written by another search"):
        toy.search(tmp_path, trials=4, objective=Objective("reward", target_ms=2.0))
    with pytest.raises(InputError, match="was written by another search"):
        toy.search(tmp_path, trials=4, sampler="tpe", objective=Objective("absolute", target_ms=2.0))
