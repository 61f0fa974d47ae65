"""`limbeck new`: looks at a data set and writes a recipe for it, sized to the time there is.

What does not live here: the recipe for signals itself (`new_signals`).
"""

from __future__ import annotations

import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.console import say, warn
from limbeck.data import Look, SignalLook, is_signals, look_at, look_at_signals
from limbeck.errors import InputError
from limbeck.files import write_text
from limbeck.pipeline.inspect import refuse_annotated
from limbeck.pipeline.new_signals import SIGNAL_EFFORTS, SignalEffort, as_toml, signal_recipe_text
from limbeck.pipeline.start import open_recipe
from limbeck.recipe import Recipe, parse_recipe

__all__ = ["recipe_for_data", "write_new_recipe"]


class Effort(NamedTuple):
    """How much a recipe asks of the machine."""

    side: int  # largest picture side in pixels; smaller pictures stay as they are
    teacher: str
    epochs: int
    trials: int
    proxy_epochs: int

    def words(self, look: Look) -> str:
        """What is asked of the machine."""
        return f"{_side(look, self)} pixels, {self.teacher}, {self.epochs} epochs, {self.trials} candidates"


EFFORTS = (  # from generous to frugal
    Effort(224, "mobilenet_v3_large", 120, 48, 8),
    Effort(192, "mobilenet_v3_large", 90, 32, 6),
    Effort(160, "mobilenet_v3_large", 60, 24, 5),
    Effort(128, "mobilenet_v2", 45, 16, 4),
    Effort(96, "mobilenet_v2", 30, 12, 3),
    Effort(64, "mobilenet_v2", 20, 8, 2),
    Effort(48, "mobilenet_v2", 10, 6, 2),
    Effort(32, "mobilenet_v2", 6, 4, 1),
)
DEFAULT = 3
BARE_HOURS = 1.0  # `limbeck run FOLDER`: the default effort, or the largest below it that takes no longer than this
TARGET = "onnxruntime,threads=1"


def write_new_recipe(
    data: str, *, target: str, max_latency_ms: float | None, hours: float | None, output: Path | None
) -> Path:
    """Write a recipe for a data set; with `hours`, the most that fits them by timed steps on this machine.

    Raises:
        InputError: the data or the target cannot be used, the file exists, or not even the least effort fits.
    """
    from limbeck.measure import open_device

    open_device(target)
    look = _look(data)
    name = _name(data)
    path = output or Path(f"{name}.toml")
    if path.exists():
        raise InputError(f"{path}: exists already; choose another name with -o")

    efforts = _efforts(look)
    effort = efforts[DEFAULT]
    if hours is not None:
        with tempfile.TemporaryDirectory() as scratch:
            # The ceiling is left out: a student over it is the search's affair, not the plan's.
            texts = {effort: _text(name, look, effort, target, None) for effort in efforts}
            effort, minutes = _most_that_fits(look, texts, hours, folder=Path(scratch), changes={})
        if minutes > 60 * hours:
            raise InputError(
                f"--hours {hours:g}: even the least takes {minutes:.1f} minutes here; give more time, or set data.limit in a recipe"
            )
    text = _text(name, look, effort, target, max_latency_ms)
    _parse(text, where=str(path))
    write_text(path, text)
    return path


def recipe_for_data(
    data: str, *, out: Path | None = None, changes: dict[str, Any] | None = None, keep: bool = True
) -> tuple[Recipe, Path]:
    """The recipe of `limbeck run FOLDER`, and the folder of its run. It is kept there, so that the run goes on.

    Args:
        data: a folder of pictures or a table, or signals.
        out: the run's folder; None = `runs/<name of the data>`.
        changes: `section.field` -> value, on top of what is kept.
        keep: False = write nothing.

    Raises:
        InputError: the data cannot be used, or the run's folder holds a run on other data.
    """
    name, changes = _name(data), changes or {}
    folder = out or Path("runs") / name
    path = folder / "recipe.toml"
    if path.exists():
        recipe, _ = open_recipe(str(path), changes)
        if recipe.data.path is None or Path(recipe.data.path).resolve() != Path(data).resolve():
            raise InputError(f"{folder}: holds a run on other data ({recipe.data.path}); choose another --out")
        return recipe, folder
    look = _look(data)
    texts = {effort: _text(name, look, effort, TARGET, None) for effort in _efforts(look)[DEFAULT:]}
    with tempfile.TemporaryDirectory() as scratch:
        effort, minutes = _most_that_fits(look, texts, BARE_HOURS, folder=Path(scratch), changes=changes)
    if minutes > 60 * BARE_HOURS:
        warn(f"{data}: takes about {minutes / 60:.1f} hours here; `--set data.limit=1000` uses fewer samples")
    recipe = _parse(texts[effort], where=data, changes=changes)
    if keep:
        write_text(path, texts[effort])
        say(f"recipe: {path} (made from the data; change it, or set fields with --set)")
    return recipe, folder


