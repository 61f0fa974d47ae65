"""The shipped recipes of landmarks: whole headers, the published networks, options that their readers take, a graph."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
import torch
from recipe_headers import check_header

from limbeck.data import Augment
from limbeck.data.readers import DATA
from limbeck.distill import distillation
from limbeck.models import start_at
from limbeck.pipeline.context import create_for
from limbeck.pipeline.start import list_recipes, open_recipe, recipe_notes
from limbeck.recipe import Augment as AugmentSection
from limbeck.types import Batch

POINTS = {"quick": 68, "two_teachers": 68, "300w": 68, "cofw": 29, "wflw": 98}
SHIPPED = [name for name in list_recipes() if name.startswith("faces/")]
PUBLISHED = {  # trainable parameters of student and teachers
    "faces/300w": (2_398_088, 10_905_264),
    "faces/cofw": (2_298_170, 10_785_378),
    "faces/wflw": (2_474_948, 10_997_484),
}


def networks_of(name: str, size: int, *, meta: bool = False) -> list:
    recipe, _ = open_recipe(name)
    with torch.device("meta" if meta else "cpu"):
        return [
            create_for(model, num_classes=2 * POINTS[name.split("/")[1]], picture_size=(size, size), where="model")
            for model in (recipe.student, *recipe.teachers.values())
        ]


def test_each_set_has_its_recipe() -> None:
    assert {name.split("/")[1] for name in SHIPPED} == set(POINTS)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_header_says_everything_and_its_command_is_that_recipe(name: str) -> None:
    check_header(name, task="landmarks", figure=r"\d\.\d\d % NME")


@pytest.mark.parametrize("name", SHIPPED)
def test_teachers_differ_in_what_they_learn_alone(name: str) -> None:
    recipe, _ = open_recipe(name)
    tough, tolerant = (teacher.model_dump() for teacher in recipe.teachers.values())
    assert tough["train"].pop("soft_targets") is None
    assert tolerant["train"].pop("soft_targets") == 0.95
    assert {key: tough[key] for key in tolerant if key in tough} == {
        key: tolerant[key] for key in tolerant if key in tough
    }
    assert recipe.distill is not None
    assert recipe.distill.method == "two_teacher"
    assert set(recipe.data.options) <= set(inspect.signature(DATA[recipe.data.name]).parameters)
    assert {field.name for field in fields(Augment)} == set(AugmentSection.model_fields)
    assert recipe.augment.turn


def test_published_rows_have_the_networks_of_the_authors() -> None:
    for name, (student, teacher) in PUBLISHED.items():
        counts = [network.params() for network in networks_of(name, 224, meta=True)]
        assert counts == [student, teacher, teacher]
        assert "not yet run" in recipe_notes(name)["ours"]


@pytest.mark.parametrize("name", ["faces/quick"])
def test_a_graph_stands_on_a_probe_batch(name: str) -> None:
    recipe, _ = open_recipe(name)
    student, *teachers = networks_of(name, 32)
    for network in (student, *teachers):
        start_at(network)
    example = Batch(torch.arange(2), torch.rand(2, 3, 32, 32), torch.rand(2, 68, 2))
    assert recipe.distill is not None
    assert recipe.distill.method is not None
    graph = distillation(
        recipe.distill.method, student=student, teacher=teachers, example=example, **recipe.distill.options
    )
    assert torch.isfinite(graph(example, torch.tensor(0.0))["loss"])
