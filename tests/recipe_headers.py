"""What every shipped recipe of a task other than classification says in its header, checked alike for all."""

from __future__ import annotations

import re
import shlex

from limbeck.pipeline.start import open_recipe, parse_changes, recipe_notes, recipe_text

__all__ = ["check_header"]

FIELDS = ["command", "protocol", "time", "hardware", "published", "ours", "differs", "mind"]


def check_header(name: str, *, task: str, figure: str) -> None:
    """Hold a recipe's header to its form, its command to that recipe, and its protocol to the recipe's own numbers.

    Args:
        name: of the recipe.
        task: what it must be for.
        figure: a pattern of the published figure, where there is one.
    """
    notes = recipe_notes(name)
    assert list(notes) == FIELDS
    lines = recipe_text(name).split("\n\n", 1)[0].splitlines()
    assert all(re.match(r"# (\S|           \S)", line) and len(line) <= 120 for line in lines)
    assert notes["ours"] == "not yet run" or re.search(r"\d+\.\d+", notes["ours"])
    assert notes["published"].startswith("none") or re.search(figure, notes["published"])
    assert "last epoch" in notes["differs"]
    words = shlex.split(notes["command"])
    assert words == ["limbeck", "run", name, "--set", "data.path=FOLDER"]
    recipe, _ = open_recipe(words[2], parse_changes([words[4]]))
    assert recipe.task == task
    assert f"{recipe.train.epochs} epochs of {recipe.train.batch_size} pictures" in notes["protocol"]
