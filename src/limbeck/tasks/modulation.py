"""Modulation recognition: classification of radio signals. What is told by SNR is the pipeline's, which knows it."""

from __future__ import annotations

from limbeck.tasks.classification import Classification

__all__ = ["Modulation"]


class Modulation(Classification):
    """One class per frame of a signal; `top1` is over all frames, whatever their SNR. Parameters as `Classification`."""

    name = "modulation"
    target_kind = "signal"
