"""What a named method returns, how it reads its preset, and where several teachers stand in it. The methods are in the
files named for their kind: `offline`, `self_taught`, `online`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from limbeck.distill.pause import Pause
from limbeck.distill.presets import PRESETS
from limbeck.distill.sources import Ensemble, Frozen
from limbeck.distill.term import Term
from limbeck.errors import InputError, unknown_name

__all__ = ["Graph", "preset_values", "teacher_names", "with_teachers"]


@dataclass(frozen=True)
class Graph:
    """What a method returns: the arguments of a `Distillation` that are its own."""

    sources: Mapping[str, nn.Module]
    terms: Sequence[Term]
    deploy: str = "student"
    pause: Pause | None = None


def preset_values(method: str, preset: str, **given: float | None) -> dict[str, float]:
    """The preset's values, those that were given in their place. What neither names is left out, to the loss's default."""
    if preset not in PRESETS[method]:
        raise unknown_name("preset", preset, PRESETS[method], where=f"method '{method}'")
    values = PRESETS[method][preset]
    given = {name: values.get(name) if value is None else value for name, value in given.items()}
    return {name: value for name, value in given.items() if value is not None}


def teacher_names(count: int) -> list[str]:
    """The sources that stand for so many ready teachers: `teacher`, or `teacher1`, `teacher2` ... and then `teacher`,
    their mean.
    """
    return ["teacher"] * count if count < 2 else [*(f"teacher{i}" for i in range(1, count + 1)), "teacher"]


def with_teachers(
    sources: Mapping[str, nn.Module], teachers: Sequence[nn.Module], shares: Sequence[float] | None, *, where: str
) -> dict[str, nn.Module]:
    """The sources of a graph, with further teachers beside the first, which it holds frozen as `teacher`.

    What learns from `teacher` then learns from the mean of all their logits, by their `shares` (None = equal).

    Raises:
        InputError: the graph's second network is not a ready teacher; `where` names the graph.
    """
    if len(teachers) < 2:
        return dict(sources)
    if not isinstance(sources.get("teacher"), Frozen):
        raise InputError(f"{where}: takes one second network, not {len(teachers)}")
    *members, mean = teacher_names(len(teachers))
    spread = {name: Frozen(teacher) for name, teacher in zip(members, teachers, strict=True)}
    return {**spread, **sources, mean: Ensemble(members, weights=shares)}
