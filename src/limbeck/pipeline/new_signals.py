"""The recipe that `limbeck new` writes for signals. What is in the data is `limbeck.data`'s to say."""

from __future__ import annotations

from typing import Any, NamedTuple

from limbeck.data import SignalLook
from limbeck.data.look_signals import FEWEST_RECORDINGS
from limbeck.errors import InputError

__all__ = ["SIGNAL_EFFORTS", "SignalEffort", "as_toml", "signal_recipe_text"]

STUDENT = "kd_cnn"


class SignalEffort(NamedTuple):
    """How much a recipe asks of the machine."""

    teacher: str
    teacher_epochs: int
    epochs: int

    def words(self, look: SignalLook) -> str:
        """What is asked of the machine."""
        return f"{look.frames:,} frames, {self.teacher}, {self.teacher_epochs} epochs, {STUDENT}, {self.epochs} epochs"


SIGNAL_EFFORTS = (  # from generous to frugal; the student costs a twentieth of ClST-t an epoch
    SignalEffort("clst_t", 100, 200),
    SignalEffort("clst_t", 60, 120),
    SignalEffort("clst_t", 40, 80),
    SignalEffort("clst_t", 20, 60),
    SignalEffort("clst_s", 20, 40),
    SignalEffort("clst_s", 12, 24),
    SignalEffort("clst_s", 6, 12),
    SignalEffort("clst_s", 3, 6),
)


def signal_recipe_text(
    name: str, look: SignalLook, effort: SignalEffort, *, target: str, max_latency_ms: float | None
) -> str:
    """A recipe as TOML, with a line about every choice.

    Raises:
        InputError: the data cannot be divided: too few recordings, or fewer than three frames of a class at some SNR.
    """
    if look.recordings is not None and look.recordings < FEWEST_RECORDINGS:
        raise InputError(
            f"{look.path}: recordings are held out as wholes, and at least {FEWEST_RECORDINGS} are needed, not {look.recordings}"
        )
    if look.recordings is None and look.per_cell[0] < 3:
        at = "" if look.snrs is None or look.is_measured else " at some SNR"
        raise InputError(
            f"{look.path}: a class has {look.per_cell[0]} frames{at}; at least 3 are needed to hold any out"
        )
    batch = 128 if look.frames >= 3000 else 32 if look.frames >= 300 else 8  # at least a few steps in an epoch
    rows = [f"{key} = {as_toml(value)}" for key, value in look.options.items()]
    options = "\n".join(["", "[data.options]", *rows, ""] if rows else [""])
    shared = "whole recordings" if look.recordings else "of each class and SNR"
    teacher, student = as_toml(effort.teacher), as_toml(STUDENT)
    latency = (
        f"max_latency_ms = {max_latency_ms}"
        if max_latency_ms is not None
        else "# max_latency_ms = 0.5         # a ceiling, told in the report"
    )
    training = f"""batch_size = {batch}
optimizer = "adamw"
learning_rate = 2e-3
weight_decay = 1e-3
clip_norm = 1.0"""
    of = f"{look.frames:,} frames of {look.length} samples in {len(look.counts)} classes"
    return f"""# {of}; made by `limbeck new`. Every value can be changed.
name = "{name}"
task = "modulation"

[data]
name = {as_toml(look.name)}
path = {as_toml(look.path)}
validation = 0.15             # share on which everything is chosen; {shared}
test = 0.2                    # is only reported
{options}
[augment]
rotate = "any"                # each frame by a phase of its own

[teacher]
model = {teacher}              # clst_s trains faster, clst_b is larger; mcldnn, pet_cgdnn and others too
dropout = 0.1

[teacher.train]
epochs = {effort.teacher_epochs}
{training}

[student]
model = {student}              # kd_mobilenet is larger, and can be searched and adapted

[train]
epochs = {effort.epochs}
{training}

[budget]
target = {as_toml(target)}
{latency}

[distill]
method = "skd"
"""


def as_toml(value: Any) -> str:
    """A plain value as a recipe has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
