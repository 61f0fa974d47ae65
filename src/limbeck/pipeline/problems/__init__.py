"""What is special in the chain for each kind of problem: what is kept, judged, proven and shown. One file per kind.

Not here: the stages, which are the same for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from limbeck.errors import InputError
from limbeck.pipeline.problems.classification import ClassificationProblem
from limbeck.pipeline.problems.detection import DetectionProblem
from limbeck.pipeline.problems.landmarks import LandmarksProblem
from limbeck.pipeline.problems.modulation import ModulationProblem
from limbeck.pipeline.problems.problem import Case, Kept, Problem, Run, Shown, as_input
from limbeck.pipeline.problems.segmentation import SegmentationProblem
from limbeck.tasks import TASKS

__all__ = ["PROBLEMS", "Case", "Kept", "Problem", "Run", "Shown", "as_input", "open_problem"]

PROBLEMS: dict[str, type[Problem]] = {
    "classification": ClassificationProblem,
    "segmentation": SegmentationProblem,
    "detection": DetectionProblem,
    "landmarks": LandmarksProblem,
    "modulation": ModulationProblem,
}
"""Name of a task -> its problem."""


def open_problem(name: str, task: Any, class_names: Sequence[str]) -> Problem:
    """The problem of a task; one from outside, `package.module:name`, is taken for a classification.

    Args:
        name: of the task, as the recipe has it.
        task: made for the data.
        class_names: by index.

    Raises:
        InputError: a task of ours that has no problem.
    """
    if name in TASKS and name not in PROBLEMS:
        raise InputError(f'task = "{name}": works from Python, not by recipe; expected {", ".join(PROBLEMS)}')
    return PROBLEMS.get(name, ClassificationProblem)(task, class_names)
