"""What a candidate may cost, and what it does cost. Nothing here measures: the figures are handed in."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from math import isfinite

from limbeck.errors import InputError

__all__ = ["CandidateCost", "Ceilings", "latency_problem"]


@dataclass(frozen=True)
class CandidateCost:
    """What timing a candidate returned.

    Attributes:
        latency_ms: the budgeted statistic, measured on the exported candidate.
        size_bytes: size of the exported file; None where no file was written.
        peak_memory_bytes: that loading and running it adds on the device; None where it was not looked for.
        metrics: further figures by name, such as the ratio to the interleaved reference.
    """

    latency_ms: float
    size_bytes: int | None = None
    peak_memory_bytes: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ceilings:
    """Hard upper bounds of a candidate's cost; None = unbounded.

    Raises:
        InputError: a bound is not a positive number.
    """

    max_latency_ms: float | None = None
    max_params: int | None = None
    max_macs: int | None = None
    max_size_bytes: int | None = None
    max_peak_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, bound in asdict(self).items():
            if bound is not None and not (isfinite(bound) and bound > 0):
                raise InputError(f"{name} = {bound}: a ceiling must be a positive number")

    def violations(
        self,
        *,
        latency_ms: float | None = None,
        params: int | None = None,
        macs: int | None = None,
        size_bytes: int | None = None,
        peak_memory_bytes: int | None = None,
    ) -> list[str]:
        """Name every ceiling that the known figures exceed; empty = within all of them.

        Example:
            >>> Ceilings(max_params=1000, max_latency_ms=2.0).violations(params=1500)
            ['params 1,500 > max_params 1,000']
        """
        known = {
            "latency_ms": latency_ms,
            "params": params,
            "macs": macs,
            "size_bytes": size_bytes,
            "peak_memory_bytes": peak_memory_bytes,
        }
        return [
            f"{name} {figure:,.6g} > max_{name} {bound:,.6g}"
            if isinstance(figure, float)
            else f"{name} {figure:,} > max_{name} {bound:,}"
            for name, bound in self._bounds().items()
            if (figure := known[name]) is not None and figure > bound
        ]

    def constraints(
        self,
        *,
        latency_ms: float | None = None,
        params: int | None = None,
        macs: int | None = None,
        size_bytes: int | None = None,
        peak_memory_bytes: int | None = None,
    ) -> list[float]:
        """The figures in Optuna's form: one number per ceiling in force, above zero = violated.

        The number is the excess as a share of the ceiling, so that milliseconds and bytes weigh alike. A figure that is
        not known yet counts as met: samplers need the same number of constraints from every trial.
        """
        known = {
            "latency_ms": latency_ms,
            "params": params,
            "macs": macs,
            "size_bytes": size_bytes,
            "peak_memory_bytes": peak_memory_bytes,
        }
        return [
            (figure / bound - 1.0) if (figure := known[name]) is not None else 0.0
            for name, bound in self._bounds().items()
        ]

    def describe(self) -> str:
        """The ceilings in force, in words."""
        return ", ".join(f"max_{name} = {bound:,}" for name, bound in self._bounds().items()) or "no ceiling"

    def _bounds(self) -> dict[str, float]:
        given = {one.name.removeprefix("max_"): getattr(self, one.name) for one in fields(self)}
        return {name: bound for name, bound in given.items() if bound is not None}


def latency_problem(latency_ms: float | None) -> str:
    """What is wrong with a candidate's latency, in words; empty when nothing is."""
    if latency_ms is not None and isfinite(latency_ms) and latency_ms > 0:
        return ""
    return f"latency_ms is {latency_ms}, not a finite number above 0"
