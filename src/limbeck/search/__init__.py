"""Choosing an architecture under a budget: spaces, and the study whose one driver asks and tells.

Not here: training, export and timing. They come in as callables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limbeck.search.ceilings import CandidateCost, Ceilings
from limbeck.search.pareto import pareto_front
from limbeck.search.result import StudyResult
from limbeck.search.samplers import SAMPLERS
from limbeck.search.space import Point, Scalar, Space
from limbeck.search.study import run_study

if TYPE_CHECKING:
    from limbeck.search.blocks import mobilenet_blocks
    from limbeck.search.spaces import SPACES, open_space

__all__ = [
    "SAMPLERS",
    "SPACES",
    "CandidateCost",
    "Ceilings",
    "Point",
    "Scalar",
    "Space",
    "StudyResult",
    "mobilenet_blocks",
    "open_space",
    "pareto_front",
    "run_study",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use: a study over anything else runs without it."""
    if name == "mobilenet_blocks":
        from limbeck.search.blocks import mobilenet_blocks

        return mobilenet_blocks
    if name in ("SPACES", "open_space"):
        from limbeck.search import spaces

        return getattr(spaces, name)
    raise AttributeError(f"module 'limbeck.search' has no attribute '{name}'")
