"""Distillation of points by two ready teachers. No formulas: those are in `losses`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from limbeck.distill.graph import Graph
from limbeck.distill.sources import Frozen, Learner
from limbeck.distill.term import Term
from limbeck.errors import InputError, unknown_name

__all__ = ["OF_POINTS", "two_teacher"]

OF_POINTS = frozenset(
    [
        *("landmark_main", "landmark_l1", "landmark_l2", "landmark_smooth_l1", "wing", "adaptive_wing"),
        *("assistive", "released_main", "landmark_kd", "asmnet"),
    ]
)
"""Losses whose targets are points, [N, L, 2]."""

USES = ("both", "tough", "tolerant", "none")


def two_teacher(
    student: nn.Module,
    ready_teachers: Sequence[nn.Module],
    *,
    use: Literal["both", "tough", "tolerant", "none"] = "both",
    variant: Literal["paper", "release"] = "paper",
    weight_main: float | None = None,
    weight_tough: float = 1.0,
    weight_tolerant: float = 1.0,
) -> Graph:
    """Landmarks from two ready teachers: a tough one that learned the truth, then a tolerant one that learned smoothed truth.

    `use` leaves one or both of their assistive losses out, to see what each gives; the release's main loss goes by the
    tolerant teacher's errors all the same. `weight_main` is 2.5 in the paper's form, 2.0 in the release's.
    """
    if len(ready_teachers) != 2:
        raise InputError(
            f"method 'two_teacher': needs two ready teachers, the tough one first; got {len(ready_teachers)}"
        )
    if use not in USES:
        raise unknown_name("use", use, USES, where="method 'two_teacher'")
    options = {
        "variant": variant,
        "weight_tough": weight_tough if use in ("both", "tough") else 0.0,
        "weight_tolerant": weight_tolerant if use in ("both", "tolerant") else 0.0,
        **({} if weight_main is None else {"weight_main": weight_main}),
    }
    tough, tolerant = "tough", "tolerant"
    if options["weight_tough"] == 0:
        tough = tolerant  # the other stands in the place of one without a say, so that one of them runs and not both
    elif options["weight_tolerant"] == 0 and variant == "paper":
        tolerant = tough
    ready = dict(zip(("tough", "tolerant"), ready_teachers, strict=True))
    sources = {"student": Learner(student), **{name: Frozen(ready[name]) for name in dict.fromkeys((tough, tolerant))}}
    return Graph(sources, [Term("landmark_kd", teacher=(tough, tolerant), options=options)])
