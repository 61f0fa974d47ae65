"""Methods in which a network teaches itself. No formulas: those are in `losses`."""

from __future__ import annotations

from torch import nn

from limbeck.distill.graph import Graph, preset_values
from limbeck.distill.memories import Ema, Memory
from limbeck.distill.sources import Learner, SecondPass
from limbeck.distill.term import TASK, Term

__all__ = ["cs_kd", "label_smoothing", "nkd_ema", "nkd_memory", "ps_kd", "tf_kd", "uskd", "zipf_ls"]


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


def cs_kd(
    student: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    cs_kd: float | None = None,
    temperature: float | None = None,
) -> Graph:
    """Self-distillation from what the student says of another picture of the same class (presets cifar100, fine_grained)."""
    values = preset_values("cs_kd", preset, ce=ce, cs_kd=cs_kd, temperature=temperature)
    learner = Learner(student)
    options = {"temperature": values["temperature"]}
    terms = [
        Term(TASK, weight=values["ce"]),
        Term("kd", teacher="classmate", weight=values["cs_kd"], name="cs_kd", options=options),
    ]
    return Graph({"student": learner, "classmate": SecondPass(learner, view="same_class")}, terms)


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


def label_smoothing(student: nn.Module, *, smoothing: float = 0.1, spread: str = "all") -> Graph:
    """No teacher at all: cross-entropy to labels of which a share is spread evenly, what teachers are compared with."""
    term = Term("cross_entropy", options={"smoothing": smoothing, "spread": spread})
    return Graph({"student": Learner(student)}, [term])


def tf_kd(
    student: nn.Module,
    *,
    preset: str = "cifar100_resnet18",
    ce: float | None = None,
    tf_kd: float | None = None,
    temperature: float | None = None,
    correct: float = 0.99,
    student_temperature: float = 1.0,
) -> Graph:
    """Distillation from a virtual teacher that is always right and nearly as unsure as can be."""
    values = preset_values("tf_kd", preset, ce=ce, tf_kd=tf_kd, temperature=temperature)
    options = {"temperature": values["temperature"], "correct": correct, "student_temperature": student_temperature}
    terms = [Term(TASK, weight=values["ce"]), Term("tf_kd", weight=values["tf_kd"], options=options)]
    return Graph({"student": Learner(student)}, terms)


def zipf_ls(
    student: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    zipf_ls: float | None = None,
    upsample: int | None = None,
    only_correct: bool = False,
    deep_stage: str | None = None,
    deep_ce: float = 0.1,
) -> Graph:
    """Self-distillation by Zipf's law over what the student's classifier says at each position of its last map."""
    values = preset_values("zipf_ls", preset, ce=ce, zipf_ls=zipf_ls, upsample=upsample)
    options = {"upsample": values["upsample"], "only_correct": only_correct}
    voters, deep = ["student/dense"], []
    if deep_stage:
        voters.append(f"student/dense@{deep_stage}")
        deep.append(Term(TASK, student=f"student/exit@{deep_stage}", weight=deep_ce, name="deep_task"))
    zipf = Term("zipf_ls", teacher=tuple(voters), weight=values["zipf_ls"], options=options)
    return Graph({"student": Learner(student)}, [Term(TASK, weight=values["ce"]), zipf, *deep])


def nkd_ema(
    student: nn.Module,
    *,
    ce: float = 1.0,
    nkd: float = 1.0,
    temperature: float = 1.0,
    gamma: float = 1.5,
    warmup: float = 0.0,
    decay: float = 0.999,
) -> Graph:
    """Normalised self-distillation from the moving average of the student's own weights."""
    learner = Learner(student)
    terms = _nkd_terms("average", ce=ce, nkd=nkd, warmup=warmup, temperature=temperature, gamma=gamma)
    return Graph({"student": learner, "average": Ema(learner, decay=decay)}, terms)


def nkd_memory(
    student: nn.Module,
    *,
    num_samples: int,
    ce: float = 1.0,
    nkd: float = 1.0,
    temperature: float = 1.0,
    gamma: float = 1.5,
    warmup: float = 0.0,
    momentum: float = 0.0,
) -> Graph:
    """Normalised self-distillation from what the student said of each picture before."""
    terms = _nkd_terms("before", ce=ce, nkd=nkd, warmup=warmup, temperature=temperature, gamma=gamma)
    return Graph({"student": Learner(student), "before": Memory(num_samples, momentum=momentum)}, terms)


def _nkd_terms(teacher: str, *, ce: float, nkd: float, warmup: float, **options: float) -> list[Term]:
    return [Term(TASK, weight=ce), Term("nkd", teacher=teacher, weight=nkd, warmup=warmup, options=options)]
