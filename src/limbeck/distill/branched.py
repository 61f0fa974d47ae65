"""Methods in which branches of one network teach it, or each other. No formulas: those are in `losses`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from limbeck.distill.branches import Branch, Gate, Twin
from limbeck.distill.graph import Graph, preset_values
from limbeck.distill.sources import Learner, numbered_stages
from limbeck.distill.term import TASK, Term
from limbeck.errors import InputError

__all__ = ["byot", "one"]


def byot(
    student: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    kd: float | None = None,
    byot: float | None = None,
    temperature: float | None = None,
    stages: Sequence[str] | None = None,
) -> Graph:
    """Self-distillation from the deepest layers to branches at the stages before them, which are dropped afterwards.

    The last of `stages` is what the branches are drawn to.
    """
    values = preset_values("byot", preset, ce=ce, kd=kd, byot=byot, temperature=temperature)
    *places, deepest = _stages(student, stages, method="byot", at_least=2)
    branches = {f"branch{i}": Branch("student", stage=name, deepest=deepest) for i, name in enumerate(places, start=1)}
    options = {"temperature": values["temperature"]}
    terms = [Term(TASK, weight=values["ce"])]
    for name in branches:
        terms += [
            Term(TASK, student=name, weight=values["ce"]),
            Term("kd", student=name, teacher="student", weight=values["kd"], options=options),
            Term("byot", student=f"{name}/feature", teacher=f"{name}/deepest", weight=values["byot"]),
        ]
    return Graph({"student": Learner(student), **branches}, terms)


def one(
    student: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    one: float | None = None,
    temperature: float | None = None,
    ramp: float | None = None,
    branches: int = 3,
    stage: str | None = None,
) -> Graph:
    """Several copies of the upper layers on the same lower ones, taught by their gated mean; one copy is handed over."""
    values = preset_values("one", preset, ce=ce, one=one, temperature=temperature, ramp=ramp)
    if branches < 2:
        raise InputError(f"method 'one': needs 2 branches or more, not {branches}")
    stage = stage or _stages(student, None, method="one", at_least=2)[-2]
    learner = Learner(student)
    twins = {f"branch{i}": Twin(learner, "student", stage=stage) for i in range(2, branches + 1)}
    members = ("student", *twins)
    options = {"temperature": values["temperature"], "ramp": values["ramp"]}
    terms = [Term(TASK, student=name, weight=values["ce"]) for name in (*members, "ensemble")]
    terms += [Term("one", student=name, teacher="ensemble", weight=values["one"], options=options) for name in members]
    return Graph({"student": learner, **twins, "ensemble": Gate(f"student/{stage}", members)}, terms)


def _stages(student: nn.Module, given: Sequence[str] | None, *, method: str, at_least: int) -> list[str]:
    stages = list(given) if given is not None else numbered_stages(student)
    if len(stages) < at_least:
        raise InputError(f"method '{method}': needs {at_least} stages or more to branch at; give its stages by name")
    return stages
