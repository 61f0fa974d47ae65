"""The shipped recipes of radio: whole headers, networks and graphs that stand, ablations that are options; one in miniature."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from places_run import FAKE, run_quickly
from recipe_headers import FIELDS

from limbeck.distill import distillation
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pipeline import plan
from limbeck.pipeline.context import create_for
from limbeck.pipeline.run import with_each_student
from limbeck.pipeline.start import list_recipes, open_recipe, parse_changes, recipe_notes, recipe_text
from limbeck.types import Batch

SHIPPED = [name for name in list_recipes() if name.startswith("radio/")]
SETS = {"radio": (11, 128), "radioml2016": (11, 128), "radioml2018": (24, 1024)}


def test_both_students_are_taught_on_every_set() -> None:
    assert sorted(SHIPPED) == [f"radio/{name}" for name in ("made", "quick", "rml2016a", "rml2018")]
    for name in SHIPPED:
        recipe, _ = open_recipe(name)
        assert (recipe.student.model, *recipe.further_students) == ("kd_mobilenet", "kd_cnn")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_header_says_everything_and_its_command_is_that_recipe(name: str) -> None:
    notes = recipe_notes(name)
    assert list(notes) == FIELDS
    lines = recipe_text(name).split("\n\n", 1)[0].splitlines()
    assert all(re.match(r"# (\S|           \S)", line) and len(line) <= 120 for line in lines)
    assert notes["published"].startswith("none")  # no figure of the paper could be read
    assert "reconstruction" in notes["differs"] + notes["published"]
    words = shlex.split(notes["command"])
    recipe, _ = open_recipe(words[2], parse_changes(words[4:]))
    assert words[:3] == ["limbeck", "run", name]
    assert recipe.task == "modulation"
    assert f"{recipe.train.epochs} epochs of {recipe.train.batch_size} frames" in notes["protocol"]
    assert (recipe.data.path == "FILE") == recipe.data.name.startswith("radioml")


@pytest.mark.parametrize("student", ["kd_mobilenet", "kd_cnn"])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_networks_and_the_graph_stand(name: str, student: str) -> None:
    recipe, path = open_recipe(name)
    recipe = next(one for one, _ in with_each_student(recipe, path) if one.student.model == student)
    classes, length = SETS[recipe.data.name]
    networks = [
        create_for(one, num_classes=classes, picture_size=(1, length), where="here")
        for one in (recipe.student, recipe.teacher)
    ]
    inputs = torch.randn(4, 2, length, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.arange(4), inputs, torch.arange(4), further={"snr": torch.zeros(4)})
    graph = distillation(recipe.distill.method, student=networks[0], teacher=networks[1], **recipe.distill.options)
    assert torch.isfinite(graph(batch, torch.zeros(()))["loss"])


def test_the_ablations_of_a_header_are_options_that_change_the_run() -> None:
    name = "radio/made"
    told = re.findall(r"--set (\S+=[^\s;)]+)", recipe_notes(name)["mind"])
    assert len(told) == 7
    whole, _ = open_recipe(name)
    for change in told:
        recipe, _ = open_recipe(name, parse_changes([change]))
        assert recipe != whole, change
        size = {"num_classes": 11, "picture_size": (1, 128), "where": change}
        before, after = (create_for(one.teacher, **size).params() for one in (whole, recipe))
        assert (before != after) == change.startswith("teacher."), change
        networks = [create_for(one, **size) for one in (recipe.student, recipe.teacher)]
        distillation("skd", student=networks[0], teacher=networks[1], **recipe.distill.options)


def test_the_plan_of_the_docs_stands_and_of_both_students_is_told_what_is_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "TIMED_SECONDS", 0.0)
    monkeypatch.setattr(plan, "TIMED_STEPS", (1, 1))
    page = (Path(__file__).parents[1] / "docs" / "radio.md").read_text()
    (command,) = re.findall(r"^(limbeck run \S+ .*--plan)$", page, flags=re.MULTILINE)
    words = shlex.split(command)
    assert words[3:-1:2] == ["--set"] * 3
    asked = parse_changes(words[4:-1:2])
    small = {"data.path": str(tmp_path), "data.options.frames_per_cell": 8, "data.options.snrs": [0, 18]}
    small |= {"data.options.length": 64, "budget.target": FAKE, "train.threads": 1, "teacher.train.threads": 1}
    small |= {"train.batch_size": 16, "teacher.train.batch_size": 16}
    stages = {row["stage"]: row for row in plan.plan_students(open_recipe(words[2], asked | small)[0])["stages"]}
    assert stages["search"]["candidates"] == 8
    del asked["further_students"]
    told = r"^further_students 'kd_cnn': .*not built from a table of a family \(kd_mobilenet\)"
    with pytest.raises(InputError, match=told):
        plan.plan_students(open_recipe(words[2], asked | small)[0])


def test_the_quick_recipe_teaches_both_students(tmp_path: Path) -> None:
    """As written but for its size: a few frames, one epoch, a device with known latencies."""
    tiny = {"epochs": 1, "batch_size": 32, "threads": 1}
    changes = {f"{section}.{key}": value for section in ("train", "teacher.train") for key, value in tiny.items()}
    changes |= {"data.path": str(tmp_path), "data.options.frames_per_cell": 8, "data.options.snrs": [0, 18]}
    changes |= {"data.options.length": 64, "budget.target": FAKE, "baselines.plain": False, "measure.runs": 20}
    changes |= {"export.max_int8_drop": 1.0}
    recipe, _ = open_recipe("radio/quick", changes)
    run_quickly(recipe, tmp_path / "runs" / "quick")
    origins = {}
    for name in ("quick", "quick-kd_cnn"):
        models = {model["name"]: model for model in read_json(tmp_path / "runs" / name / "report.json")["models"]}
        assert set(models) == {"teacher", "student", "student_int8"}
        origins[name] = models["teacher"]["origin"]
    assert origins == {"quick": "trained", "quick-kd_cnn": "reused"}
