"""A table of latencies measured before a search or an adaptation: `limbeck latencies`. What uses it is in `latency`."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from limbeck.adapt import draw_narrowings
from limbeck.console import bar, say
from limbeck.errors import InputError, LimbeckError
from limbeck.export import export_part, export_probe
from limbeck.files import hold_lock
from limbeck.measure import measure_artifacts, open_device
from limbeck.measure.kernels import Kernel, kernel_module
from limbeck.measure.latency_predictor import LatencyPredictor, PredictionError
from limbeck.measure.latency_table import LatencyTable, distinct_kernels, measure_latency_table
from limbeck.models import Table, build
from limbeck.pipeline.adapt import seed_student
from limbeck.pipeline.budget import ANCHOR_TIMINGS, PROBE_RUNS, PROBE_WARMUP, ceilings_of
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.search import space_of
from limbeck.protocols import Device
from limbeck.recipe import Recipe
from limbeck.search import draw_points
from limbeck.types import Artifact

__all__ = ["build_latency_table", "draw_networks", "latencies_text", "measure_latencies"]

NETWORKS, KERNELS_OF = 120, 60
OVER = 100  # points in a row over a ceiling on parameters or MACs, after which no further one is drawn


def measure_latencies(
    recipe: Recipe,
    path: str | Path | None = None,
    *,
    networks: int = NETWORKS,
    kernels_of: int = KERNELS_OF,
    runs: int = PROBE_RUNS,
) -> dict[str, Any]:
    """Measure what the recipe's search or adaptation will ask for, in the file at `path`; what is there already stays.

    Args:
        recipe: with `[search]`, `[adapt]` or both.
        path: of the table; None = the recipe's `latency_table`, or else `latencies.json`.
        networks: drawn at random, and timed whole.
        kernels_of: how many of them have their kernels timed.
        runs: timed calls of each piece.

    Returns:
        `table` (the path), `device`, `kernels` and `networks` (how many it holds), `failed`, and `errors`: by source,
        `table` and `predictor`, how well it tells latencies, or in a line why it cannot.

    Raises:
        InputError: the recipe asks for no latencies, the device cannot be had, or the file holds another's.
    """
    sections = [one for one in (recipe.search, recipe.adapt) if one is not None]
    path = path or next((one.latency_table for one in sections if one.latency_table), "latencies.json")
    with tempfile.TemporaryDirectory() as scratch:
        context = Context(recipe, RunFolder(Path(scratch) / recipe.name))
        drawn = list(itertools.islice(draw_networks(context), networks))
        pieces = distinct_kernels(drawn[:kernels_of])
        say(f"latencies: {len(pieces):,} kernels and {len(drawn):,} networks on {recipe.budget.target}")
        total = len(pieces) + len(drawn)
        with bar("latencies", total, unit="piece") as progress:
            before = 0

            def on_progress(done: int, missing: int) -> None:
                nonlocal before
                there = total - missing + done
                progress.advance(there - before)
                before = there

            table = build_latency_table(
                path,
                drawn[:kernels_of],
                networks=drawn,
                target=recipe.budget.target,
                statistic=recipe.budget.statistic,
                sample_size=context.splits.image_size,
                runs=runs,
                on_progress=on_progress,
            )
    return {
        "table": str(path),
        "device": table.device.target,
        "kernels": len(table.kernels),
        "networks": len(table.networks),
        "failed": list(table.failed.values()),
        "errors": {source: _error(table, source) for source in ("table", "predictor")},
    }


def latencies_text(tree: dict[str, Any]) -> str:
    """What `measure_latencies` returned, for people."""
    failed = f", {len(tree['failed'])} failed; the first: {tree['failed'][0]}" if tree["failed"] else ""
    lines = [
        f"{tree['table']}: {tree['kernels']:,} kernels and {tree['networks']:,} networks on {tree['device']}{failed}"
    ]
    for source, error in tree["errors"].items():
        told = error if isinstance(error, str) else f"{PredictionError(**error)}, worst {error['worst']:.1%}"
        lines.append(f"{source:<9}  {told}")
    return "\n".join(lines)


def draw_networks(context: Context) -> Iterator[Table]:
    """Networks that the recipe's search and adaptation may ask for, at random: points of the space, narrowings, in turn.

    Raises:
        InputError: the recipe has neither section, or one that asks for nothing that a table could tell.
    """
    search, adapt = context.recipe.search, context.recipe.adapt
    if search is None and adapt is None:
        raise InputError("latencies: the recipe has neither [search] nor [adapt], so that nothing asks for them")
    several: list[Iterable[Table]] = []
    if search is not None:
        several.append(_draw_points(context, seed=search.seed))
    if adapt is not None:
        grid: dict[str, int] = {"grid": adapt.divisor, "min_width": adapt.min_width}
        if search is None:
            table = seed_student(context).table
            assert table is not None
            several.append(draw_narrowings(table, **grid, seed=adapt.seed))
        else:  # of any network that the search may find, one of each
            several.append(
                next(itertools.islice(draw_narrowings(table, **grid, seed=adapt.seed + number), 1, None), table)
                for number, table in enumerate(_draw_points(context, seed=search.seed))
            )
    for turn in itertools.zip_longest(*several):
        yield from (table for table in turn if table is not None)


def _draw_points(context: Context, *, seed: int) -> Iterator[Table]:
    space, ceilings, over = space_of(context), ceilings_of(context), 0
    for point in draw_points(space, seed=seed):
        built = space.candidate(point)
        table = built if isinstance(built, Table) else built.table
        if table is None:
            raise InputError(
                f"search.space '{space.name}': builds no tables, of which kernels could be told; take the device"
            )
        over = over + 1 if ceilings.violations(params=table.params(), macs=table.macs()) else 0
        if over >= OVER:
            return
        if over == 0:  # others are rejected before anyone asks for their latency
            yield table


def _error(table: LatencyTable, source: Any) -> dict[str, Any] | str:
    try:
        return LatencyPredictor(table, source=source).error.as_json()
    except InputError as error:
        return str(error)


def build_latency_table(
    path: str | Path,
    tables: Sequence[Table],
    *,
    networks: Sequence[Table],
    target: str,
    statistic: str = "median",
    sample_size: tuple[int, int] | None = None,
    runs: int = PROBE_RUNS,
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
        on_progress: told how many of how many missing pieces are done.

    Raises:
        InputError: the device cannot be had, the file holds another's latencies, or another process is at it.
    """
    device, path = open_device(target), Path(path)
    folder = path.with_suffix(".parts")
    # the lock's file stays: one that were deleted could be held by two, under its name and without
    with hold_lock(path.with_name(f".{path.name}.lock"), busy=f"another measurement of {path.name} is at work"):
        try:
            known = LatencyTable.load(path).anchor if path.exists() else None
            anchor = _Anchor(device, known or (tables[0], None), folder, statistic, sample_size, runs)
            return measure_latency_table(
                path,
                device=device.describe(),
                kernels=distinct_kernels(tables),
                networks=networks,
                time_kernels=lambda several: anchor.time([_exported(one, folder) for one in several]),
                time_networks=lambda several: anchor.time([_network(one, folder, sample_size) for one in several]),
                statistic=statistic,
                sample_size=sample_size,
                anchor=(anchor.table, anchor.latency_ms),
                on_progress=on_progress,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Anchor:
    """The network beside which all pieces are timed: a ratio to it is what a device that drifts moves least."""

    def __init__(
        self,
        device: Device,
        known: tuple[Table, float | None],
        folder: Path,
        statistic: Any,
        sample_size: tuple[int, int] | None,
        runs: int,
    ) -> None:
        self.table, self._device, self._runs = known[0], device, runs
        network = build(self.table)
        self._file = export_probe(network, folder / "anchor.onnx", sample_size=sample_size or self.table.input_size)
        self.latency_ms = known[1] or min(
            measure_artifacts(device, [self._file], warmup=PROBE_WARMUP, runs=runs, memory=False)[
                0
            ].latency_ms.statistic(statistic)
            for _ in range(ANCHOR_TIMINGS)
        )

    def time(self, artifacts: list[Artifact | Exception]) -> list[float | Exception]:
        """Milliseconds of each file, which is then gone."""
        files = [one for one in artifacts if isinstance(one, Artifact)]
        timed = iter(
            measure_artifacts(
                self._device, files, warmup=PROBE_WARMUP, runs=self._runs, reference=self._file, memory=False
            )
        )
        found: list[float | Exception] = []
        for one in artifacts:
            if isinstance(one, Exception):
                found.append(one)
                continue
            ratio = next(timed).ratio_to_reference
            assert ratio is not None  # a reference was given
            found.append(ratio * self.latency_ms)
            Path(one.path).unlink(missing_ok=True)
        return found


def _exported(kernel: Kernel, folder: Path) -> Artifact | Exception:
    shape = (kernel.entering, kernel.height, kernel.width)
    try:
        return export_part(kernel_module(kernel), folder / f"{kernel.key}.onnx", shape=shape)
    except LimbeckError as error:
        return error


def _network(table: Table, folder: Path, sample_size: tuple[int, int] | None) -> Artifact | Exception:
    try:
        path = folder / f"{table.fingerprint()}.onnx"
        return export_probe(build(table), path, sample_size=sample_size or table.input_size)
    except LimbeckError as error:
        return error
