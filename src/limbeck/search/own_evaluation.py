"""Anyone's evaluation: a function of a point that tells accuracy and latency at once, checked and searched with.

Not here: the study itself (`study`), and where evaluations run (`evaluators`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import InputError
from limbeck.search.ceilings import Ceilings
from limbeck.search.result import StudyResult
from limbeck.search.space import Point, Space
from limbeck.search.study import run_study
from limbeck.types import Evaluation

__all__ = ["EvaluateAnything", "OwnEvaluation", "search_space"]

COUNTS = ("params", "macs", "size_bytes", "peak_memory_bytes")

EvaluateAnything = Callable[..., Mapping[str, float]]


@dataclass(frozen=True)
class OwnEvaluation:
    """Calls anyone's function with what it names, and makes an `Evaluation` of the figures that it gives.

    Attributes:
        evaluate: as in `search_space`.
        budget: handed to it as `budget`.
    """

    evaluate: EvaluateAnything
    budget: Ceilings

    def __call__(self, point: Point, seed: int, **share: float) -> Evaluation:
        """Evaluate a point.

        Raises:
            InputError: a figure is missing, or one that cannot be.
        """
        figures = self.figures(point, seed=seed, **{"share": 1.0, **share})
        metrics = {name: value for name, value in figures.items() if name not in ("accuracy", "latency_ms", *COUNTS)}
        counts = {name: int(figures[name]) for name in COUNTS if name in figures}
        return Evaluation(
            "complete",
            accuracy=figures["accuracy"],
            latency_ms=figures["latency_ms"],
            params=counts.get("params"),
            macs=counts.get("macs"),
            size_bytes=counts.get("size_bytes"),
            peak_memory_bytes=counts.get("peak_memory_bytes"),
            metrics=metrics,
        )

    def figures(self, point: Point, **given: Any) -> dict[str, float]:
        """What the function gives for a point, as plain floats.

        Args:
            point: a copy is handed over.
            given: offered by name beside `budget`.

        Raises:
            InputError: as `__call__`.
        """
        offered, named = {"budget": self.budget, **given}, self.named()
        found = self.evaluate(
            dict(point), **{name: one for name, one in offered.items() if named is None or name in named}
        )
        if not isinstance(found, Mapping):
            raise InputError(f"evaluate gave a {type(found).__name__}, expected accuracy and latency_ms by name")
        for name in ("accuracy", "latency_ms"):
            if name not in found:
                raise InputError(f"evaluate gave no {name}, only {', '.join(map(str, found)) or 'nothing'}")
        return {str(name): _checked(str(name), value) for name, value in found.items()}

    def named(self) -> set[str] | None:
        """What the function may be handed by name; None = anything."""
        parameters = inspect.signature(self.evaluate).parameters.values()
        if any(one.kind is one.VAR_KEYWORD for one in parameters):
            return None
        return {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}


def _checked(name: str, value: Any) -> float:
    """A figure as a float: finite; what is named by us not negative, and a latency above 0."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    least = "above 0" if name == "latency_ms" else "of at least 0" if name in ("accuracy", *COUNTS) else ""
    is_low = number <= 0 if name == "latency_ms" else number < 0 and bool(least)
    if not math.isfinite(number) or is_low:
        raise InputError(f"evaluate gave {name} = {value!r}, expected a finite number {least}".rstrip())
    return number


def search_space(
    space: Space,
    evaluate: EvaluateAnything,
    *,
    folder: str | Path,
    trials: int,
    batch: int = 4,
    seed: int = 0,
    budget: Ceilings | None = None,
    **study: Any,
) -> StudyResult:
    """Search a space by anyone's evaluation; killed at any moment, the same call goes on.

    Args:
        space: what is searched; nothing of it is built here.
        evaluate: called as `evaluate(point, budget=..., seed=...)` with those of `budget` (the ceilings), `seed` (the
            search's) and `share` (of the whole evaluation, where the search has a `halving`) that it names. Gives
            `accuracy` and `latency_ms` by name; `params`, `macs`, `size_bytes` and `peak_memory_bytes` where a ceiling
            bounds them; any other number is kept as a metric. An error, or a figure that is missing, not finite or
            negative, fails that candidate with its reason. Must be picklable for several `workers`.
        folder: of the ledger and its lock.
        trials: candidates that are evaluated.
        batch: candidates that are proposed at once.
        seed: of the proposals and of every evaluation.
        budget: hard ceilings: a candidate over one is pruned; None = none.
        study: further arguments of `run_study`, such as `sampler`, `objective`, `halving`, `workers`, `storage`,
            `higher_is_better`, and `identity`: what must be the same for the search to go on.

    Raises:
        InputError: as `run_study`; `evaluate` cannot be called, or takes no `share` where there is a halving.
        Stopped: SIGINT or SIGTERM; the same call goes on from there.

    Example:
        >>> import tempfile
        >>> space = Space("toy", {"width": (8, 16, 24)}, dict, {"width": 8})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = search_space(
        ...         space,
        ...         lambda point, *, budget, seed: {"accuracy": point["width"] / 32, "latency_ms": point["width"] / 8},
        ...         folder=folder,
        ...         trials=8,
        ...         sampler="random",
        ...         budget=Ceilings(max_latency_ms=2.5),
        ...     )
        >>> found.best["point"], found.best["latency_ms"]
        ({'width': 16}, 2.0)
    """
    if not callable(evaluate):
        raise InputError(f"evaluate: is a {type(evaluate).__name__}, not a function of a point")
    ceilings = budget or Ceilings()
    own = OwnEvaluation(evaluate, ceilings)
    if study.get("halving") is not None and (named := own.named()) is not None and "share" not in named:
        raise InputError("halving: evaluate must take share, how much of the whole evaluation to do; give it that name")
    return run_study(
        space,
        folder=folder,
        trials=trials,
        batch=batch,
        seed=seed,
        ceilings=ceilings,
        time_candidates=None,
        cheap_cost=None,
        evaluate=own,
        **study,
    )
