"""What a method needs of the batches: made by the training stage, and refused before any work where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import small_recipe

from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pipeline.run import run_recipe

ALONE = {"search": None, "data__limit": 60, "baselines": {"plain": False}}


@pytest.mark.parametrize(
    ("method", "options", "teacher"),
    [("kdcl", {"views": "own"}, {}), ("cs_kd", {}, {"teacher": None}), ("ps_kd", {}, {"teacher": None})],
)
def test_a_recipe_trains_by_what_its_method_needs(tmp_path: Path, method: str, options: dict, teacher: dict) -> None:
    changes = {**ALONE, **teacher, "distill": {"method": method, "options": options}, "train__batch_size": "auto"}
    run_recipe(small_recipe(**changes), tmp_path / "run", until="distill")
    report = read_json(tmp_path / "run/stages/distill/student/report.json")
    assert report["result"]["origin"] == "trained"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"augment__mixup": 0.2},
            r"distill: another picture of each class .* set augment\.mixup and augment\.cutmix to 0",
        ),
        ({"distill__options": {"tempreture": 2.0}}, "distill: .*did you mean 'temperature'"),
    ],
)
def test_what_the_batches_cannot_carry_is_told_before_any_stage(tmp_path: Path, changes: dict, told: str) -> None:
    recipe = small_recipe(**{**ALONE, "teacher": None, "distill": {"method": "cs_kd"}, **changes})
    with pytest.raises(InputError, match=told) as caught:
        run_recipe(recipe, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "stages").exists()
