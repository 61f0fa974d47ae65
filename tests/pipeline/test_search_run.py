"""The stage `search` by recipe: MnasNet's space and controller, halving, taught proxies, and the best trained in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_run import FAKE, small_recipe

from limbeck.errors import InputError
from limbeck.models.table import Table
from limbeck.pipeline import search as search_stage
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.resolve import resolve
from limbeck.pipeline.run import run_recipe

SEARCH = {
    "space": "mnasnet",
    "sampler": "controller",
    "sampler_options": {"batch_size": 2},
    "objective": "reward",
    "target_latency_ms": 0.5,
    "trials": 4,
    "batch": 4,
    "proxy": {"epochs": 2, "halving": 2, "distill": True},
    "retrain_top": 2,
}


def recipe(**changes: object):
    common = {
        "student": {"model": "mobilenet_v2", "width_multiplier": 0.25},
        "data__limit": 100,
        "search": SEARCH,
        "budget__max_latency_ms": None,
        "distill__method": "kd",
        "baselines": {"plain": False},
    }
    return small_recipe(**(common | changes))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "run"
    run_recipe(recipe(), folder, until="search")
    return folder


def result(folder: Path) -> dict:
    return json.loads((folder / "stages" / "search" / "report.json").read_text())["result"]


def test_candidates_are_halved_rewarded_and_the_best_retrained(run: Path):
    study = result(run)["study"]
    assert (study["space"], study["sampler"]) == ("mnasnet", "controller")
    assert study["size"] > 10**14
    states = [trial["state"] for trial in study["trials"]]
    assert states.count("pruned") == 2
    for trial in study["trials"]:
        assert 0 <= trial["metrics"]["rung1"] <= 1
        assert (trial["reward"] is None) == (trial["state"] == "pruned")
        if trial["slot"]:
            assert 0.9 < trial["metrics"]["policy_entropy"] <= 1.0001  # it has learned nothing yet
    retrained = study["retrained"]
    complete = {trial["number"]: trial for trial in study["trials"] if trial["state"] == "complete"}
    assert {one["number"] for one in retrained} == set(complete)
    assert all(one["proxy"] == complete[one["number"]]["accuracy"] for one in retrained)
    best = max(retrained, key=lambda one: one["accuracy"] * (complete[one["number"]]["latency_ms"] / 0.5) ** -0.07)
    assert study["best"]["number"] == best["number"]
    built = search_stage.space_of(Context(recipe(), RunFolder(run))).build(study["best"]["point"])
    assert Table.from_json(result(run)["architecture"]) == built


def test_a_finished_search_is_not_redone_but_for_another_teacher(run: Path, capsys: pytest.CaptureFixture[str]):
    before = result(run)
    run_recipe(recipe(), run, until="search")
    assert result(run) == before
    inputs = json.loads((run / "stages" / "search" / "report.json").read_text())["inputs"]
    assert "after train/teacher" in inputs
    assert inputs["distill"]["method"] == "kd"


def test_taught_candidates_learn_from_the_teacher(run: Path, monkeypatch: pytest.MonkeyPatch):
    """The graph that a candidate minimises is the student's, with the run's own teacher frozen in it."""
    from limbeck.pipeline import briefly

    seen = {}

    def instead(context, network, train, folder, **options):
        seen.update(options)

    monkeypatch.setattr(briefly, "train_objective", instead)
    evaluate = search_stage.ProxyEvaluation(briefly.OpenedRun.of(Context(recipe(), RunFolder(run))))
    evaluate(dict(result(run)["study"]["best"]["point"]), 0)
    assert list(seen["objective"].sources) == ["student", "teacher"] or "teacher" in str(seen["objective"])
    evaluate.run.context = Context(recipe(search=SEARCH | {"proxy": {"epochs": 2}}), RunFolder(run))
    seen.clear()
    evaluate(dict(result(run)["study"]["best"]["point"]), 0)
    assert "objective" not in seen


def test_a_search_killed_while_it_retrains_goes_on_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = recipe(
        teacher=None,
        distill=None,
        search=SEARCH | {"sampler_options": {}, "trials": 2, "batch": 2, "proxy": {"epochs": 1}},
    )
    trained = []
    real = search_stage.train_objective

    def counted(context, network, train, folder, *, name, **options):
        if trained == ["candidate 1"] and name == "candidate 2":
            trained.append("killed")
            raise KeyboardInterrupt
        trained.append(name)
        return real(context, network, train, folder, name=name, **options)

    monkeypatch.setattr(search_stage, "train_objective", counted)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(plain, tmp_path / "run", until="search")
    run_recipe(plain, tmp_path / "run", until="search")
    assert trained == ["candidate 1", "killed", "candidate 2"]
    assert len(result(tmp_path / "run")["study"]["retrained"]) == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"distill": None, "teacher": None}, "search.proxy.distill: needs a .distill. from a ready"),
        ({"distill__method": "dml"}, "search.proxy.distill: needs a .distill. from a ready"),
        ({"search": SEARCH | {"sampler_options": {"preset": "nas"}}}, "unknown preset 'nas'"),
        (
            {"search": SEARCH | {"proxy": {"epochs": 2, "halving": 3}}},
            "halving: epochs = 2 leaves the first rung none; give 3",
        ),
        ({"search": SEARCH | {"proxy": {"epochs": 2, "rungs": 2}}}, "rungs: nothing reads them"),
        ({"search": SEARCH | {"options": {"ops": ["mbconv"]}}}, "ops has 'mbconv'"),
    ],
)
def test_what_a_search_cannot_do_is_told_before_any_work(tmp_path: Path, changes: dict, told: str):
    with pytest.raises(InputError, match=told) as caught:
        resolve(Context(recipe(**changes), RunFolder(tmp_path)))
    assert "\n" not in str(caught.value)


def test_the_peak_memory_is_looked_for_where_the_budget_bounds_it(tmp_path: Path):
    section = {"trials": 2, "batch": 2, "space": "mobilenet_blocks", "proxy": {"epochs": 1}}
    budget = {"target": FAKE, "max_peak_memory_bytes": 10**9}
    run_recipe(recipe(teacher=None, distill=None, search=section, budget=budget), tmp_path / "run", until="search")
    trials = result(tmp_path / "run")["study"]["trials"]
    assert all(trial["peak_memory_bytes"] == trial["size_bytes"] for trial in trials)  # as the fake device has it
    tight = recipe(teacher=None, distill=None, search=section, budget=budget | {"max_peak_memory_bytes": 1000})
    with pytest.raises(
        InputError, match=r"even the space's cheapest network: peak_memory_bytes .* > max_peak_memory_bytes"
    ):
        run_recipe(tight, tmp_path / "tight", until="search")
