"""Choosing an architecture under a budget: spaces, and the study whose one driver asks and tells.

Not here: training, export and timing. They come in as callables.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limbeck.search.ceilings import CandidateCost, Ceilings
from limbeck.search.compare import SamplerComparison, compare_samplers
from limbeck.search.draws import draw_points
from limbeck.search.halving import Halving
from limbeck.search.on_ray import RayCluster
from limbeck.search.own_evaluation import search_space
from limbeck.search.pareto import hypervolume, pareto_front
from limbeck.search.result import StudyResult
from limbeck.search.reward import Objective, absolute_reward, reward
from limbeck.search.samplers import SAMPLERS, check_sampler
from limbeck.search.space import Point, Scalar, Space
from limbeck.search.study import run_study
from limbeck.search.tabular import read_tabular

if TYPE_CHECKING:
    from limbeck.search.blocks import mobilenet_blocks
    from limbeck.search.controller import PolicySampler
    from limbeck.search.mnasnet import flat_space, mnasnet_space
    from limbeck.search.spaces import SPACES, open_space

__all__ = [
    "SAMPLERS",
    "SPACES",
    "CandidateCost",
    "Ceilings",
    "Halving",
    "Objective",
    "Point",
    "PolicySampler",
    "RayCluster",
    "SamplerComparison",
    "Scalar",
    "Space",
    "StudyResult",
    "absolute_reward",
    "check_sampler",
    "compare_samplers",
    "draw_points",
    "flat_space",
    "hypervolume",
    "mnasnet_space",
    "mobilenet_blocks",
    "open_space",
    "pareto_front",
    "read_tabular",
    "reward",
    "run_study",
    "search_space",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use: a study over anything else runs without it."""
    if name in _NEEDS_TORCH:
        return getattr(import_module(f"limbeck.search.{_NEEDS_TORCH[name]}"), name)
    raise AttributeError(f"module 'limbeck.search' has no attribute '{name}'")


_NEEDS_TORCH = {
    "PolicySampler": "controller",
    "SPACES": "spaces",
    "flat_space": "mnasnet",
    "mnasnet_space": "mnasnet",
    "mobilenet_blocks": "blocks",
    "open_space": "spaces",
}