def _look(data: str) -> Look | SignalLook:
    """What there is, if recipes are written for it."""
    if is_signals(data):
        return look_at_signals(data)
    refuse_annotated(data)
    return look_at(data)


def _efforts(look: Look | SignalLook) -> tuple[Effort, ...] | tuple[SignalEffort, ...]:
    return SIGNAL_EFFORTS if isinstance(look, SignalLook) else EFFORTS


def _text(name: str, look: Any, effort: Any, target: str, max_latency_ms: float | None) -> str:
    """A recipe for what was seen."""
    write = signal_recipe_text if isinstance(look, SignalLook) else recipe_text
    return write(name, look, effort, target=target, max_latency_ms=max_latency_ms)


def recipe_text(name: str, look: Look, effort: Effort, *, target: str, max_latency_ms: float | None) -> str:
    """A recipe as TOML, with a line about every choice."""
    side, epochs = _side(look, effort), effort.epochs
    pictures = sum(look.counts.values())
    batch = 64 if pictures >= 800 else 16 if pictures >= 100 else 4  # at least a few steps in an epoch
    given = {"name": look.name, "path": look.path, **look.fields}
    quoted = "\n".join(f"{key} = {as_toml(value)}" for key, value in given.items() if value is not None)
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
image_size = {side:<16} # the median picture is {look.picture_size[0]} x {look.picture_size[1]}
fit = "crop"                  # or squash, pad
validation = 0.15             # share of train on which everything is chosen; test is only reported
class_weights = "none"        # balanced where rare classes matter as much

[augment]
crop = "{"shift" if side <= 64 else "resized"}"
flip = {"false" if look.name == "digits" else "true "}                  # false where a mirrored picture means something else

[teacher]
model = {as_toml(effort.teacher):<21} # timm:NAME and torchvision:NAME too
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
target = {as_toml(target)}
{latency}

[search]
trials = {effort.trials}
batch = 4

[search.proxy]
epochs = {effort.proxy_epochs}

[distill]
method = "nkd"

[baselines]
off_the_shelf = "auto"        # the best ready pretrained network in the budget, fine-tuned; left out where no weights can be had
"""


def _most_that_fits(
    look: Any, texts: dict[Any, str], hours: float, *, folder: Path, changes: dict[str, Any]
) -> tuple[Any, float]:
    """The first effort that fits, and its minutes; the last one where none does.

    Steps are timed once per size and teacher: epochs and candidates follow by counting.
    """
    from limbeck.pipeline.plan import estimate_run, time_parts

    paces: dict[Any, Any] = {}
    for effort, text in texts.items():
        recipe = _parse(text, where="new", changes=changes)
        key = (recipe.data.image_size, recipe.teacher and recipe.teacher.model)
        if key not in paces:
            paces[key] = time_parts(recipe, folder=folder)
        minutes = estimate_run(recipe, paces[key])["minutes"]
        say(f"{effort.words(look)}: about {minutes:.{0 if minutes >= 10 else 1}f} minutes")
        if minutes <= 60 * hours:
            break
    return effort, minutes


def _side(look: Look, effort: Effort) -> int:
    return min(effort.side, max(look.image_size))


def _parse(text: str, *, where: str, changes: dict[str, Any] | None = None) -> Recipe:
    return parse_recipe(tomllib.loads(text), where=where, changes=changes)


def _name(data: str) -> str:
    path = Path(data)
    stem = path.resolve().name if path.is_dir() else path.stem if path.exists() else data
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._") or "pictures"
