"""`run --plan`: what is counted is exact, what is timed comes from real steps, and nothing is left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_run import small_recipe

from limbeck.errors import InputError
from limbeck.pipeline.plan import Pace, estimate_run, plan_run, time_parts

KINDS = ("teacher", "student", "distill")
PACE = Pace(
    steps=dict.fromkeys(KINDS, 10),
    epoch={"teacher": 6.0, "student": 2.0, "distill": 3.0},
    evaluation=dict.fromkeys(KINDS, 0.5),
    pictures=100,
    latency_ms=1.0,
    params={"student": 1000, "teacher": 5000},
)


def rows(tree: dict) -> dict[str, dict]:
    return {row["stage"]: row for row in tree["stages"]}


def test_real_steps_of_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = plan_run(small_recipe(train__epochs=3))
    found = rows(tree)
    assert list(found) == ["train/teacher", "search", "train/plain", "distill/student", "calibrate to measure"]
    assert found["search"]["candidates"] == 2
    assert found["train/plain"]["steps"] == found["distill/student"]["steps"] == 3 * found["train/teacher"]["steps"]
    assert all(row["minutes"] > 0 for row in tree["stages"])
    assert tree["minutes"] == pytest.approx(sum(row["minutes"] for row in tree["stages"]))
    assert tree["disk_bytes"] > 1e6
    assert list(tmp_path.iterdir()) == []


def test_epochs_scale_trainings_and_trials_scale_the_search() -> None:
    one = rows(estimate_run(small_recipe(), PACE))
    more = rows(estimate_run(small_recipe(train__epochs=5, teacher__train={"epochs": 2}, search__trials=6), PACE))
    assert one["train/teacher"]["minutes"] == pytest.approx(6 / 60, abs=1e-3)
    assert more["train/teacher"]["minutes"] == pytest.approx(12 / 60, abs=1e-3)
    assert more["train/plain"]["minutes"] == pytest.approx(10 / 60, abs=1e-3)
    assert more["distill/student"]["minutes"] == pytest.approx(15 / 60, abs=1e-3)
    assert more["search"]["minutes"] == pytest.approx(3 * one["search"]["minutes"], abs=1e-2)


def test_a_cache_spares_the_teachers_passes_but_for_its_views() -> None:
    """Ten epochs of 3 s, 2 s of each the teacher's: with three views it is asked three times."""
    pace = replace(PACE, teaching={"distill": 2.0}, cache_bytes=1000)
    without, cached = (
        estimate_run(small_recipe(train__epochs=10, teacher__cache=cache, teacher__cache_views=3), pace)
        for cache in (False, True)
    )
    assert rows(without)["distill/student"]["minutes"] == pytest.approx(30 / 60, abs=1e-3)
    assert rows(cached)["distill/student"]["minutes"] == pytest.approx((30 - 7 * 2) / 60, abs=1e-3)
    assert rows(cached)["distill/student"]["steps"] == rows(without)["distill/student"]["steps"] == 100
    few = estimate_run(small_recipe(train__epochs=2, teacher__cache=True, teacher__cache_views=3), pace)
    assert rows(few)["distill/student"]["minutes"] == pytest.approx(6 / 60, abs=1e-3)
    assert cached["disk_bytes"] - estimate_run(small_recipe(), PACE)["disk_bytes"] == 1000


def test_real_passes_of_a_teacher_are_timed(tmp_path: Path) -> None:
    pace = time_parts(small_recipe(search=None, train__epochs=3, teacher__cache=True, teacher__cache_views=2))
    assert 0 < pace.teaching["distill"] < pace.epoch["distill"] * 5
    assert pace.cache_bytes == 2 * 200 * 10 * 2  # views, pictures, classes, bytes


def test_a_method_is_timed_on_the_batches_that_it_needs() -> None:
    """Its steps are those of the training: three batches, of which two make a step and one the last."""
    alone = {"search": None, "teacher": None, "budget__max_latency_ms": None, "train__accumulate": 2}
    pace = time_parts(small_recipe(distill__method="cs_kd", **alone))
    assert pace.steps == {"student": 2, "distill": 2}
    assert pace.epoch["distill"] > 0


def test_stages_that_the_recipe_leaves_out_cost_nothing() -> None:
    tree = estimate_run(small_recipe(search=None, distill=None), PACE)
    assert list(rows(tree)) == ["train/teacher", "train/student", "calibrate to measure"]


def test_a_wrong_recipe_is_told_as_the_run_would(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'nkd'"):
        plan_run(small_recipe(distill__method="nkdd"))
