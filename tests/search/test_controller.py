import json
import os
import subprocess
import sys

import numpy as np
import optuna
import pytest

from limbeck.errors import InputError
from limbeck.search import PolicySampler, Space
from limbeck.search import controller as controller_module

CHOICES = {
    "op": ("conv", "sep", "mb3", "mb6"),
    "kernel": (3, 5),
    "se": (0.0, 0.25),
    "skip": ("pool", "identity", True),
    "n": (-1, 0, 1),
}
BEST = {"op": "mb3", "kernel": 5, "se": 0.25, "skip": True, "n": 1}


@pytest.fixture(autouse=True)
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(autouse=True)
def _fresh_process():
    """As if this process had no policy yet."""
    controller_module._KEPT.clear()


def value_of(point):
    return sum(point[name] == best for name, best in BEST.items()) / len(BEST)


def objective(trial):
    return value_of({name: trial.suggest_categorical(name, ids) for name, ids in CHOICES.items()})


def searched(trials, *, study=None, **options):
    study = study or optuna.create_study(direction="maximize")
    study.sampler = PolicySampler(**{"seed": 0, **options})
    study.optimize(objective, n_trials=trials)
    return study


def points(study):
    return [trial.params for trial in study.get_trials()]


def test_it_finds_what_is_rewarded_in_a_study_of_optuna():
    for seed in range(3):
        study = searched(150, seed=seed)
        late = [trial.value for trial in study.get_trials()[-30:]]
        assert study.best_value == 1.0
        assert np.mean(late) > 0.8  # a uniform draw has 0.39


def test_the_nasnet_preset_learns_too_but_slowly():
    def last(preset):
        return np.mean([trial.value for trial in searched(300, preset=preset).get_trials()[-60:]])

    assert last("short") > last("nasnet")
    assert np.mean([t.value for t in searched(400, preset="nasnet", learning_rate=0.02).get_trials()[-60:]]) > 0.7


def test_the_same_seed_draws_the_same_points_and_another_seed_others():
    assert points(searched(40)) == points(searched(40))
    assert points(searched(40)) != points(searched(40, seed=1))
    assert points(searched(10, seed=None)) != points(searched(10, seed=None))


def test_a_study_goes_on_with_the_policy_that_it_had():
    """Bit for bit: in this process, where the policy is kept, and in one that replays all trials."""
    whole = searched(60)
    entropy = whole.sampler.entropy
    half = searched(33)
    assert points(searched(27, study=half)) == points(whole)
    assert half.sampler.entropy == entropy
    broken = searched(33)
    controller_module._KEPT.clear()
    assert points(searched(27, study=broken)) == points(whole)
    assert broken.sampler.entropy == entropy


def test_a_study_on_disk_goes_on_in_another_process(tmp_path):
    whole = searched(45, seed=3)
    code = (
        "import sys, json, optuna; sys.path.insert(0, {here!r}); from test_controller import objective\n"
        "from limbeck.search import PolicySampler\n"
        "optuna.logging.set_verbosity(optuna.logging.ERROR)\n"
        "from optuna.storages import JournalStorage; from optuna.storages.journal import JournalFileBackend\n"
        "place = JournalStorage(JournalFileBackend({path!r}))\n"
        "study = optuna.create_study(study_name='s', direction='maximize', storage=place, load_if_exists=True)\n"
        "study.sampler = PolicySampler(seed=3)\n"
        "study.optimize(objective, n_trials={trials})\n"
        "study.ask()  # and the process ends with a trial under way\n"
        "print(json.dumps([t.params for t in study.get_trials() if t.state.name == 'COMPLETE']))\n"
    )
    for trials in (17, 28):
        filled = code.format(here=os.path.dirname(__file__), path=str(tmp_path / "journal"), trials=trials)
        done = subprocess.run(
            [sys.executable, "-c", filled], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(points(whole)))


def test_trial_numbers_and_lost_trials_mean_nothing():
    whole = searched(50)
    study = searched(20)
    for _ in range(3):
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
    searched(30, study=study)
    kept = [trial.params for trial in study.get_trials() if trial.state.name == "COMPLETE"]
    assert kept == points(whole)


def test_trials_teach_in_the_order_in_which_they_were_completed():
    def told(order):
        study = optuna.create_study(direction="maximize", sampler=PolicySampler(seed=0, space=CHOICES, batch_size=4))
        asked = [
            study.ask({k: optuna.distributions.CategoricalDistribution(v) for k, v in CHOICES.items()})
            for _ in range(9)
        ]
        for place in order:
            study.tell(asked[place], value_of(asked[place].params) + 0.01 * place)
        last = study.ask({k: optuna.distributions.CategoricalDistribution(v) for k, v in CHOICES.items()})
        return study.sampler.entropy, last.params

    straight = told(range(9))
    assert straight == told(range(9))
    assert straight[0] != told([8, 0, 1, 2, 3, 4, 5, 6, 7])[0]


