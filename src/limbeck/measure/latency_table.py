"""Latencies of a device's kernels and of some whole networks, measured once and kept: what a search looks up.

Not here: what a kernel is (`kernels`), latencies of what was not measured (`latency_predictor`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from limbeck.errors import InputError
from limbeck.files import read_json, write_json
from limbeck.measure.kernels import Kernel, kernels_of
from limbeck.models import Table
from limbeck.types import DeviceInfo

__all__ = ["LatencyTable", "distinct_kernels", "measure_latency_table"]

SCHEMA = 1
Piece = TypeVar("Piece")
BATCH = 16  # pieces timed in one call, and lost by a kill

Times = Sequence["float | Exception"]


@dataclass
class LatencyTable:
    """What was measured on one device.

    Attributes:
        device: where; latencies of another are refused.
        statistic: of the samples, `median` or `p90`.
        kernels: key -> (kernel, milliseconds).
        networks: (table, milliseconds) of whole networks.
        failed: key or table's fingerprint -> why it could not be measured.
        sample_size: (height, width) of the pictures that the whole networks were given, resized within them where their
            own size is another; None = each network's own.
        anchor: a network and its milliseconds, by which all others were told; kept, so that what is measured later has
            the same scale.
    """

    device: DeviceInfo
    statistic: str = "median"
    kernels: dict[str, tuple[Kernel, float]] = field(default_factory=dict)
    networks: list[tuple[Table, float]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    sample_size: tuple[int, int] | None = None
    anchor: tuple[Table, float] | None = None

    def look_up(self, kernel: Kernel) -> float:
        """Milliseconds of a kernel as measured on its own.

        Raises:
            InputError: it was not measured.
        """
        try:
            return self.kernels[kernel.key][1]
        except KeyError:
            raise InputError(
                f"latency table of {self.device.target}: {kernel.describe()} was not measured; "
                "measure it too, or use the predictor or the device"
            ) from None

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(
            path,
            {
                "schema": SCHEMA,
                "device": asdict(self.device),
                "statistic": self.statistic,
                "sample_size": self.sample_size,
                "anchor": None if self.anchor is None else _timed_network(*self.anchor),
                "kernels": [{"kernel": kernel.to_json(), "ms": ms} for kernel, ms in self.kernels.values()],
                "networks": [_timed_network(*one) for one in self.networks],
                "failed": self.failed,
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        tree = read_json(path)
        if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
            raise InputError(f"{path}: is not a latency table (schema {SCHEMA})")
        try:
            pieces = [(Kernel.from_json(one["kernel"], where=str(path)), float(one["ms"])) for one in tree["kernels"]]
            size, anchor = tree.get("sample_size"), tree.get("anchor")
            return cls(
                DeviceInfo(**tree["device"]),
                tree["statistic"],
                {kernel.key: (kernel, ms) for kernel, ms in pieces},
                [_read_network(one, path) for one in tree["networks"]],
                dict(tree["failed"]),
                None if size is None else (int(size[0]), int(size[1])),
                None if anchor is None else _read_network(anchor, path),
            )
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a whole latency table ({type(error).__name__}: {error})") from error


def distinct_kernels(tables: Iterable[Table]) -> list[Kernel]:
    """Every different piece of some networks, in order of their first appearance."""
    return list({kernel.key: kernel for table in tables for kernel in kernels_of(table)}.values())


def measure_latency_table(
    path: str | Path,
    *,
    device: DeviceInfo,
    kernels: Sequence[Kernel],
    networks: Sequence[Table],
    time_kernels: Callable[[list[Kernel]], Times],
    time_networks: Callable[[list[Table]], Times],
    statistic: str = "median",
    sample_size: tuple[int, int] | None = None,
    anchor: tuple[Table, float] | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> LatencyTable:
    """Measure what is missing in the file at `path` and leave the whole there; a kill loses one batch of timings.

    Args:
        path: of the table; made, or filled up.
        device: that is measured.
        kernels: to measure, such as `distinct_kernels` of sampled networks.
        networks: whole ones, to join kernels to networks and to tell the error: a sample of the space, in random order.
        time_kernels: kernels -> milliseconds each, or what went wrong.
        time_networks: tables -> milliseconds each, or what went wrong.
        statistic: of the samples that both return.
        sample_size: as in `LatencyTable`.
        anchor: as in `LatencyTable`; of a new file.
        on_progress: told how many of how many missing pieces are done, before the first and after every batch.

    Raises:
        InputError: the file holds latencies of another device, statistic or size of pictures, or cannot be written.
    """
    path = Path(path)
    table = (
        LatencyTable.load(path)
        if path.exists()
        else LatencyTable(device, statistic, sample_size=sample_size, anchor=anchor)
    )
    for name, known, now in (
        ("device", (table.device.device, table.device.target), (device.device, device.target)),
        ("runtime", (table.device.runtime, table.device.runtime_version), (device.runtime, device.runtime_version)),
        ("statistic", (table.statistic,), (statistic,)),
        ("size of pictures", (_size_in_words(table.sample_size),), (_size_in_words(sample_size),)),
    ):
        if known != now:
            raise InputError(
                f"{path}: latencies of another {name} ({' '.join(known)}, now {' '.join(now)}); choose another file"
            )
    whole = {one.fingerprint() for one, _ in table.networks} | set(table.failed)
    missing = [one for one in kernels if one.key not in table.kernels and one.key not in table.failed]
    untimed = list({key: one for one in networks if (key := one.fingerprint()) not in whole}.values())
    total, done = len(missing) + len(untimed), 0
    if on_progress is not None:
        on_progress(0, total)
    for start in range(0, len(missing), BATCH):
        batch = missing[start : start + BATCH]
        for kernel, ms in _timed(time_kernels, batch):
            if isinstance(ms, Exception):
                table.failed[kernel.key] = f"{kernel.describe()}: {ms}"
            else:
                table.kernels[kernel.key] = (kernel, ms)
        table.save(path)
        done += len(batch)
        if on_progress is not None:
            on_progress(done, total)
    for start in range(0, len(untimed), BATCH):
        several = untimed[start : start + BATCH]
        for network, ms in _timed(time_networks, several):
            if isinstance(ms, Exception):
                table.failed[network.fingerprint()] = f"{network.name}: {ms}"
            else:
                table.networks.append((network, ms))
        table.save(path)
        done += len(several)
        if on_progress is not None:
            on_progress(done, total)
    return table


def _timed_network(table: Table, ms: float) -> dict[str, Any]:
    return {"table": table.to_json(), "ms": ms}


def _read_network(tree: dict[str, Any], path: str | Path) -> tuple[Table, float]:
    return Table.from_json(tree["table"], where=str(path)), float(tree["ms"])


def _size_in_words(size: tuple[int, int] | None) -> str:
    return "each network's own" if size is None else f"{size[0]}x{size[1]}"


def _timed(time: Callable[[list[Piece]], Times], pieces: list[Piece]) -> list[tuple[Piece, float | Exception]]:
    answers = time(pieces)
    if len(answers) != len(pieces):
        raise ValueError(f"{len(answers)} latencies for {len(pieces)} pieces")
    return list(zip(pieces, answers, strict=True))
