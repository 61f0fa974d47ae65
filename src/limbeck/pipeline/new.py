"""`limbeck new`: looks at a data set and writes a recipe for it, sized to the time there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from limbeck.console import say
from limbeck.data import Look, look_at
from limbeck.errors import InputError
from limbeck.files import write_text
from limbeck.pipeline.start import open_recipe
from limbeck.recipe import Recipe, parse_recipe

__all__ = ["recipe_for_folder", "write_new_recipe"]

# From generous to frugal: (largest picture side, teacher, epochs, search trials, proxy epochs).
PLANS = (
    (224, "mobilenet_v3_large", 120, 48, 8),
    (192, "mobilenet_v3_large", 90, 32, 6),
    (160, "mobilenet_v3_large", 60, 24, 5),
    (128, "mobilenet_v2", 45, 16, 4),
    (96, "mobilenet_v2", 30, 12, 3),
    (64, "mobilenet_v2", 20, 8, 2),
    (48, "mobilenet_v2", 10, 6, 2),
    (32, "mobilenet_v2", 6, 4, 1),
)
DEFAULT_PLAN = 3


def write_new_recipe(
    data: str, *, target: str, max_latency_ms: float | None, hours: float | None, output: Path | None
) -> Path:
    """Write a recipe for a data set; with `hours`, the largest plan that fits them by timed steps on this machine.

    Raises:
        InputError: the data cannot be used, the file exists, or not even the smallest plan fits.
    """
    look = look_at(data)
    name = _name(data)
    path = output or Path(f"{name}.toml")
    if path.exists():
        raise InputError(f"{path}: exists already; choose another name with -o")
    number = DEFAULT_PLAN if hours is None else _fitting_plan(name, look, target, max_latency_ms, hours)
    text = recipe_text(name, look, PLANS[number], target=target, max_latency_ms=max_latency_ms)
    _parse(text, where=str(path))
    write_text(path, text)
    return path


def recipe_for_folder(folder: str, *, changes: dict[str, Any]) -> tuple[Recipe, Path]:
    """The recipe of `limbeck run FOLDER`: `new` with sensible defaults, kept beside the run so that it goes on."""
    look = look_at(folder)
    name = _name(folder)
    out = Path("runs") / name
    path = out / "recipe.toml"
    if not path.exists():
        write_text(
            path, recipe_text(name, look, PLANS[DEFAULT_PLAN], target="onnxruntime,threads=1", max_latency_ms=None)
        )
        say(f"recipe: {path} (made from the pictures; change it, or set fields with --set)")
    recipe, _ = open_recipe(str(path), {"name": name, **changes})
    return recipe, out


def recipe_text(
    name: str, look: Look, plan: tuple[int, str, int, int, int], *, target: str, max_latency_ms: float | None
) -> str:
    """A recipe as TOML, with a line about every choice."""
    largest, teacher, epochs, trials, proxy_epochs = plan
    side = min(largest, max(look.image_size))
    pictures = sum(look.counts.values())
    batch = 64 if pictures >= 800 else 16 if pictures >= 100 else 8  # at least a few steps in an epoch
    quoted = "\n".join(
        f"{key} = {_toml(value)}" for key, value in {"name": look.name, "path": look.path, **look.fields}.items()
    )
    latency = (
        f"max_latency_ms = {max_latency_ms}"
        if max_latency_ms is not None
        else "# max_latency_ms = 4.0         # a ceiling; without one the search weighs accuracy alone"
    )
    return f"""# {pictures:,} pictures of {len(look.class_names)} classes; made by `limbeck new`. Every value can be changed.
name = "{name}"
task = "classification"

[data]
{quoted}
image_size = {side}              # the median picture is {look.picture_size[0]} x {look.picture_size[1]}
fit = "crop"                  # or squash, pad
validation = 0.15             # share of train on which everything is chosen; test is only reported
class_weights = "none"         # balanced where rare classes matter as much

[augment]
crop = "{"shift" if side <= 64 else "resized"}"
flip = true                   # false where a mirrored picture means something else

[teacher]
model = "{teacher}"           # timm:NAME and torchvision:NAME too
pretrained = false            # true starts from ImageNet weights, fetched once

[teacher.train]
epochs = {epochs}
batch_size = {batch}
learning_rate = {0.1 * batch / 64:.4g}

[student]
model = "mobilenet_v3_small"

[train]
epochs = {epochs}
batch_size = {batch}
learning_rate = {0.1 * batch / 64:.4g}

[budget]
target = "{target}"
{latency}

[search]
trials = {trials}
batch = 4

[search.proxy]
epochs = {proxy_epochs}

[distill]
method = "nkd"
"""


def _fitting_plan(name: str, look: Look, target: str, max_latency_ms: float | None, hours: float) -> int:
    from limbeck.pipeline.plan import plan_run

    minutes = 0.0
    for number, plan in enumerate(PLANS):
        if plan[0] > 2 * max(look.image_size) and number < len(PLANS) - 1:
            continue  # the same pictures at the same size as a later plan
        # The ceiling is left out: a reference over it is the search's affair, not the plan's.
        recipe = _parse(recipe_text(name, look, plan, target=target, max_latency_ms=None), where="new")
        minutes = plan_run(recipe)["minutes"]
        say(
            f"new: side {min(plan[0], max(look.image_size))}, {plan[1]}, {plan[2]} epochs, {plan[3]} candidates: {minutes:.0f} minutes"
        )
        if minutes <= 60 * hours:
            return number
    raise InputError(
        f"--hours {hours}: even the smallest plan takes {minutes:.0f} minutes here; give more time, or set data.limit in a recipe"
    )


def _parse(text: str, *, where: str) -> Recipe:
    import tomllib

    return parse_recipe(tomllib.loads(text), where=where)


def _name(data: str) -> str:
    stem = Path(data.rstrip("/")).stem if "/" in data or Path(data).exists() else data
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._") or "pictures"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
