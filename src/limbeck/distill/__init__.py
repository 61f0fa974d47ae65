"""Distillation as a small graph: sources of outputs joined by terms, and the named methods. The loop is
`limbeck.train`'s.
"""

from __future__ import annotations

from limbeck.distill.cache import TeacherCache
from limbeck.distill.cached import Cached, cacheable_teachers, use_caches
from limbeck.distill.filling import cache_size_text, fill_cache
from limbeck.distill.memories import Ema, Memory
from limbeck.distill.methods import (
    METHODS,
    PRESETS,
    Graph,
    check_method,
    check_terms,
    distillation,
    distillation_from_terms,
    method_options,
    teacher_role,
    tells_teachers_apart,
)
from limbeck.distill.objective import Distillation
from limbeck.distill.pairing import pair_stages
from limbeck.distill.sources import Ensemble, Exit, Frozen, Learner, Source
from limbeck.distill.term import SCHEDULES, TASK, Term

__all__ = [
    "METHODS",
    "PRESETS",
    "SCHEDULES",
    "TASK",
    "Cached",
    "Distillation",
    "Ema",
    "Ensemble",
    "Exit",
    "Frozen",
    "Graph",
    "Learner",
    "Memory",
    "Source",
    "TeacherCache",
    "Term",
    "cache_size_text",
    "cacheable_teachers",
    "check_method",
    "check_terms",
    "distillation",
    "distillation_from_terms",
    "fill_cache",
    "method_options",
    "pair_stages",
    "teacher_role",
    "tells_teachers_apart",
    "use_caches",
]
