"""`limbeck show`: the literal tables of parts, one line each, and the recipes that ship."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping
from typing import Any

from limbeck.errors import unknown_name
from limbeck.pipeline.start import list_recipes, recipe_header, recipe_text

__all__ = ["check_shown", "show_table", "shown_text"]


def check_shown(names: Collection[str], lists: Collection[str]) -> None:
    """Refuse what is neither one of the lists nor a recipe that ships.

    Raises:
        InputError: a name is of neither.
    """
    for name in names:
        if name not in lists and name not in list_recipes():
            raise unknown_name("recipe" if "/" in name else "list", name, list_recipes() if "/" in name else lists)


def shown_text(name: str) -> str:
    """A list in lines, or a recipe as it stands, comments and all: something to start one's own from."""
    if name in list_recipes():
        return recipe_text(name).rstrip("\n")
    table = show_table(name)
    if name == "schema":
        return json.dumps(table, indent=2)
    width = max((len(key) for key in table), default=0)
    return "\n".join(f"{key:<{width}}  {line}".rstrip() for key, line in table.items())


def show_table(name: str) -> dict[str, Any]:
    """Names of one kind of part and a line about each; the JSON schema of a recipe for `schema`; of a recipe itself what it
    is, and its text.
    """
    if name in list_recipes():
        return {"name": name, "about": recipe_header(name), "text": recipe_text(name)}
    if name == "schema":
        from limbeck.recipe import recipe_schema

        return recipe_schema()
    if name == "recipes":
        return {recipe: recipe_header(recipe) for recipe in list_recipes()}
    has_options = name in ("losses", "methods", "targets")
    return {key: _line(part) + (_options(part) if has_options else "") for key, part in _parts(name).items()}


def _parts(name: str) -> dict[str, Any]:
    table: Mapping[str, Any]
    if name == "losses":
        from limbeck.losses import LOSSES as table
    elif name == "methods":
        from limbeck.distill import METHODS as table
    elif name == "models":
        from limbeck.models import CIFAR, DENSE, MODELS
        from limbeck.models.signal import SIGNAL_TABLES, SIGNALS

        literature = {
            name: f"{design.describe}; {design.params:,} parameters at 100 classes." for name, design in CIFAR.items()
        }
        dense = {f"{head}_FAMILY": f"{what}." for head, what in DENSE.items()}
        library = {"timm:NAME": "any classifier of timm", "torchvision:NAME": "any classifier of torchvision"}
        signals = {name: f"{design.describe}." for name, design in SIGNALS.items()}
        signals |= {name: f"{what}." for name, (_, what) in SIGNAL_TABLES.items()}
        return {**MODELS, **dense, **literature, **signals, **library}
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
    """First sentence of a part's docstring, on one line."""
    if isinstance(part, str):
        return part
    paragraph = " ".join((inspect.getdoc(part) or "").split("\n\n", 1)[0].split())
    return paragraph.partition(". ")[0].removesuffix(".") + "." if paragraph else ""


def _options(part: Any) -> str:
    """Names of a part's own options: its keyword-only arguments, `target` aside, which is the labels."""
    if not callable(part):
        return ""
    names = [p.name for p in inspect.signature(part).parameters.values() if p.kind is p.KEYWORD_ONLY]
    names = [name for name in names if name not in ("target", "index", "progress")]
    return f" Options: {', '.join(names)}." if names else ""
