"""Latency before training: a network's exported probe timed on the budget's device, and held against the budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.errors import InputError, LimbeckError
from limbeck.export import export_probe
from limbeck.files import read_json, write_json
from limbeck.measure import measure_artifacts, open_device
from limbeck.models import Network
from limbeck.pipeline.context import Context
from limbeck.protocols import Device
from limbeck.search import Ceilings
from limbeck.types import Artifact, Measurement

__all__ = [
    "ANCHOR_TIMINGS",
    "PROBE_RUNS",
    "PROBE_WARMUP",
    "adapt_target",
    "ceilings_of",
    "check_budget",
    "search_ceilings",
    "time_networks",
    "time_reference",
]

PROBE_WARMUP = 10
PROBE_RUNS = 100
ANCHOR_TIMINGS = 3  # of which the least counts: what disturbs a timing only ever makes it longer
NOISE = 1.1  # a network up to so many times over the latency ceiling is let through here: the final timing tells


def ceilings_of(context: Context) -> Ceilings:
    """The recipe's budget in the search's own record."""
    budget = context.recipe.budget
    return Ceilings(
        max_latency_ms=budget.max_latency_ms,
        max_params=budget.max_params,
        max_macs=budget.max_macs,
        max_size_bytes=budget.max_size_bytes,
        max_peak_memory_bytes=budget.max_peak_memory_bytes,
    )


def search_ceilings(context: Context) -> Ceilings:
    """What the search may choose within: with `[adapt]` after it, what that can bring below the budget, or its headroom
    above what it is to reach.
    """
    adapt, ceilings = context.recipe.adapt, ceilings_of(context)
    if adapt is None:
        return ceilings
    if adapt.share is None:
        return replace(ceilings, max_latency_ms=adapt.headroom * adapt_target(context))
    most = ceilings.max_latency_ms
    return ceilings if most is None else replace(ceilings, max_latency_ms=most / adapt.share)


def adapt_target(context: Context, seed_ms: float | None = None) -> float:
    """The latency that `[adapt]` is to reach.

    Args:
        context: of the run.
        seed_ms: latency of the seed, of which a recipe may ask for a share.

    Raises:
        InputError: a share is asked for and the seed's latency is not known.
    """
    section, budget = context.recipe.adapt, context.recipe.budget
    assert section is not None
    if section.share is not None:
        if seed_ms is None:
            raise InputError("adapt.share: the seed lies beyond adapt.latency_table; measure a table for it")
        return section.share * seed_ms
    target = section.max_latency_ms or budget.max_latency_ms
    assert target is not None  # the recipe is refused otherwise
    return target


def check_budget(context: Context, network: Network, where: str, folder: Path) -> dict[str, Any]:
    """Time an untrained network, so that a student over the budget is refused before hours go into it.

    Raises:
        InputError: it is over one of the budget's ceilings.
    """
    budget = context.recipe.budget
    figures: dict[str, Any] = {
        "params": network.params(),
        "macs": network.macs(),
        "latency_ms": None,
        "size_bytes": None,
        "peak_memory_bytes": None,
    }
    if (budget.max_latency_ms or budget.max_size_bytes or budget.max_peak_memory_bytes) is not None:
        (timed,) = time_networks(context, [network], folder)
        if isinstance(timed, Exception):
            raise timed
        figures |= {name: timed[name] for name in ("latency_ms", "size_bytes", "peak_memory_bytes")}
        if budget.max_latency_ms is not None and timed["latency_ms"] <= NOISE * budget.max_latency_ms:
            figures["latency_ms"] = min(timed["latency_ms"], budget.max_latency_ms)
    broken = ceilings_of(context).violations(**figures)
    if broken:
        raise InputError(
            f"{where}: {'; '.join(broken)} on {budget.target}; take a smaller model, width_multiplier or input_size, or, "
            "of classes, a [search]"
        )
    return figures


def time_networks(
    context: Context, networks: list[Network], folder: Path, *, reference: Network | None = None
) -> list[dict[str, Any] | Exception]:
    """Export probes of networks and time them in turn on the budget's device, each against an interleaved reference.

    Returns:
        Per network: `latency_ms` (the budget's statistic), `ratio` (to the reference, None without one), `size_bytes` and
        `peak_memory_bytes` (None unless the budget bounds it); or what went wrong with its export, or with its file on the
        device.

    Raises:
        LimbeckError: the device refuses the reference too, or every file where there is none.
        InputError: the budget bounds the peak memory, and the device cannot tell it.
    """
    bounds_memory = context.recipe.budget.max_peak_memory_bytes is not None
    device = open_device(context.recipe.budget.target)
    statistic = context.recipe.budget.statistic
    folder.mkdir(parents=True, exist_ok=True)
    size = context.splits.image_size
    found: list[dict[str, Any] | Exception] = []
    artifacts = []
    for number, network in enumerate(networks):
        try:
            artifacts.append(export_probe(network, folder / f"probe{number}.onnx", sample_size=size))
            found.append({})
        except LimbeckError as error:
            found.append(error)
    anchor = None if reference is None else export_probe(reference, folder / "reference.onnx", sample_size=size)
    timed = iter(_measure(device, artifacts, anchor, memory=bounds_memory))
    for place, record in enumerate(found):
        if isinstance(record, dict):
            one = next(timed)
            if isinstance(one, LimbeckError):
                found[place] = one
                continue
            if bounds_memory and one.peak_memory_bytes is None:
                raise InputError(
                    f"budget.max_peak_memory_bytes: {context.recipe.budget.target} cannot tell the memory of a file; "
                    "leave it out"
                )
            record |= {
                "latency_ms": one.latency_ms.statistic(statistic),
                "ratio": one.ratio_to_reference,
                "size_bytes": one.size_bytes,
                "peak_memory_bytes": one.peak_memory_bytes,
            }
    for artifact in artifacts:
        Path(artifact.path).unlink(missing_ok=True)
    return found


def _measure(
    device: Device, artifacts: list[Artifact], anchor: Artifact | None, *, memory: bool
) -> list[Measurement | LimbeckError]:
    """Time files together; where that fails each by itself, which tells a file that the device refuses from one that is gone."""

    def measured(several: list[Artifact], reference: Artifact | None) -> list[Measurement]:
        return measure_artifacts(
            device, several, warmup=PROBE_WARMUP, runs=PROBE_RUNS, reference=reference, memory=memory
        )

    try:
        return list(measured(artifacts, anchor))
    except LimbeckError:
        if anchor is not None:
            measured([anchor], None)  # raises where it is the device
        found: list[Measurement | LimbeckError] = []
        for artifact in artifacts:
            try:
                found += measured([artifact], anchor)
            except LimbeckError as error:
                found.append(error)
        if anchor is None and all(isinstance(one, LimbeckError) for one in found):
            raise
        return found


def time_reference(context: Context, reference: Network, folder: Path) -> dict[str, Any]:
    """The reference's own latency, which turns the candidates' ratios into milliseconds; kept, so that a resume has the same.

    The least of several timings: an error here would shift every candidate against the ceiling.
    """
    kept = folder / "reference.json"
    if not kept.exists():
        timings = [time_networks(context, [reference], folder / "probes")[0] for _ in range(ANCHOR_TIMINGS)]
        for timed in timings:
            if isinstance(timed, Exception):
                raise timed
        write_json(kept, min(timings, key=lambda timed: timed["latency_ms"]))
    return read_json(kept)
