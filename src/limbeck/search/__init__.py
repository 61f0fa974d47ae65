"""Choosing an architecture under a budget: spaces, and the study whose one driver asks and tells.

Not here: training, export and timing. They come in as callables.
"""

from limbeck.search.blocks import mobilenet_blocks
from limbeck.search.ceilings import CandidateCost, Ceilings
from limbeck.search.pareto import pareto_front
from limbeck.search.result import StudyResult
from limbeck.search.samplers import SAMPLERS
from limbeck.search.space import Point, Scalar, Space
from limbeck.search.spaces import SPACES, open_space
from limbeck.search.study import run_study

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
