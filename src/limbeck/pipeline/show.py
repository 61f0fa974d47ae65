"""`limbeck show`: the literal tables of parts, one line each."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["show_table"]


def show_table(name: str) -> dict[str, Any]:
    """Names of one kind of part and a line about each; the JSON schema of a recipe for `schema`."""
    if name == "schema":
        from limbeck.recipe import recipe_schema

        return recipe_schema()
    if name == "recipes":
        from limbeck.pipeline.start import list_recipes, recipe_header

        return {recipe: recipe_header(recipe) for recipe in list_recipes()}
    return {key: _line(part) for key, part in _parts(name).items()}


def _parts(name: str) -> dict[str, Any]:
    if name == "losses":
        from limbeck.losses import LOSSES as table
    elif name == "methods":
        from limbeck.distill import METHODS as table
    elif name == "models":
        from limbeck.models import MODELS

        library = {"timm:NAME": "any classifier of timm", "torchvision:NAME": "any classifier of torchvision"}
        return {**MODELS, **library}
    elif name == "tasks":
        from limbeck.tasks import TASKS as table
    elif name == "data":
        from limbeck.data import DATA as table
    elif name == "targets":
        from limbeck.measure import TARGETS as table
    else:
        from limbeck.search import SPACES as table
    return {**table, "package.module:name": "a part of your own"}


def _line(part: Any) -> str:
    """First line of a part's docstring, with its options where it is a function of some."""
    if isinstance(part, str):
        return part
    text = (inspect.getdoc(part) or "").split("\n", 1)[0]
    return text
