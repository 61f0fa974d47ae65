"""Kinds of problem: criterion, metric and primary figure of each. No networks, no data, no loop."""

from __future__ import annotations

import inspect
from typing import Any

from limbeck.errors import InputError
from limbeck.parts import find_part
from limbeck.tasks.classification import Classification
from limbeck.tasks.detection import Detection
from limbeck.tasks.landmarks import Landmarks
from limbeck.tasks.modulation import Modulation
from limbeck.tasks.segmentation import Segmentation

__all__ = ["TASKS", "Classification", "Detection", "Landmarks", "Modulation", "Segmentation", "open_task"]

TASKS: dict[str, type] = {
    "classification": Classification,
    "segmentation": Segmentation,
    "detection": Detection,
    "landmarks": Landmarks,
    "modulation": Modulation,
}
"""Name -> task; the constructor's parameters are what the task needs from outside."""


def open_task(name: str, *, where: str = "task", **known: Any) -> Any:
    """Build a task, or anyone's `package.module:Task`, from the part of `known` that its constructor names.

    Args:
        name: of `TASKS`, or `package.module:name`.
        where: what an error points at.
        known: such as `num_classes`, `class_weights`, `label_smoothing`.

    Raises:
        InputError: no such task, or it needs something that is not known.

    Example:
        >>> open_task("classification", num_classes=10, label_smoothing=0.1, image_size=(28, 28)).primary
        'top1'
    """
    task = find_part("task", name, TASKS, where=where)
    parameters = inspect.signature(task).parameters
    stars = [p.kind for p in parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in stars]
    missing = ", ".join(sorted(set(needed) - set(known)))
    if missing:
        raise InputError(f"{where}: task '{name}' needs {missing}; known: {', '.join(sorted(known)) or 'nothing'}")
    takes_all = inspect.Parameter.VAR_KEYWORD in stars
    return task(**{key: value for key, value in known.items() if takes_all or key in parameters})
