"""From a file to a checked recipe, and one line about what is wrong in it."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from limbeck.errors import InputError
from limbeck.recipe.whole import Recipe

__all__ = ["parse_recipe", "read_recipe", "recipe_schema"]


def recipe_schema() -> dict[str, Any]:
    """JSON schema of a recipe (`limbeck show schema`)."""
    return Recipe.model_json_schema()


def read_recipe(path: str | Path, *, changes: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe from TOML, or a resolved one from JSON, and apply `section.field = value` changes.

    Raises:
        InputError: the file is missing, is not TOML/JSON, or holds an unknown key or a value of the wrong type.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the recipe ({getattr(error, 'strerror', None) or error})") from error
    try:
        tree = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not valid {'JSON' if path.suffix == '.json' else 'TOML'}: {error}") from error
    return parse_recipe(tree, where=str(path), changes=changes, default_name=path.stem)


def parse_recipe(
    tree: dict[str, Any], *, where: str, changes: dict[str, Any] | None = None, default_name: str | None = None
) -> Recipe:
    """Check a tree of plain values against the closed recipe records.

    Raises:
        InputError: one line per first wrong field: where, the value, what was expected, the nearest valid name.
    """
    if default_name and "name" not in tree:
        tree = {**tree, "name": default_name}
    for dotted, value in (changes or {}).items():
        tree = _changed(tree, dotted.split("."), value, where=f"--set {dotted}")
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def _changed(tree: dict[str, Any], keys: list[str], value: Any, *, where: str) -> dict[str, Any]:
    head, *rest = keys
    if not rest:
        return {**tree, head: value}
    inner = tree.get(head) or {}
    if not isinstance(inner, dict):
        raise InputError(f"{where}: '{head}' is a value, not a section")
    return {**tree, head: _changed(inner, rest, value, where=where)}


def _explain(error: ValidationError) -> str:
    problems = error.errors()
    problem = problems[0]
    place = ".".join(
        str(part) for part in problem["loc"] if not (isinstance(part, str) and ("[" in part or "-" in part))
    )
    if problem["type"] == "extra_forbidden":
        known = _fields_at(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        text = f"{place}: no such field" + (f"; did you mean '{near[0]}'?" if near else f" (known: {', '.join(known)})")
    elif problem["type"] == "missing":
        text = f"{place}: missing"
    elif problem["type"] == "value_error":
        text = (place + ": " if place else "") + problem["msg"].removeprefix("Value error, ")
    else:
        text = (
            f"{place} = {json.dumps(problem['input'], default=str)}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"
        )
    return text + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the section at `location`, for the nearest-name hint."""
    section: type[BaseModel] = Recipe
    for part in location:
        if isinstance(part, int) or part not in section.model_fields:
            continue
        annotation = section.model_fields[part].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if nested:
            section = nested[0]
    return sorted(section.model_fields)
