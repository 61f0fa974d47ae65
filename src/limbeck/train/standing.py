"""Where a training stands and what is reported of it: the plain values of checkpoints and `fit.json`. No tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from limbeck.train.log import finite

__all__ = ["FitReport", "Standing"]


@dataclass(frozen=True)
class FitReport:
    """What one training came to.

    Attributes:
        epochs: passes over the training set.
        best_epoch: the epoch (from 1) whose weights were kept.
        selected: `best` on validation, or the `last` where there is no validation set.
        best: figures on validation of the kept weights; empty without a validation set.
        last: figures on validation after the last epoch.
        history: one record per epoch: epoch, step, rate, seconds, mean training terms, validation figures.
        seconds: of the whole training, all its starts together, evaluation included.
        images_per_second: of the training steps alone, all processes together.
        resumed_from: optimizer step from which the process that finished it went on; None = it ran through.
    """

    epochs: int
    best_epoch: int
    selected: Literal["best", "last"]
    best: dict[str, float]
    last: dict[str, float]
    history: list[dict[str, Any]]
    seconds: float
    images_per_second: float
    resumed_from: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON-like values."""
        return finite(asdict(self))


@dataclass
class Standing:
    """How far a training is; everything of it but tensors.

    Attributes:
        epoch: epochs finished.
        step_in_epoch: optimizer steps done in the epoch that runs.
        step: optimizer steps done in all.
        batches: batches done in all; what the randomness of a step is keyed by.
        sums: sum of each training term over the batches of the epoch that runs.
        counted: batches in those sums.
        best_epoch: epoch whose weights are the best so far; 0 = none yet.
        best: its figures on validation.
        last: figures of the last evaluated epoch.
        history: one record per finished epoch.
        seconds: of work, over all starts.
        training_seconds: of that, in training steps.
        images: samples trained on by this process.
        log_length: bytes of `log.jsonl` that belong to what is done.
        threads: CPU threads that the training computes with.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    batches: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counted: int = 0
    best_epoch: int = 0
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    training_seconds: float = 0.0
    images: int = 0
    log_length: int = 0
    threads: int = 1

    def add_terms(self, terms: dict[str, float]) -> None:
        """Add the terms of one batch to the epoch's sums."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.counted += 1

    def means(self) -> dict[str, float]:
        """Mean of every term over the epoch so far."""
        return {name: total / self.counted for name, total in self.sums.items()} if self.counted else {}

    def report(self, *, world: int, resumed_from: int | None) -> FitReport:
        """The report of a finished training."""
        return FitReport(
            epochs=self.epoch,
            best_epoch=self.best_epoch or self.epoch,
            selected="best" if self.best_epoch else "last",
            best=self.best,
            last=self.last,
            history=self.history,
            seconds=round(self.seconds, 3),
            images_per_second=round(world * self.images / self.training_seconds, 1) if self.training_seconds else 0.0,
            resumed_from=resumed_from,
        )
