"""Values of sampled signals between their samples. Not here: why somebody wants them (`audio`, `channel`)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["REACH", "interpolate"]

REACH = 8
"""Samples that `interpolate` reads on each side of a position."""

STEPS = 1024  # places between two samples that have taps of their own: a timing error of 2^-11 samples at most


@lru_cache(maxsize=1)
def tap_table() -> np.ndarray:
    """[2 REACH, STEPS + 1] taps of a sinc in a Kaiser window, by place between two samples; they sum to 1 at each."""
    places = np.arange(STEPS + 1) / STEPS
    distance = places - (np.arange(2 * REACH) - (REACH - 1))[:, None]
    window = np.i0(8.0 * np.sqrt(np.clip(1 - (distance / REACH) ** 2, 0, None)))
    taps = np.sinc(distance) * window
    return taps / taps.sum(0)


def interpolate(signals: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Read each signal at fractional positions; right up to about 0.4 of the sample rate.

    Sums run tap by tap in a fixed order, so that a row's values do not depend on the rows beside it.

    Args:
        signals: [n, m], real or complex.
        positions: [p], the same for all, or [n, p]; in samples, from REACH - 1 to m - REACH - 1.
    """
    table = tap_table()
    base = np.floor(positions).astype(np.intp)
    place = np.rint((positions - base) * STEPS).astype(np.intp)
    base = base - (REACH - 1)
    rows = np.arange(len(signals))[:, None]
    found = np.zeros((len(signals), positions.shape[-1]), signals.dtype)
    for tap, weights in enumerate(table):
        values = signals[:, base + tap] if positions.ndim == 1 else signals[rows, base + tap]
        found += values * weights[place]
    return found