def test_trials_asked_side_by_side_differ():
    study = optuna.create_study(direction="maximize", sampler=PolicySampler(seed=0, space=CHOICES))
    asked = [
        study.ask({k: optuna.distributions.CategoricalDistribution(v) for k, v in CHOICES.items()}) for _ in range(12)
    ]
    assert len({json.dumps(trial.params) for trial in asked}) >= 10


def test_a_failed_point_is_not_drawn_for_ever():
    study = optuna.create_study(direction="maximize", sampler=PolicySampler(seed=0))
    study.optimize(lambda trial: float("nan") if objective(trial) < 0.5 else objective(trial), n_trials=20)
    assert {trial.state.name for trial in study.get_trials()} == {"FAIL", "COMPLETE"}


def test_only_complete_trials_teach():
    """The policy after any number of pruned and failed trials is that after none."""
    study = searched(25)
    entropies = []
    for state in ("complete", "pruned", "failed"):
        study.sampler = PolicySampler(seed=0, draw_seed=5)
        study.tell(
            study.ask(), state=optuna.trial.TrialState.PRUNED if state == "pruned" else optuna.trial.TrialState.FAIL
        )
        entropies.append(study.sampler.entropy)
    assert len(set(entropies)) == 1


def test_the_space_tells_the_order_of_decisions_before_the_first_trial():
    space = Space("s", CHOICES, dict, BEST)
    backwards = dict(reversed(CHOICES.items()))
    study = optuna.create_study(direction="maximize", sampler=PolicySampler(seed=0, space=space))
    study.ask({name: optuna.distributions.CategoricalDistribution(ids) for name, ids in backwards.items()})
    assert study.sampler.entropy is not None  # the policy drew the first one
    assert list(study.sampler.infer_relative_search_space(study, None)) == list(CHOICES)
    learnt = searched(1)
    assert list(learnt.sampler.infer_relative_search_space(learnt, None)) == list(CHOICES)
    assert searched(1).sampler.entropy is None


def test_parameters_that_some_trials_lack_are_passed_over():
    def conditional(trial):
        kind = trial.suggest_categorical("kind", ("a", "b"))
        return 1.0 if kind == "b" and trial.suggest_categorical("more", (1, 2, 3)) == 2 else 0.0

    study = optuna.create_study(direction="maximize", sampler=PolicySampler(seed=1))
    study.enqueue_trial({"kind": "b", "more": 1})
    study.optimize(conditional, n_trials=120)
    assert np.mean([trial.value for trial in study.get_trials()[-30:]]) > 0.7


def test_an_infinite_value_teaches_nothing():
    study = searched(12)
    study.add_trial(
        optuna.trial.create_trial(
            value=float("inf"), params=BEST, distributions=dict(study.get_trials()[0].distributions)
        )
    )
    searched(30, study=study)
    assert np.isfinite(study.sampler.entropy)


def test_two_studies_side_by_side_do_not_disturb_each_other():
    alone = points(searched(40, seed=0))
    a, b = (optuna.create_study(direction="maximize") for _ in range(2))
    for _ in range(40):
        searched(1, study=a)
        b.sampler = PolicySampler(seed=0)
        b.optimize(lambda trial: 1 - objective(trial), n_trials=1)
    assert points(a) == alone


def test_studies_that_it_does_not_fit_are_refused_in_one_line():
    def told(study, function=objective):
        with pytest.raises(InputError) as caught:
            study.optimize(function, n_trials=3)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def study(**options):
        given = options or {"direction": "maximize"}
        return optuna.create_study(sampler=PolicySampler(seed=0), **given)

    assert "has 2 objectives; it takes one" in told(study(directions=["maximize", "minimize"]), lambda t: (1.0, 2.0))
    assert "make it with direction='maximize'" in told(study(direction="minimize"))
    wrong = told(study(), lambda trial: trial.suggest_float("lr", 0, 1))
    assert wrong == "PolicySampler: parameter 'lr' is a FloatDistribution; only suggest_categorical is searched"
    named = optuna.create_study(direction="maximize", sampler=PolicySampler(seed=0, space={"ops": ("conv", "sep")}))
    assert "unknown parameter 'op'; did you mean 'ops'" in told(named)
    other = searched(3)
    other.sampler = PolicySampler(seed=0, space={**CHOICES, "n": (0, 1)})
    assert "'n' has other choices than its space" in told(other)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"preset": "nasnets"}, "unknown preset 'nasnets'; did you mean 'nasnet'"),
        ({"learning_rates": 0.1}, "unknown constant 'learning_rates'; did you mean 'learning_rate'"),
        ({"learning_rate": "fast"}, "learning_rate must be a number"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(options, told):
    with pytest.raises(InputError, match=told):
        PolicySampler(**options)
