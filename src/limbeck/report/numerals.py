"""Numbers as people read them: percent, milliseconds, bytes, counts, durations. No opinion on what they mean."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

__all__ = [
    "DASH",
    "amount",
    "change",
    "duration",
    "figure",
    "is_share",
    "megabytes",
    "milliseconds",
    "moment",
    "percent",
    "spoken",
]

DASH = "–"
_SHARES = frozenset(
    {
        "top1",
        "top5",
        "accuracy",
        "f1",
        "macro_f1",
        "precision",
        "recall",
        "miou",
        "map",
        "ap",
        "ap50",
        "iou",
        "map50",
        "map75",
        "map_small",
        "map_medium",
        "map_large",
        "mar_100",
        "nme",
    }
)
_SHARES_START, _SHARES_END = ("ece", "mce", "nme_", "failure_rate_", "auc_"), ("_accuracy", "_ece")

_SPOKEN = {"nme": "NME", "auc": "AUC", "miou": "mIoU", "map": "mAP", "map50": "mAP50", "map75": "mAP75", "mar": "mAR"}


def is_share(metric: str) -> bool:
    """Tell whether a metric of this name lies in [0, 1] and is read as a percentage.

    Example:
        >>> [is_share(name) for name in ("top1", "ece_before", "ece_classwise", "nll")]
        [True, True, True, False]
    """
    name = metric.lower()
    return name in _SHARES or name.endswith(_SHARES_END) or name.startswith(_SHARES_START)


def spoken(metric: str) -> str:
    """A metric's name as people write it.

    Example:
        >>> spoken("miou"), spoken("map_small"), spoken("pixel_accuracy"), spoken("ece_classwise")
        ('mIoU', 'mAP small', 'pixel accuracy', 'ECE classwise')
    """
    first, *others = metric.replace("_", " ").split(" ")
    if first in ("ece", "nll", "mce"):
        first = first.upper()
    return " ".join([_SPOKEN.get(first, first), *others])


def three(value: float) -> str:
    """Write three significant digits, never in scientific notation.

    Example:
        >>> three(0.04123), three(3.996), three(1234.5)
        ('0.0412', '4.00', '1230')
    """
    value = float(f"{value:.3g}")
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def percent(value: float | None) -> str:
    """Write a share of 1 as percent with two decimals.

    Example:
        >>> percent(0.97222)
        '97.22 %'
    """
    return DASH if value is None else f"{100 * value:.2f} %"


def milliseconds(value: float | None) -> str:
    """Write milliseconds with three significant digits.

    Example:
        >>> milliseconds(4)
        '4.00 ms'
    """
    return DASH if value is None else f"{three(value)} ms"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if abs(float(f"{value:.3g}")) < 1000:
            return (f"{value:.0f}" if unit == units[0] else three(value)) + (f" {unit}" if unit else "")
        value /= 1000
    return f"{three(value)} {units[-1]}"


def megabytes(value: float | None) -> str:
    """Write bytes in B, kB, MB or GB (powers of 1000).

    Example:
        >>> megabytes(843_211), megabytes(999_999)
        ('843 kB', '1.00 MB')
    """
    return DASH if value is None else _scaled(value, ("B", "kB", "MB", "GB"))


def amount(value: float | None) -> str:
    """Write a large count in k, M or G.

    Example:
        >>> amount(950), amount(12_340_000)
        ('950', '12.3 M')
    """
    return DASH if value is None else _scaled(value, ("", "k", "M", "G"))


def duration(value: float | None) -> str:
    """Write seconds as people say them.

    Example:
        >>> duration(3.21), duration(252), duration(3800)
        ('3.2 s', '4 min 12 s', '1 h 03 min')
    """
    if value is None:
        return DASH
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    whole = round(value / 60)
    return f"{whole // 60} h {whole % 60:02d} min"


def moment(value: str | float | None) -> str:
    """Write a time stamp (ISO text or seconds since 1970) as date and time; other text as it is."""
    if value is None:
        return DASH
    try:
        when = (
            datetime.fromtimestamp(value).astimezone()
            if isinstance(value, (int, float))
            else datetime.fromisoformat(value)
        )
    except (ValueError, OverflowError, OSError):
        return str(value)
    return when.strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def figure(metric: str, value: Any) -> str:
    """Write a metric's value: percent where it is a share, else four significant digits."""
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return percent(value) if is_share(metric) else f"{value:.4g}"


def change(metric: str, value: float) -> str:
    """Write the size of a difference without its sign: percentage points where the metric is a share.

    Example:
        >>> change("top1", -0.0111), change("nll", 0.25)
        ('1.11 points', '0.25')
    """
    return f"{abs(100 * value):.2f} points" if is_share(metric) else f"{abs(value):.3g}"


def signed(value: float, metric: str) -> str:
    """Write a difference with its sign: percentage points where the metric is a share.

    Example:
        >>> signed(-0.0111, "top1")
        '-1.11 points'
    """
    return f"{100 * value:+.2f} points" if is_share(metric) else f"{value:+.3g}"
