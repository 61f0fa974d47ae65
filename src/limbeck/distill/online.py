"""Methods in which networks train together from scratch, each a teacher of the others. No formulas: those are in `losses`."""

from __future__ import annotations

from torch import nn

from limbeck.distill.graph import Graph, preset_values
from limbeck.distill.sources import Ensemble, Learner
from limbeck.distill.term import TASK, Term

__all__ = ["bdkd", "dml", "kdcl"]


def bdkd(
    student: nn.Module,
    peer: nn.Module,
    *,
    ce: float = 1.0,
    bdkd: float = 1.0,
    peer_dml: float = 1.0,
    temperature: float = 1.0,
    high: float = 2.0,
    low: float = 1.0,
    weighting: str = "switch",
    sharpness: float = 1.0,
    entropy_temperature: float | None = None,
    scaled: bool = True,
    ceiling: float | None = None,
) -> Graph:
    """Balanced-divergence distillation online: both networks train from scratch, the student by both divergences.

    A reconstruction, as the loss `bdkd`; the peer learns by `dml`, KL(student || peer), of the weight `peer_dml`.
    """
    balance = {"high": high, "low": low, "weighting": weighting, "sharpness": sharpness}
    balance |= {"entropy_temperature": entropy_temperature, "scaled": scaled, "ceiling": ceiling}
    # `dml` carries T^2, which an unscaled student's term must not meet on the other side
    of_peer = peer_dml if scaled else peer_dml / temperature**2
    terms = [
        Term(TASK, weight=ce),
        Term("bdkd", teacher="peer", weight=bdkd, options={"temperature": temperature, **balance}),
        Term(TASK, student="peer", weight=ce),
        Term("dml", student="peer", teacher="student", weight=of_peer, options={"temperature": temperature}),
    ]
    return Graph({"student": Learner(student), "peer": Learner(peer)}, terms)


def dml(student: nn.Module, peer: nn.Module, *, ce: float = 1.0, dml: float = 1.0, temperature: float = 1.0) -> Graph:
    """Deep mutual learning: student and a peer train together from scratch, each from the other."""
    options = {"temperature": temperature}
    terms = [
        Term(TASK, weight=ce),
        Term("dml", teacher="peer", weight=dml, options=options),
        Term(TASK, student="peer", weight=ce),
        Term("dml", student="peer", teacher="student", weight=dml, options=options),
    ]
    return Graph({"student": Learner(student), "peer": Learner(peer)}, terms)


def kdcl(
    student: nn.Module,
    peer: nn.Module,
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    kdcl: float | None = None,
    temperature: float | None = None,
) -> Graph:
    """Collaborative learning: student and a peer train together from scratch, each from the mean of both outputs."""
    values = preset_values("kdcl", preset, ce=ce, kdcl=kdcl, temperature=temperature)
    sources = {"student": Learner(student), "peer": Learner(peer), "together": Ensemble(("student", "peer"))}
    options = {"temperature": values["temperature"]}
    terms = [
        term
        for name in ("student", "peer")
        for term in (
            Term(TASK, student=name, weight=values["ce"]),
            Term("kd", student=name, teacher="together", weight=values["kdcl"], options=options),
        )
    ]
    return Graph(sources, terms)
