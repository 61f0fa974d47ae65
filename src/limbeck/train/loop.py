"""The only training loop: batches in, a trained objective out, resumable at any moment. No loss is known here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.console import Bar, bar, say
from limbeck.errors import InputError, LimbeckError, Stopped, unknown_name
from limbeck.files import fingerprint
from limbeck.protocols import Batches
from limbeck.train.checkpoint import load_checkpoint, save_checkpoint
from limbeck.train.evaluate import evaluating
from limbeck.train.finished import read_finished, write_finished
from limbeck.train.log import TrainingLog, finite
from limbeck.train.memory import wrong_batch_told
from limbeck.train.runtime import (
    World,
    fixed_shapes,
    join_world,
    keep_freed_memory,
    keep_random_state,
    seed_step,
    use_threads,
)
from limbeck.train.settings import TrainSettings
from limbeck.train.standing import FitReport, Standing
from limbeck.train.stop import StopRequest
from limbeck.train.training import Training, load_weights

__all__ = ["fit"]

Evaluate = Callable[[nn.Module], dict[str, float]]

LOG_STEPS = 50  # optimizer steps between two lines of the log, and between two looks at the loss
AGREE_STEPS = 8  # optimizer steps between two questions to the other processes whether to stop
SAVE_REST = 20  # a checkpoint is followed by this many times its own duration of work: at most 5 % is spent on saving
SAY_SECONDS = 30.0


def fit(
    objective: Any,
    batches: Batches,
    settings: TrainSettings,
    *,
    folder: str | Path,
    seed: int,
    evaluate: Evaluate | None = None,
    primary: str = "top1",
    higher_is_better: bool = True,
    name: str = "student",
    identity: dict[str, Any] | None = None,
    distributed: bool | None = None,
    tensorboard: bool = True,
) -> FitReport:
    """Train an objective; called again after a kill it goes on, called again when finished it returns at once.

    The learners are left with the selected weights: the best epoch by `primary` (of equals the later), or the last
    without `evaluate`; of the weight average where `settings.ema` is set. On the CPU an interrupted training ends with
    the same bits as one that ran through. The caller's random states are left as they were.

    `folder` gets `log.jsonl`, `tensorboard/` and checkpoints, then `selected.safetensors` and, last, `fit.json`.

    Args:
        objective: an `Objective` and `nn.Module`. An optional `after_backward()` is called before clipping.
        batches: of this process alone when several train together.
        settings: how.
        folder: of this training alone.
        seed: what dropout and the like are drawn from, together with the step.
        evaluate: figures on *validation* of the network it is given; called after each epoch, by one process.
        primary: the figure that selects.
        higher_is_better: of `primary`.
        name: how the training is called in messages.
        identity: what else makes this training another one (a fingerprint of its data, of its start weights).
        distributed: False = train in this process alone, even under `torchrun`.
        tensorboard: whether to write events.

    Raises:
        InputError: no batches, or not what the objective needs of them, out of memory, batches of one where
            norms need two, an unreadable checkpoint, a full disk.
        LimbeckError: a training term or the primary figure is no longer finite.
        Stopped: SIGTERM or Ctrl-C; the state is saved.
    """
    folder = Path(folder)
    world, device = join_world(settings.device, distributed=distributed)
    if batches.steps_per_epoch() < 1:
        raise InputError(
            f"{name}: fewer training samples than one batch; lower train.batch_size = {settings.batch_size}"
        )
    needs = objective.needs() if hasattr(objective, "needs") else frozenset()
    if missing := sorted(needs - getattr(batches, "offers", frozenset())):
        raise InputError(
            f"{name}: the objective needs {', '.join(missing)} in its batches, which these do not carry; "
            "make them with Loader(..., needs=objective.needs())"
        )
    mark = fingerprint(
        {
            "settings": settings.identity(),
            "seed": seed,
            "batches_per_epoch": batches.steps_per_epoch(),
            "selection": [primary, higher_is_better] if evaluate else None,
            "states": {key: list(getattr(value, "shape", [])) for key, value in objective.state_dict().items()},
            **(identity or {}),
        }
    )
    finished = world.share(read_finished(folder, identity=mark, name=name) if world.writes else None)
    if finished is not None:
        report, weights = finished
        load_weights(objective, weights)
        return report
    if device.type == "cpu":
        keep_freed_memory()
    with keep_random_state(device), fixed_shapes(device), StopRequest() as stop:
        report = _Run(
            objective=objective,
            batches=batches,
            settings=settings,
            folder=folder,
            seed=seed,
            evaluate=evaluate,
            primary=primary,
            higher_is_better=higher_is_better,
            name=name,
            mark=mark,
            world=world,
            device=device,
            stop=stop,
        ).train(tensorboard=tensorboard)
    if stop.received:  # it came while the results were written; they are whole
        raise Stopped(f"{name}: stopped by {stop.received} when its training was finished; the same command goes on")
    return report


@dataclass(kw_only=True)
class _Run:
    """One call of `fit` at work: the visible order of training, evaluating, logging and saving."""

    objective: Any
    batches: Batches
    settings: TrainSettings
    folder: Path
    seed: int
    evaluate: Evaluate | None
    primary: str
    higher_is_better: bool
    name: str
    mark: str
    world: World
    device: torch.device
    stop: StopRequest

    def __post_init__(self) -> None:
        self.steps_per_epoch = math.ceil(self.batches.steps_per_epoch() / self.settings.accumulate)
        self.standing = Standing(threads=self.settings.threads or torch.get_num_threads())
        self.resumed_from: int | None = None
        self.pending: list[tuple[tuple[str, ...], Tensor]] = []
        self.log: TrainingLog | None = None
        self.since = self.saved_at = self.said_at = time.perf_counter()
        self.save_seconds = 0.0

    def train(self, *, tensorboard: bool) -> FitReport:
        """Do all that is left to do."""
        saved = load_checkpoint(self.folder, identity=self.mark, name=self.name) if self.world.writes else None
        saved = self.world.share(saved)
        if saved is not None:
            self._resume(saved["standing"])
        standing = self.standing
        with use_threads(standing.threads):
            training = Training(
                self.objective,
                self.settings,
                steps_per_epoch=self.steps_per_epoch,
                seed=self.seed,
                world=self.world,
                device=self.device,
            )
            if saved is not None:
                training.load_state(saved["training"])
                del saved
            if not self.world.writes:
                return self._epochs(training)
            log = TrainingLog(self.folder, length=standing.log_length, step=standing.step, tensorboard=tensorboard)
            with closing(log) as self.log:
                return self._epochs(training)

    def _resume(self, standing: dict[str, Any]) -> None:
        self.standing = Standing(**standing)
        self.resumed_from = self.standing.step
        before, asked, here = self.standing.threads, self.settings.threads, torch.get_num_threads()
        if asked is not None and asked != before:
            say(f"{self.name}: goes on with {asked} threads instead of {before}: the last bits will differ")
            self.standing.threads = asked
        elif before != here:
            say(f"{self.name}: goes on with {before} threads, as it began (it would be {here} here)")
        say(f"{self.name}: goes on from {self._place()}")

    def _place(self) -> str:
        return f"epoch {self.standing.epoch + 1} of {self.settings.epochs}, step {self.standing.step}"

    def _epochs(self, training: Training) -> FitReport:
        standing, settings = self.standing, self.settings
        with bar(self.name, settings.epochs * self.steps_per_epoch, done=standing.step) as progress:
            while standing.epoch < settings.epochs:
                with wrong_batch_told(settings, self.device):
                    self._train_epoch(training, progress)
                figures = self._judge(training)
                self._close_epoch(training, figures)
                if standing.epoch < settings.epochs and self._due(0.0):
                    self._save(training)
        return self._finish(training)

    def _train_epoch(self, training: Training, progress: Bar) -> None:
        """Train the rest of the epoch that runs."""
        standing = self.standing
        self.objective.train()
        start = standing.step_in_epoch * self.settings.accumulate
        source = iter(self.batches.epoch(standing.epoch, start))
        try:
            while standing.step_in_epoch < self.steps_per_epoch:
                group = list(islice(source, self.settings.accumulate))
                if not group:
                    raise LimbeckError(f"{self.name}: the batches ended early, in {self._place()}")
                self.pending += training.step(group, standing)
                if standing.step % LOG_STEPS == 0:
                    self._look(training, progress)
                progress.advance()
                if self._must_stop():
                    self._save(training)
                    cause = self.stop.received or "another process"
                    raise Stopped(
                        f"{self.name}: stopped by {cause}, saved in {self._place()}; the same command goes on"
                    )
                if self._due(self.settings.checkpoint_seconds):
                    self._save(training)
        finally:
            if hasattr(source, "close"):  # ends the workers of a generator now, not when it is collected
                source.close()
        self._settle_terms()
        self._tick(training=True)

    def _must_stop(self) -> bool:
        if self.world.size == 1:
            return self.stop.received is not None
        at_epoch_end = self.standing.step_in_epoch == self.steps_per_epoch
        if not at_epoch_end and self.standing.step % AGREE_STEPS:
            return False
        return self.world.any(self.stop.received is not None, self.device)

    def _look(self, training: Training, progress: Bar) -> None:
        """Read the losses since the last look, and log them."""
        self._settle_terms()
        standing = self.standing
        means = standing.means()
        progress.advance(0, text=f"epoch {standing.epoch + 1}/{self.settings.epochs}  loss {means['loss']:.4f}")
        if self.log is not None:
            place = {"step": standing.step, "epoch": standing.epoch + 1, "rate": training.rate(standing.step - 1)}
            self.log.write("step", {**place, **means})

    def _settle_terms(self) -> None:
        """Add the waiting terms to the epoch's sums.

        Raises:
            LimbeckError: one of them is not finite; names the first that was not.
        """
        waiting, self.pending = self.pending, []
        if not waiting:
            return
        # One transfer for all of them, whatever terms each batch had.
        values = iter(torch.cat([row for _, row in waiting]).tolist())
        first = self.standing.batches - len(waiting)
        for batch, (names, _) in enumerate(waiting, start=first + 1):
            terms = {name: next(values) for name in names}
            bad = {name: value for name, value in terms.items() if not math.isfinite(value)}
            if bad:
                name = next((name for name in bad if name != "loss"), "loss")  # the loss is bad because a term is
                raise LimbeckError(
                    f"{self.name}: '{name}' became {bad[name]} at batch {batch} (epoch {self.standing.epoch + 1}); "
                    'lower train.learning_rate, set train.clip_norm = 1.0, or set train.precision = "fp32"'
                )
            self.standing.add_terms(terms)

    def _judge(self, training: Training) -> dict[str, float]:
        """Figures on validation, the same in every process; empty without a validation set."""
        if self.evaluate is None:
            return {}
        figures: dict[str, float] = {}
        if self.world.writes:
            network = training.judged()
            seed_step(self.seed, -1 - self.standing.epoch, 0, self.device)  # negative: no training step has this number
            with evaluating(network):
                figures = {key: float(value) for key, value in self.evaluate(network).items()}
        figures = self.world.share(figures)
        if self.primary not in figures:
            raise unknown_name("figure", self.primary, figures, where=f"{self.name}: primary")
        if not math.isfinite(value := figures[self.primary]):
            raise LimbeckError(
                f"{self.name}: {self.primary} on validation became {value} in {self._place()}; "
                "lower train.learning_rate or set train.clip_norm = 1.0"
            )
        return figures

    def _close_epoch(self, training: Training, figures: dict[str, float]) -> None:
        """Record the epoch, keep its weights if they are the best, and begin the next."""
        standing = self.standing
        standing.epoch += 1
        if figures:
            standing.last = figures
            sign = 1 if self.higher_is_better else -1
            # Of equals the later: a small validation set ties often, and the later weights are better settled.
            if not standing.best_epoch or sign * figures[self.primary] >= sign * standing.best[self.primary]:
                standing.best_epoch, standing.best = standing.epoch, figures
                training.kept = training.weights() if self.world.writes else None
        self._tick(training=False)
        means = standing.means()
        record = {
            "epoch": standing.epoch,
            "step": standing.step,
            "rate": training.rate(standing.step - 1),
            "seconds": round(standing.seconds, 3),
            "train": means,
            "validation": figures,
        }
        standing.history.append(finite(record))
        if self.log is not None:
            self.log.write("epoch", record)
        if time.perf_counter() - self.said_at > SAY_SECONDS:
            self.said_at = time.perf_counter()
            figure = f", {self.primary} {figures[self.primary]:.4f}" if figures else ""
            say(f"{self.name}: epoch {standing.epoch} of {self.settings.epochs}, loss {means['loss']:.4f}{figure}")
        standing.step_in_epoch, standing.sums, standing.counted = 0, {}, 0

    def _due(self, seconds: float) -> bool:
        return time.perf_counter() - self.saved_at >= max(seconds, SAVE_REST * self.save_seconds)

    def _save(self, training: Training) -> None:
        self._settle_terms()  # a training that has gone bad is never saved
        self._tick(training=True)
        began = time.perf_counter()
        if self.log is not None:
            self.standing.log_length = self.log.settle()
            state = {"standing": dict(vars(self.standing)), "training": training.state()}
            save_checkpoint(self.folder, state, identity=self.mark)
        self._tick(training=False)
        self.saved_at = time.perf_counter()
        self.save_seconds = self.saved_at - began

    def _tick(self, *, training: bool) -> None:
        """Count the time since the last tick."""
        now = time.perf_counter()
        self.standing.seconds += now - self.since
        if training:
            self.standing.training_seconds += now - self.since
        self.since = now

    def _finish(self, training: Training) -> FitReport:
        """Leave the selected weights in the learners and on the disk; `fit.json` last: it says that all is there."""
        weights = training.weights() if training.kept is None and self.world.writes else training.kept
        weights = self.world.share(weights)
        training.release()
        load_weights(self.objective, weights)
        report = self.standing.report(world=self.world.size, resumed_from=self.resumed_from)
        if self.world.writes:
            write_finished(self.folder, report, weights, identity=self.mark)
        figure = f", {self.primary} {report.best[self.primary]:.4f} at epoch {report.best_epoch}" if report.best else ""
        say(f"{self.name}: {report.epochs} epochs in {report.seconds:.0f} s{figure}")
        self.world.wait()
        return report
