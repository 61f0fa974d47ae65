"""What a run is: closed, frozen records read from TOML, resolved to JSON. Nothing here imports torch or does work."""

from __future__ import annotations

from limbeck.recipe.data import Augment, Data
from limbeck.recipe.delivery import Baselines, Calibrate, Export, Measure
from limbeck.recipe.reading import parse_recipe, read_recipe, recipe_schema
from limbeck.recipe.searching import Adapt, Budget, OnRay, Proxy, Search, Tune
from limbeck.recipe.section import Section
from limbeck.recipe.training import Assistant, Distill, Model, OneTeacher, Teacher, TermRecipe, Train, TrainedModel
from limbeck.recipe.whole import Recipe

__all__ = [
    "Adapt",
    "Assistant",
    "Augment",
    "Baselines",
    "Budget",
    "Calibrate",
    "Data",
    "Distill",
    "Export",
    "Measure",
    "Model",
    "OnRay",
    "OneTeacher",
    "Proxy",
    "Recipe",
    "Search",
    "Section",
    "Teacher",
    "TermRecipe",
    "Train",
    "TrainedModel",
    "Tune",
    "parse_recipe",
    "read_recipe",
    "recipe_schema",
]
