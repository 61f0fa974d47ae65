"""Where short trainings run, by recipe: what is refused before any work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_run import small_recipe

from limbeck.errors import InputError
from limbeck.pipeline.briefly import OpenedRun
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.resolve import resolve
from limbeck.pipeline.workers import RunFacts, check_workers, storage_url, threads_beside
from limbeck.recipe import Adapt, Search

SEARCH = {"trials": 2, "batch": 2, "proxy": {"epochs": 1}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ray": {"cpus": 2}}, "search: ray: nothing reads it; set engine = 'ray'"),
        ({"engine": "ray", "ray": {"gpus": 1.5}}, "gpus = 1.5: give a part of one"),
        ({"engine": "rya"}, "search.engine"),
        ({"storage": "mysql://me:hush@there/db"}, "search: storage: holds a password"),
        ({"storage": "mysql://me@there/db?password=hush"}, "search: storage: holds a password"),
    ],
)
def test_a_recipe_that_asks_for_what_cannot_be_is_refused_in_one_line(changes: dict, told: str):
    with pytest.raises(InputError, match=told) as caught:
        small_recipe(search=SEARCH | changes)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_password_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DB_PASSWORD", "hush")
    recipe = small_recipe(search=SEARCH | {"storage": "mysql://me:${DB_PASSWORD}@there/db"})
    assert recipe.search is not None
    assert storage_url(recipe.search.storage) == "mysql://me:hush@there/db"
    assert "hush" not in str(recipe.resolved())
    monkeypatch.delenv("DB_PASSWORD")
    with pytest.raises(InputError, match="the environment has no DB_PASSWORD"):
        check_workers(recipe.search, where="search")
    assert storage_url(None) is None


def test_ray_that_is_not_installed_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"search.engine = 'ray': needs Ray .*pip install 'limbeck\[ray\]'"):
        resolve(Context(small_recipe(search=SEARCH | {"engine": "ray"}), RunFolder(tmp_path)))


def test_threads_of_a_worker_on_ray_are_the_same_on_every_node(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)  # of the machine; this process may use fewer
    assert threads_beside(Search(workers=1)) is None
    assert threads_beside(Adapt(workers=3)) == 2
    assert threads_beside(Search(workers=3, engine="ray", ray={"cpus": 4})) == 4


def test_a_run_folder_that_is_not_there_is_no_place_to_train(tmp_path: Path):
    run = OpenedRun.of(Context(small_recipe(), RunFolder(tmp_path)))
    with pytest.raises(InputError, match="stages/search: not there; the run folder must be one that all nodes share"):
        RunFacts(run, "search")()
