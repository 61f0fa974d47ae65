"""What a named method returns, and how it reads its preset. The methods are in the files
named for their kind: `offline`, `self_taught`, `online`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from limbeck.distill.presets import PRESETS
from limbeck.distill.term import Term
from limbeck.errors import unknown_name
from limbeck.types import Batch, Outputs

__all__ = ["Graph", "preset_values"]


@dataclass(frozen=True)
class Graph:
    """What a method returns: the arguments of a `Distillation` that are its own."""

    sources: Mapping[str, nn.Module]
    terms: Sequence[Term]
    deploy: str = "student"
    pause: Callable[[Mapping[str, Outputs], Batch, Tensor], Iterable[str]] | None = None


def preset_values(method: str, preset: str, **given: float | None) -> dict[str, float]:
    """The preset's values, those that were given in their place."""
    if preset not in PRESETS[method]:
        raise unknown_name("preset", preset, PRESETS[method], where=f"method '{method}'")
    values = PRESETS[method][preset]
    return {name: values[name] if value is None else value for name, value in given.items()}
