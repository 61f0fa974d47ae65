"""What `report.json` holds of signals, as records: figures by SNR, confusions at some of them. No wording, no drawing."""

from __future__ import annotations

from pydantic import Field

from limbeck.report.records import Count, Record, Share

__all__ = ["BANDS", "Level", "LevelParity", "Matrix", "SignalFindings"]

BANDS = {"low_snr_accuracy": (-20, -2), "high_snr_accuracy": (0, 18)}
"""Figures that are means of the accuracy over levels from and up to these, in dB: the bands of the literature of RadioML."""


class Level(Record):
    """How right and how calibrated a model is at one SNR."""

    snr: float = Field(description="in dB")
    n: Count
    accuracy: Share
    ece: Share | None = None


class LevelParity(Record):
    """What a file says at one SNR, beside what it is held against."""

    snr: float = Field(description="in dB")
    n: Count
    accuracy: Share
    reference: Share
    changed: Count = Field(description="decisions")
    largest: float | None = Field(default=None, description="difference of any probability")


class Matrix(Record):
    """The student's answers at one SNR."""

    snr: float | None = Field(default=None, description="in dB; null where the SNR is unknown, then of all frames")
    counts: list[list[Count]] = Field(description="frames by true class, then by answer")


class SignalFindings(Record):
    """What is shown of the student on signals."""

    matrices: list[Matrix] = []
