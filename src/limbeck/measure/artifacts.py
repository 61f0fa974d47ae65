"""From exported files to measurement records, on any device. How a device gets its samples is the device's."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.measure.timing import compare, drift, is_steady, summarize
from limbeck.protocols import Device
from limbeck.types import Artifact, Measurement

__all__ = ["measure_artifacts"]


def measure_artifacts(
    device: Device,
    artifacts: Sequence[Artifact],
    *,
    warmup: int = 30,
    runs: int = 300,
    reference: Artifact | None = None,
    memory: bool = True,
) -> list[Measurement]:
    """Time artifacts together, in turn, and describe each.

    Args:
        device: where.
        artifacts: what; the answers come in this order.
        warmup: untimed calls per artifact.
        runs: timed calls per artifact; a device may take fewer of a slow one.
        reference: timed in turn with the others, to give each its `ratio_to_reference`: a neighbour's load moves
            a latency far more than it moves this ratio.
        memory: whether to find the peak memory too (one more process per artifact).

    Raises:
        InputError: the device refuses a file.
    """
    if not artifacts:
        return []
    timed = [*artifacts, reference] if reference is not None else list(artifacts)
    samples = device.time(timed, warmup=warmup, runs=runs, interleave=len(timed) > 1)
    info = device.describe()
    find_placement = getattr(device, "placement", None)  # outside devices need not know it
    measurements = []
    for artifact, taken in zip(artifacts, samples[: len(artifacts)], strict=True):
        relation = compare(taken, samples[-1]) if reference is not None else None
        measurements.append(
            Measurement(
                artifact=artifact.path,
                precision=artifact.precision,
                info=info,
                latency_ms=summarize(taken),
                peak_memory_bytes=device.peak_memory(artifact) if memory else None,
                size_bytes=artifact.size_bytes,
                drift=drift(taken),
                steady=is_steady(taken),
                ratio_to_reference=relation.ratio if relation else None,
                ratio_interval=(relation.low, relation.high) if relation else None,
                placement=find_placement(artifact) if find_placement is not None else None,
            )
        )
    return measurements
