"""From what a user typed to a recipe: a path, a shipped recipe's name, a finished run, or bare data."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from limbeck.errors import InputError, unknown_name
from limbeck.recipe import Recipe, parse_recipe, read_recipe

__all__ = [
    "is_bare_data",
    "list_recipes",
    "open_recipe",
    "parse_changes",
    "recipe_header",
    "recipe_notes",
    "recipe_text",
]


def list_recipes() -> list[str]:
    """Names of the recipes that ship with the package, such as `quickstart` or `pictures/mobilenet`."""
    root = resources.files("limbeck") / "recipes"
    found: list[str] = []

    def walk(folder: Any, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.is_dir():
                walk(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".toml"):
                found.append(prefix + entry.name.removesuffix(".toml"))

    walk(root, "")
    return sorted(found)


def recipe_text(name: str) -> str:
    """The TOML of a shipped recipe."""
    return (resources.files("limbeck") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def recipe_header(name: str) -> str:
    """First comment line of a shipped recipe: what it is, in one line."""
    first = recipe_text(name).split("\n", 1)[0]
    return first.removeprefix("#").strip()


def recipe_notes(name: str) -> dict[str, str]:
    """What the header of a shipped recipe says below its first line, in its order; empty for one without such lines.

    A published row has `command`, `protocol`, `time`, `hardware`, `published`, `ours`, `differs` and perhaps `mind`.
    """
    notes: dict[str, str] = {}
    for line in recipe_text(name).splitlines()[1:]:
        if not line.startswith("#"):
            break
        field = re.match(r"# ([a-z]+): +(.*)", line)
        if field:
            notes[field[1]] = field[2]
        elif notes:
            notes[next(reversed(notes))] += " " + line.removeprefix("#").strip()
    return notes


def is_bare_data(given: str) -> bool:
    """Whether `given` is data without a recipe: a folder that is no run, a table of pictures, or a file of signals."""
    path = Path(given)
    if path.is_dir():
        return not (path / "recipe.json").exists()
    if not path.is_file() or path.suffix.lower() in (".toml", ".json"):
        return False
    from limbeck.data import is_signals

    return path.suffix.lower() in (".csv", ".tsv", ".parquet") or is_signals(path)


def open_recipe(given: str, changes: dict[str, Any] | None = None) -> tuple[Recipe, Path]:
    """Read the recipe that `given` means, and the folder that its run goes to by default.

    Args:
        given: path of a recipe (TOML, or a resolved JSON), name of a shipped one, or the folder of an earlier run.
        changes: `section.field` -> value, applied on top.

    Raises:
        InputError: there is no such recipe, or it does not hold together.
    """
    path = Path(given)
    if path.is_dir() and (path / "recipe.json").exists():
        return read_recipe(path / "recipe.json", changes=changes), path
    if path.suffix in (".toml", ".json") or path.is_file():
        recipe = read_recipe(path, changes=changes)
    elif given in list_recipes():
        recipe = parse_recipe(
            tomllib.loads(recipe_text(given)), where=given, changes=changes, default_name=given.replace("/", "-")
        )
    elif path.is_dir():
        raise InputError(f"{given}: a folder, but not of a run (no recipe.json)")
    else:
        raise unknown_name("recipe", given, list_recipes(), where="recipe")
    return recipe, Path("runs") / recipe.name


def parse_changes(pairs: list[str]) -> dict[str, Any]:
    """Read `section.field=value` pairs; values are TOML, and bare words are strings.

    Example:
        >>> parse_changes(["distill.epochs=30", "teacher.model=timm:resnet18"])
        {'distill.epochs': 30, 'teacher.model': 'timm:resnet18'}
    """
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise InputError(f"--set {pair}: expected section.field=value, such as distill.epochs=30")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        changes[key.strip()] = value
    return changes
