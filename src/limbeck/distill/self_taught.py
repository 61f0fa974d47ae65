"""Methods in which a network teaches itself. No formulas: those are in `losses`."""

from __future__ import annotations

from torch import nn

from limbeck.distill.graph import Graph, preset_values
from limbeck.distill.memories import Memory
from limbeck.distill.sources import Learner
from limbeck.distill.term import TASK, Term

__all__ = ["ps_kd", "uskd"]


def ps_kd(
    student: nn.Module,
    *,
    num_samples: int,
    epochs: int | None = None,
    preset: str = "cifar100",
    alpha: float | None = None,
) -> Graph:
    """Self-distillation from what the student said of each picture an epoch before, which counts more and more."""
    values = preset_values("ps_kd", preset, alpha=alpha)
    before = Memory(num_samples, unseen="label")
    terms = [Term("ps_kd", teacher="before", options={"alpha": values["alpha"], "epochs": epochs})]
    return Graph({"student": Learner(student), "before": before}, terms)


def uskd(
    student: nn.Module,
    *,
    preset: str = "imagenet",
    ce: float | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    mu: float | None = None,
    exit_stage: str | None = None,
) -> Graph:
    """Self-distillation without a teacher, with an exit at a middle stage (presets imagenet, cifar100)."""
    values = preset_values("uskd", preset, ce=ce, alpha=alpha, beta=beta, mu=mu)
    options = {name: values[name] for name in ("alpha", "beta", "mu")}
    terms = [Term(TASK, weight=values["ce"]), Term("uskd", teacher="student/exit", options=options)]
    return Graph({"student": Learner(student, exit_stage=exit_stage)}, terms)
