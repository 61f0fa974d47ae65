"""`limbeck new` and bare pictures: a recipe that holds together, sized to the time, kept with its run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from places_run import boxes_folder, masks_folder
from points_run import faces_folder

from limbeck.errors import InputError
from limbeck.pipeline import plan
from limbeck.pipeline.inspect import inspect_data, inspection_text
from limbeck.pipeline.new import EFFORTS, recipe_for_data, write_new_recipe
from limbeck.pipeline.plan import Pace
from limbeck.recipe import Recipe, read_recipe

TARGET = "onnxruntime,threads=1"


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder `shapes` with ten pictures of each of two colours, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, colour in (("red", (200, 20, 20)), ("blue", (20, 20, 200))):
        (tmp_path / "shapes" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (40 + number, 30), colour).save(tmp_path / "shapes" / name / f"{number}.png")
    return Path("shapes")


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """A machine on which an epoch takes a second; the recipes that were timed."""
    timed: list[Recipe] = []

    def time_parts(recipe: Recipe, *, folder: Path | None = None) -> Pace:
        timed.append(recipe)
        kinds = ("teacher", "student", "distill")
        return Pace(
            dict.fromkeys(kinds, 10), dict.fromkeys(kinds, 1.0), dict.fromkeys(kinds, 0.1), 100, 1.0, {"student": 1000}
        )

    monkeypatch.setattr(plan, "time_parts", time_parts)
    return timed


def make(data: str, **options: object) -> Path:
    given: dict = {"target": TARGET, "max_latency_ms": None, "hours": None, "output": None, **options}
    return write_new_recipe(data, **given)


def test_a_recipe_for_a_folder(shapes: Path) -> None:
    recipe = read_recipe(make("shapes", max_latency_ms=4.0))
    assert (recipe.name, recipe.data.name, recipe.data.path) == ("shapes", "folder", "shapes")
    assert recipe.budget.max_latency_ms == 4.0
    assert recipe.search is not None
    assert isinstance(recipe.data.image_size, int)


def test_a_standard_set_by_name(shapes: Path) -> None:
    recipe = read_recipe(make("digits"))
    assert (recipe.name, recipe.data.name, recipe.data.path) == ("digits", "digits", None)
    assert not recipe.augment.flip  # a mirrored digit is another sign


def test_masks_boxes_and_points_are_not_taken_for_classes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "points" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "points" / name / "1.png")
        (tmp_path / "points" / name / "1.pts").write_text("version: 1\nn_points: 1\n{\n1 2\n}\n")
    for place, task in (
        (masks_folder(tmp_path / "masks", {"train": 2, "test": 2}), "segmentation"),
        (boxes_folder(tmp_path / "boxes", {"train": 2, "val": 2}), "detection"),
        (tmp_path / "points", "landmarks"),
    ):
        with pytest.raises(InputError, match=f"looks like pictures for {task}"):
            recipe_for_data(str(place), out=tmp_path / "run")


def test_what_is_told_of_annotated_pictures(tmp_path: Path) -> None:
    for place, reader, task, told in (
        (masks_folder(tmp_path / "masks", {"train": 6, "test": 4}), "masks", "segmentation", "4 test"),
        (boxes_folder(tmp_path / "boxes", {"train": 6, "val": 4}), "coco", "detection", "train"),
        (faces_folder(tmp_path / "faces", {"train": 6, "test": 4}), "pts", "landmarks", "5 in each picture"),
    ):
        tree = inspect_data(str(place))
        assert (tree["name"], tree["task"], tree["counts"]["train"] > 0) == (reader, task, True)
        text = inspection_text(tree)
        assert told in text
        assert re.search(rf"start from +limbeck show {tree['recipe']} > mine.toml", text)
    assert "noticed     crop: the box of the true points" in text


def test_an_existing_file_is_not_overwritten(shapes: Path) -> None:
    Path("shapes.toml").write_text("mine")
    with pytest.raises(InputError, match=r"shapes\.toml: exists already"):
        make("shapes")
    assert Path("shapes.toml").read_text() == "mine"


def test_more_hours_give_more_work(shapes: Path, paces: list[Recipe]) -> None:
    little = read_recipe(make("shapes", hours=0.05, output=Path("little.toml")))
    much = read_recipe(make("shapes", hours=1.0, output=Path("much.toml")))
    assert little.search is not None
    assert much.search is not None
    assert little.train.epochs < much.train.epochs
    assert little.search.trials < much.search.trials
    assert much.train.epochs == EFFORTS[0].epochs


def test_each_size_and_teacher_is_timed_once(shapes: Path, paces: list[Recipe]) -> None:
    make("shapes", hours=0.05)
    keys = [(recipe.data.image_size, recipe.teacher and recipe.teacher.model) for recipe in paces]
    assert len(keys) == len(set(keys))


def test_hours_that_nothing_fits(shapes: Path, paces: list[Recipe]) -> None:
    with pytest.raises(InputError, match="even the least takes"):
        make("shapes", hours=0.001)
    assert not Path("shapes.toml").exists()


def test_bare_pictures_keep_their_recipe(shapes: Path, paces: list[Recipe]) -> None:
    first, folder = recipe_for_data("shapes", changes={"train.epochs": 7})
    again, same = recipe_for_data("shapes/")
    assert folder == same == Path("runs/shapes")
    assert first.train.epochs == 7
    assert again == read_recipe(folder / "recipe.toml")
    assert len(paces) == 1  # nothing is timed again


def test_bare_pictures_go_to_the_folder_asked_for(shapes: Path, paces: list[Recipe]) -> None:
    _, folder = recipe_for_data("shapes", out=Path("elsewhere"))
    assert folder == Path("elsewhere")
    assert (folder / "recipe.toml").exists()
    assert not Path("runs").exists()


def test_other_pictures_of_the_same_name_are_refused(shapes: Path, paces: list[Recipe]) -> None:
    recipe_for_data("shapes")
    Path("other").mkdir()
    Path("shapes").rename("other/shapes")
    with pytest.raises(InputError, match="holds a run on other data"):
        recipe_for_data("other/shapes")


def test_a_plan_of_bare_pictures_writes_nothing(shapes: Path, paces: list[Recipe]) -> None:
    recipe_for_data("shapes", keep=False)
    assert not Path("runs").exists()
