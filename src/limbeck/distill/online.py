"""Methods in which networks train together from scratch, each a teacher of the others. No formulas: those are in `losses`.

The first network is the student; its peers are the sources `peer`, `peer2` ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.distill.graph import Graph, preset_values
from limbeck.distill.objective import labelled_rows
from limbeck.distill.pause import Pause
from limbeck.distill.sources import Learner
from limbeck.distill.term import TASK, Term
from limbeck.errors import InputError, unknown_name
from limbeck.losses.switokd import distances, waits
from limbeck.types import Batch, Outputs

__all__ = ["bdkd", "dml", "kdcl", "switokd"]


def bdkd(
    student: nn.Module,
    peers: Sequence[nn.Module],
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
    """Balanced-divergence distillation online: the networks train from scratch, the student by both divergences.

    A reconstruction, as the loss `bdkd`; a peer learns by `dml`, KL(other || peer), of the weight `peer_dml`, from the
    student and from further peers.
    """
    if not temperature > 0:
        raise InputError(f"method 'bdkd': temperature must be positive, not {temperature}")
    balance = {"high": high, "low": low, "weighting": weighting, "sharpness": sharpness}
    balance |= {"entropy_temperature": entropy_temperature, "scaled": scaled, "ceiling": ceiling}
    # `dml` carries T^2, which an unscaled student's term must not meet on the other side
    of_peer = peer_dml if scaled else peer_dml / temperature**2
    names = _names(peers)
    terms = [Term(TASK, student=name, weight=ce) for name in names]
    for name, other in _pairs(names):
        if name == "student":
            terms.append(_edge("bdkd", name, other, names, bdkd, {"temperature": temperature, **balance}))
        else:
            terms.append(_edge("dml", name, other, names, of_peer, {"temperature": temperature}))
    return Graph(_learners(student, peers), terms)


def dml(
    student: nn.Module,
    peers: Sequence[nn.Module],
    *,
    ce: float = 1.0,
    dml: float = 1.0,
    temperature: float = 1.0,
) -> Graph:
    """Deep mutual learning: student and peers train together from scratch, each from all the others."""
    names = _names(peers)
    terms = [Term(TASK, student=name, weight=ce) for name in names]
    terms += [_edge("dml", name, other, names, dml, {"temperature": temperature}) for name, other in _pairs(names)]
    return Graph(_learners(student, peers), terms)


def kdcl(
    student: nn.Module,
    peers: Sequence[nn.Module],
    *,
    preset: str = "cifar100",
    ce: float | None = None,
    kdcl: float | None = None,
    temperature: float | None = None,
    rule: str = "mean",
    views: str = "shared",
) -> Graph:
    """Collaborative learning: student and peers train together from scratch, each from one teacher made of them all."""
    values = preset_values("kdcl", preset, ce=ce, kdcl=kdcl, temperature=temperature)
    if views not in ("shared", "own"):
        raise unknown_name("choice of 'views'", views, ("shared", "own"), where="method 'kdcl'")
    names = _names(peers)
    options = {"temperature": values["temperature"], "rule": rule}
    terms = [Term(TASK, student=name, weight=values["ce"]) for name in names]
    for name in names:
        others = tuple(other for other in names if other != name)
        terms.append(Term("kdcl", student=name, teacher=others, weight=values["kdcl"], options=options))
    return Graph(_learners(student, peers, own_views=views == "own"), terms)


def switokd(
    student: nn.Module,
    peers: Sequence[nn.Module],
    *,
    ce: float = 1.0,
    dml: float = 1.0,
    temperature: float = 1.0,
    teachers: int = 1,
) -> Graph:
    """Mutual learning in which a larger network rests while it is too far ahead of a compact one.

    The first `teachers` of the peers are the larger ones; any others are compact, as the student. A larger network rests
    where it is ahead of every compact one; from those that it is ahead of it takes nothing meanwhile.

    **Source:** Qian, Wang, Yin, Hong, Wang, "Switchable Online Knowledge Distillation", ECCV 2022, arXiv 2209.04996;
        the terms of three networks as in the authors' code.
    **Differs:** a network that rests does not move at all; there, as the teacher of two students, it still does by
        momentum and weight decay. Several processes decide as one.
    """
    names = _names(peers)
    if not 1 <= teachers <= len(peers):
        raise InputError(f"method 'switokd': teachers = {teachers}: expected 1 .. {len(peers)}, the number of peers")
    larger, compact = names[1 : teachers + 1], [names[0], *names[teachers + 1 :]]
    terms = [Term(TASK, student=name, weight=ce) for name in names]
    for name, other in _pairs(names):
        # with one compact network the larger one's term needs no switch: where it would be off, the network rests
        loss = "switokd" if name in larger and other in compact and len(compact) > 1 else "dml"
        terms.append(_edge(loss, name, other, names, dml, {"temperature": temperature}))

    def measure(seen: Mapping[str, Outputs], batch: Batch, progress: Tensor) -> Tensor:
        rows = slice(None) if batch.labelled else labelled_rows(batch.target)
        target = batch.target[rows]
        if not len(target):
            return torch.zeros(3 * len(larger) * len(compact), device=target.device)
        pairs = [(seen[one].out[rows], seen[other].out[rows]) for other in larger for one in compact]
        return torch.cat([distances(one, other, target=target) for one, other in pairs])

    def choose(figures: Sequence[float]) -> Iterable[str]:
        ahead = torch.stack([waits(pair) for pair in torch.tensor(figures).view(-1, 3)]).view(len(larger), len(compact))
        return [name for name, row in zip(larger, ahead.all(1).tolist(), strict=True) if row]

    return Graph(_learners(student, peers), terms, pause=Pause(measure, choose))


def _names(peers: Sequence[nn.Module]) -> list[str]:
    return ["student", "peer", *(f"peer{i}" for i in range(2, len(peers) + 1))]


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """(who learns, from whom), each from every other."""
    return [(name, other) for name in names for other in names if other != name]


def _learners(student: nn.Module, peers: Sequence[nn.Module], *, own_views: bool = False) -> dict[str, nn.Module]:
    networks = zip(_names(peers), [student, *peers], strict=True)
    views = [None, *(f"view{i}" if own_views else None for i in range(2, len(peers) + 2))]
    return {name: Learner(network, view=view) for (name, network), view in zip(networks, views, strict=True)}


def _edge(loss: str, name: str, other: str, names: Sequence[str], weight: float, options: Mapping[str, Any]) -> Term:
    """A term of one network from another; of several others the term's name says which."""
    title = loss if name == "student" else f"{name}_{loss}"
    title = title if len(names) == 2 else f"{title}_{other}"
    return Term(loss, student=name, teacher=other, weight=weight, name=title, options=options)
