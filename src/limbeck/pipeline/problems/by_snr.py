"""Figures by SNR: of one classifier, and of a file beside what it should say. Not here: what a page shows of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from limbeck.calibrate import expected_calibration_error
from limbeck.report.snr import BANDS

__all__ = ["band_figures", "curve_by_snr", "parity_by_snr"]


def curve_by_snr(probabilities: np.ndarray, target: np.ndarray, snr: np.ndarray, *, bins: int) -> list[dict[str, Any]]:
    """`snr`, `n`, `accuracy` and `ece` of each level of SNR, from low to high.

    Args:
        probabilities: [N, K].
        target: [N] class indices.
        snr: [N] in dB.
        bins: of the calibration error.
    """
    right, found = probabilities.argmax(1) == target, []
    for level in np.unique(snr):
        here = snr == level
        error = expected_calibration_error(probabilities[here], target[here], bins=bins)
        found.append({"snr": float(level), "n": int(here.sum()), "accuracy": float(right[here].mean()), "ece": error})
    return found


def band_figures(curve: list[dict[str, Any]]) -> dict[str, float]:
    """Means of the curve over the bands, each level counting alike, and its best point; a band without levels is absent.

    Example:
        >>> band_figures([{"snr": -2.0, "accuracy": 0.2}, {"snr": 0.0, "accuracy": 0.6}, {"snr": 18.0, "accuracy": 0.8}])
        {'low_snr_accuracy': 0.2, 'high_snr_accuracy': 0.7, 'best_snr_accuracy': 0.8, 'best_snr_db': 18.0}
    """
    figures = {}
    for name, (low, high) in BANDS.items():
        inside = [point["accuracy"] for point in curve if low <= point["snr"] <= high]
        if inside:
            figures[name] = float(np.mean(inside))
    best = max(curve, key=lambda point: point["accuracy"])
    return {**figures, "best_snr_accuracy": best["accuracy"], "best_snr_db": best["snr"]}


def parity_by_snr(
    said: np.ndarray, expected: np.ndarray, target: np.ndarray, snr: np.ndarray | None
) -> list[dict[str, Any]] | None:
    """`snr`, `n`, `accuracy`, `reference`, decisions `changed` and `largest` difference at each level; None without SNR.

    Args:
        said: [N, K] probabilities of the file.
        expected: [N, K] what it should say.
        target: [N] class indices.
        snr: [N] in dB.
    """
    if snr is None:
        return None
    ours, theirs = said.argmax(1), expected.argmax(1)
    found = []
    for level in np.unique(snr):
        here = snr == level
        found.append(
            {
                "snr": float(level),
                "n": int(here.sum()),
                "accuracy": float((ours[here] == target[here]).mean()),
                "reference": float((theirs[here] == target[here]).mean()),
                "changed": int((ours[here] != theirs[here]).sum()),
                "largest": float(np.abs(said[here] - expected[here]).max()),
            }
        )
    return found
