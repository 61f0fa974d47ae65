"""Latency without a file per network: a table of kernels measured on the budget's device, and what is fitted to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from limbeck.errors import InputError, LimbeckError
from limbeck.export import export_part, export_probe
from limbeck.measure import measure_artifacts, open_device
from limbeck.measure.kernels import Kernel, kernel_module
from limbeck.measure.latency_predictor import LatencyPredictor
from limbeck.measure.latency_table import LatencyTable, distinct_kernels, measure_latency_table
from limbeck.models import Table, build
from limbeck.types import Artifact

__all__ = ["build_latency_table", "open_latencies"]

WARMUP, RUNS = 10, 100


def build_latency_table(
    path: str | Path,
    tables: Sequence[Table],
    *,
    networks: Sequence[Table],
    target: str,
    statistic: str = "median",
    sample_size: tuple[int, int] | None = None,
    runs: int = RUNS,
    on_progress: Any = None,
) -> LatencyTable:
    """Measure a device's kernels and whole networks, in the file at `path`; what is there already stays.

    Args:
        path: of the table.
        tables: networks of the space whose kernels are timed, drawn at random.
        networks: those that are timed whole, drawn at random, to join kernels and to tell the error.
        target: the device.
        statistic: `median` or `p90`.
        sample_size: (height, width) of the pictures that networks are given; None = each network's own.
        runs: timed calls of each piece.
        on_progress: told how many of how many pieces are done.

    Raises:
        InputError: the device cannot be had, or the file holds another's latencies.
    """
    device = open_device(target)
    folder = Path(path).with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    first = tables[0]
    anchor = export_probe(build(first), folder / "anchor.onnx", sample_size=sample_size or first.input_size)
    (alone,) = measure_artifacts(device, [anchor], warmup=WARMUP, runs=runs, memory=False)
    anchor_ms = alone.latency_ms.statistic(statistic)  # type: ignore[arg-type]

    def time(artifacts: list[Artifact | Exception]) -> list[float | Exception]:
        """Through the ratio to the anchor that is timed in turn: what a device that drifts moves least."""
        files = [one for one in artifacts if isinstance(one, Artifact)]
        timed = iter(measure_artifacts(device, files, warmup=WARMUP, runs=runs, reference=anchor, memory=False))
        found: list[float | Exception] = []
        for one in artifacts:
            if isinstance(one, Exception):
                found.append(one)
                continue
            ratio = next(timed).ratio_to_reference
            assert ratio is not None  # a reference was given
            found.append(ratio * anchor_ms)
            Path(one.path).unlink(missing_ok=True)
        return found

    def time_kernels(kernels: list[Kernel]) -> list[float | Exception]:
        return time([_exported(kernel, folder / f"kernel{i}.onnx") for i, kernel in enumerate(kernels)])

    def time_networks(networks: list[Table]) -> list[float | Exception]:
        return time([_network(one, folder / f"network{i}.onnx", sample_size) for i, one in enumerate(networks)])

    try:
        return measure_latency_table(
            path,
            device=device.describe(),
            kernels=distinct_kernels(tables),
            networks=networks,
            time_kernels=time_kernels,
            time_networks=time_networks,
            statistic=statistic,
            on_progress=on_progress,
        )
    finally:
        for left in folder.glob("*.onnx"):
            left.unlink(missing_ok=True)
        folder.rmdir()


def open_latencies(
    path: str | Path, *, source: Literal["table", "predictor"], target: str, statistic: str
) -> LatencyPredictor:
    """What tells latencies without a device: fitted to a table that was measured on this very one.

    Raises:
        InputError: the table is missing, damaged, too small, or another device's.
    """
    table = LatencyTable.load(path)
    now = open_device(target).describe()
    for what, known, wanted in (
        ("device", (table.device.device, table.device.target), (now.device, now.target)),
        ("statistic", (table.statistic,), (statistic,)),
    ):
        if known != wanted:
            raise InputError(
                f"{path}: latencies of another {what} ({' '.join(known)}, the budget's is {' '.join(wanted)}); "
                "measure a table for this one"
            )
    return LatencyPredictor(table, source=source)


def _exported(kernel: Kernel, path: Path) -> Artifact | Exception:
    try:
        return export_part(kernel_module(kernel), path, shape=(kernel.entering, kernel.height, kernel.width))
    except LimbeckError as error:
        return error


def _network(table: Table, path: Path, sample_size: tuple[int, int] | None) -> Artifact | Exception:
    try:
        return export_probe(build(table), path, sample_size=sample_size or table.input_size)
    except LimbeckError as error:
        return error
