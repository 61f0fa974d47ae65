"""What a reader was asked for, checked beyond its type, and taken out of what it found. Not here: the options' types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from limbeck.data.radio.record import Signals
from limbeck.errors import InputError, unknown_name

__all__ = ["HIGHEST_RATE", "check_choices", "choose"]

HIGHEST_RATE = 1e15  # Hz: what lies beyond is no rate of samples


def check_choices(
    classes: Sequence[str] | None = None, snrs: Sequence[float] | None = None, *, sample_rate: float | None = None
) -> None:
    """Refuse values that leave nothing, or mean nothing; None = not asked for.

    Raises:
        InputError: no class or SNR at all, one twice, an SNR or a rate that is no finite number, a rate of 0 or less.
    """
    for field, values in (("classes", classes), ("snrs", snrs)):
        if values is not None and (isinstance(values, str) or not values or len(set(values)) < len(values)):
            given = values if isinstance(values, str) else list(values)
            raise InputError(f"{field}: must name at least one, each once; got {given!r}")
    for snr in snrs or ():
        if isinstance(snr, bool) or not isinstance(snr, int | float | np.number) or not math.isfinite(snr):
            raise InputError(f"snrs: must be finite numbers in dB, got {snr!r}")
    if sample_rate is not None and (
        isinstance(sample_rate, bool) or not isinstance(sample_rate, int | float) or not 0 < sample_rate <= HIGHEST_RATE
    ):
        raise InputError(f"sample_rate: must be a finite number of Hz above 0, got {sample_rate!r}")


def choose(found: Signals, classes: Sequence[str] | None, snrs: Sequence[float] | None) -> Signals:
    """Only frames of these classes, in their order, and of these levels of SNR; the same where neither is given.

    Raises:
        InputError: as `check_choices`, or one of them is not there.
    """
    check_choices(classes, snrs)
    if classes is None and snrs is None:
        return found
    names = found.classes if classes is None else tuple(classes)
    for name in names:
        if name not in found.classes:
            raise unknown_name("class", str(name), found.classes, where="data.options.classes")
    new = np.full(len(found.classes), -1)
    new[[found.classes.index(name) for name in names]] = np.arange(len(names))
    y = new[found.y]
    wanted = y >= 0
    if snrs is not None:
        if found.levels is None:
            raise InputError("data.options.snrs: the set does not say the SNR of its frames; leave it out")
        there = np.unique(found.levels)
        for level in snrs:
            if level not in there:
                levels = ", ".join(f"{one:g}" for one in there)
                raise InputError(f"data.options.snrs: no frame at {level:g} dB (there are {levels})")
        wanted &= np.isin(found.levels, np.array(snrs, np.float32))
    rows = np.flatnonzero(wanted)
    if not len(rows):
        raise InputError(f"data.options: no frame of {', '.join(names[:5])} at the SNRs that are asked for")
    return replace(
        found,
        X=np.ascontiguousarray(found.X[rows]),
        y=y[rows],
        snr=None if found.snr is None else found.snr[rows],
        levels=None if found.levels is None else found.levels[rows],
        classes=names,
        groups=None if found.groups is None else found.groups[rows],
    )
