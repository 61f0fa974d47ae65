"""Where a search and an adaptation take latencies from: the device itself, or a table that was measured on it before.

Not here: the making of such a table (`latency_table`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from limbeck.console import say
from limbeck.errors import InputError
from limbeck.files import fingerprint
from limbeck.measure import open_device
from limbeck.measure.latency_predictor import LatencyPredictor, usable_networks
from limbeck.measure.latency_table import LatencyTable
from limbeck.models import Network, Table, build
from limbeck.pipeline.budget import time_networks, time_reference
from limbeck.pipeline.context import Context
from limbeck.recipe import Adapt, Search

__all__ = [
    "DeviceLatencies",
    "ToldLatencies",
    "check_latency_table",
    "open_latencies",
    "open_latency_source",
    "table_key",
]

Candidate = Table | Network


class DeviceLatencies:
    """Latencies as measured: every network is exported and timed in turn with a reference.

    Attributes:
        reference_ms: of the reference.
    """

    def __init__(self, context: Context, reference: Network, folder: Path) -> None:
        self._context, self._reference, self._probes = context, reference, folder / "probes"
        self.reference_ms: float = time_reference(context, reference, folder)["latency_ms"]

    def time(self, several: Sequence[Candidate]) -> list[dict[str, Any] | Exception]:
        """Of each `latency_ms`, `raw_ms`, `ratio`, `size_bytes` and `peak_memory_bytes`, or why it cannot be had.

        The latency is the ratio to the interleaved reference in milliseconds: what a device that drifts moves least.
        """
        timed = time_networks(self._context, _built(several), self._probes, reference=self._reference)
        return [
            one
            if isinstance(one, Exception)
            else {**one, "raw_ms": one["latency_ms"], "latency_ms": one["ratio"] * self.reference_ms}
            for one in timed
        ]

    def as_json(self, chosen: Mapping[int, Candidate]) -> dict[str, Any]:
        """For the stage's result. Of those that were `chosen` there is nothing to add: they were measured."""
        return {"source": "device"}


class ToldLatencies:
    """Latencies from a table of kernels: no file is exported for them, and a network beyond the table is refused.

    Attributes:
        reference_ms: of the reference; None where it lies beyond the table.
        predictor: what tells.
    """

    def __init__(
        self, context: Context, predictor: LatencyPredictor, reference: Network, folder: Path, *, path: str, where: str
    ) -> None:
        self._context, self.predictor, self._probes, self._path = context, predictor, folder / "probes", path
        self._where = where
        told = self._latency(reference)
        self.reference_ms = None if isinstance(told, Exception) else told

    def time(self, several: Sequence[Candidate]) -> list[dict[str, Any] | Exception]:
        """Of each `latency_ms`, or why the table cannot tell it."""
        found = [self._latency(one) for one in several]
        return [one if isinstance(one, Exception) else {"latency_ms": one} for one in found]

    def as_json(self, chosen: Mapping[int, Candidate]) -> dict[str, Any]:
        """For the stage's result: source, table, its error, and what the device says of the `chosen`, by their number."""
        numbers, networks = list(chosen), _built(list(chosen.values()))
        timed, beside = time_networks(self._context, networks, self._probes), []
        for number, network, one in zip(numbers, networks, timed, strict=True):
            told = self._latency(network)
            if isinstance(told, Exception) or isinstance(one, Exception):
                continue
            beside.append({"number": number, "told_ms": told, "measured_ms": one["latency_ms"]})
            say(f"{self._where}: the device takes {one['latency_ms']:.3g} ms where {told:.3g} ms was told")
        error = self.predictor.error.as_json()
        return {"source": self.predictor.source, "table": self._path, "error": error, "beside": beside}

    def _latency(self, candidate: Candidate) -> float | Exception:
        table = candidate if isinstance(candidate, Table) else candidate.table
        pictures, samples = self._context.splits.image_size, self._context.problem.samples
        if table is None:
            return InputError("a latency table tells only of networks that are built from tables; take the device")
        if self.predictor.table.sample_size is None and table.input_size != pictures:
            return InputError(
                f"{self._path}: was measured without the resize of {_size(pictures)} {samples} to {_size(table.input_size)}; "
                "measure a table for this recipe"
            )
        (told,) = self.predictor.latencies([table])
        return told


def open_latency_source(
    context: Context, section: Search | Adapt, reference: Network, folder: Path, *, where: str
) -> DeviceLatencies | ToldLatencies:
    """What the section asks for, said in one line where it is not the device.

    Args:
        context: of the run.
        section: that has `latency` and `latency_table`.
        reference: the network that others are timed beside.
        folder: of the stage.
        where: the stage, for what is said.

    Raises:
        InputError: the table cannot be used, or the reference not be timed.
    """
    if section.latency == "device":
        return DeviceLatencies(context, reference, folder)
    path = section.latency_table
    assert path is not None  # the recipe is refused otherwise
    predictor = LatencyPredictor(_read_table(context, section, where=where), source=section.latency)
    say(f"{where}: latencies from {path}, by {section.latency}: {predictor.error}")
    return ToldLatencies(context, predictor, reference, folder, path=path, where=where)


def check_latency_table(context: Context, section: Search | Adapt, *, where: str) -> None:
    """Check the section's table before any work; nothing is fitted.

    Raises:
        InputError: the table is missing, damaged, too small, another device's, or of pictures of another size.
    """
    if section.latency != "device":
        _read_table(context, section, where=where)


def table_key(section: Search | Adapt) -> str | None:
    """Changes when the latencies in the section's table do, so that the stage is redone then."""
    if section.latency_table is None:
        return None
    return fingerprint([section.latency, Path(section.latency_table).read_text(encoding="utf-8")])


def open_latencies(
    path: str | Path, *, source: Literal["table", "predictor"], target: str, statistic: str
) -> LatencyPredictor:
    """What tells latencies without a device: fitted to a table that was measured on this very one.

    Raises:
        InputError: the table is missing, damaged, too small, or another device's.
    """
    return LatencyPredictor(_checked(LatencyTable.load(path), path, target, statistic), source=source)


def _read_table(context: Context, section: Search | Adapt, *, where: str) -> LatencyTable:
    budget, pictures, path = context.recipe.budget, context.splits.image_size, section.latency_table
    assert path is not None  # the recipe is refused otherwise
    try:
        table = _checked(LatencyTable.load(path), path, budget.target, budget.statistic)
        if table.sample_size not in (None, pictures):
            raise InputError(
                f"{path}: latencies with {_size(table.sample_size)} {context.problem.samples}, the recipe's are {_size(pictures)}; "
                "measure a table for these"
            )
        usable_networks(table, section.latency)
    except InputError as error:
        raise InputError(f"{where}.latency_table: {error}") from error
    return table


def _checked(table: LatencyTable, path: str | Path, target: str, statistic: str) -> LatencyTable:
    now, then = open_device(target).describe(), table.device
    for what, known, wanted in (
        ("device", (then.device, then.target), (now.device, now.target)),
        ("runtime", (then.runtime, then.runtime_version), (now.runtime, now.runtime_version)),
        ("statistic", (table.statistic,), (statistic,)),
    ):
        if known != wanted:
            raise InputError(
                f"{path}: latencies of another {what} ({' '.join(known)}, the budget's is {' '.join(wanted)}); "
                "measure a table for this one"
            )
    return table


def _built(several: Sequence[Candidate]) -> list[Network]:
    return [build(one) if isinstance(one, Table) else one for one in several]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
