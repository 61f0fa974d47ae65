"""The search itself: one driver that asks, rejects, times, evaluates and tells. Nothing here trains or times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from limbeck.errors import InputError, LimbeckError, Stopped
from limbeck.files import hold_lock
from limbeck.search.ceilings import CandidateCost, Ceilings, latency_problem
from limbeck.search.evaluators import Evaluate, Evaluator, open_evaluator, tell_error
from limbeck.search.halving import Halving, count_better
from limbeck.search.ledger import Candidate, Ledger
from limbeck.search.result import StudyResult, make_result
from limbeck.search.reward import Objective
from limbeck.search.samplers import TWO_OBJECTIVES, Direction, History, check_sampler, quiet_optuna
from limbeck.search.space import Point, Space
from limbeck.search.stopping import StopSignals
from limbeck.types import Evaluation

__all__ = ["MAX_REJECTIONS", "run_study"]

CEILED = ("latency_ms", "params", "macs", "size_bytes", "peak_memory_bytes")  # the figures that ceilings bound
MAX_REJECTIONS = 400  # cheap rejections in a row before the space counts as exhausted

CheapCost = Callable[[Point], tuple[int, int]]
TimeCandidates = Callable[[list[Point]], Sequence[CandidateCost | Exception | str]]


def run_study(
    space: Space,
    *,
    folder: str | Path,
    trials: int,
    batch: int,
    seed: int,
    ceilings: Ceilings,
    time_candidates: TimeCandidates | None,
    cheap_cost: CheapCost | None,
    evaluate: Evaluate,
    sampler: str = "tpe",
    sampler_options: Mapping[str, Any] | None = None,
    objective: Objective | None = None,
    halving: Halving | None = None,
    workers: int = 1,
    evaluator: Callable[[Evaluate, int], Evaluator] = open_evaluator,
    storage: str | None = None,
    higher_is_better: bool = True,
    identity: Mapping[str, Any] | None = None,
    on_event: Callable[[str, dict[str, Any]], None] | None = None,
) -> StudyResult:
    """Search `space` for the best candidate within `ceilings`; a search that was stopped or killed goes on.

    Candidates go in generations of `batch` slots: all are asked for (those over `max_params` or `max_macs` are rejected
    at once and leave their slot open), then all are timed in one call while no evaluation runs, those over a ceiling
    are pruned, the others evaluated. The first candidate is the space's reference. A point that comes again takes over
    its earlier result. What is proposed for a slot depends on the seed and on the results of earlier generations alone;
    so a search that was killed goes on as if it had not been, also with several workers.

    Args:
        space: what may be built.
        folder: where the journal and the lock lie.
        trials: slots: candidates that are evaluated, or pruned after timing, or failed. A higher number than before
            continues a finished search.
        batch: slots in a generation.
        seed: of the proposals, and handed to every evaluation (the same one: a fair comparison).
        ceilings: hard bounds.
        time_candidates: points -> one `CandidateCost` each, or what went wrong with that one (an exception or words).
            What it raises ends the search (the device is gone); the candidates under way are asked again next time.
            None = the evaluation tells the latency too, and is held to the ceilings when it ends.
        cheap_cost: point -> (params, MACs); an error fails the candidate. None = known only from the evaluation.
        evaluate: (point, seed) -> `Evaluation`; must be picklable when `workers` > 1. An error fails the candidate.
        sampler: a name of `SAMPLERS`, or `package.module:name` of a function seed -> Optuna sampler. `nsga2` sees
            accuracy and latency as two objectives, the others what `objective` makes of them.
        sampler_options: further arguments of the sampler.
        objective: what is maximised, and by what the best is chosen; None = accuracy.
        halving: shorter trainings first, after which hopeless candidates are pruned; `evaluate` then takes `share` too.
            The reference is never pruned by it.
        workers: processes that evaluate; 1 = this one.
        evaluator: (evaluate, workers) -> where evaluations run; the default is this machine, `RayCluster` a cluster.
        storage: Optuna storage URL; None = a journal file in `folder`.
        higher_is_better: direction of the accuracy.
        identity: JSON that must be the same when the search goes on (such as fingerprints of the data and of the proxy
            training), beside space, ceilings, objective, seed, sampler and batch.
        on_event: told of `resumed`, `asked`, `rejected`, `timed`, `finished` and `exhausted`, with a JSON-able record.

    Raises:
        InputError: a wrong argument, a folder where another driver is at work, a study of another search, a ledger that
            cannot be read, or ceilings that no candidate met.
        Stopped: SIGINT or SIGTERM; the same call goes on from there.
    """
    for name, number in (("trials", trials), ("batch", batch)):
        if number < 1:
            raise InputError(f"search.{name} = {number}: expected 1 or more")
    objective, options = objective or Objective(), dict(sampler_options or {})
    if objective.form != "accuracy" and not higher_is_better:
        raise InputError(f"search.objective = '{objective.form}': needs a figure of which more is better")
    check_sampler(sampler, options)
    folder = Path(folder)
    bound_to = {
        "space": space.name,
        "space_fingerprint": space.fingerprint,
        # A ceiling that came later and is not in force leaves the studies valid that know nothing of it.
        "ceilings": {k: v for k, v in asdict(ceilings).items() if v is not None or k != "max_peak_memory_bytes"},
        "seed": seed,
        "sampler": sampler,
        "batch": batch,
        "higher_is_better": higher_is_better,
        **({"objective": asdict(objective)} if objective.form != "accuracy" else {}),
        **({"sampler_options": options} if options else {}),
        **({"halving": asdict(halving)} if halving is not None else {}),
        **(identity or {}),
    }
    direction: Direction = "maximize" if higher_is_better else "minimize"
    signals = StopSignals()
    with (
        quiet_optuna(),
        signals.listening(),
        hold_lock(folder / "driver.lock", busy="another search is at work in this folder"),
        closing(evaluator(evaluate, workers)) as crew,
    ):
        try:
            ledger = Ledger(folder, space=space, direction=direction, identity=bound_to, storage=storage)
            driver = _Driver(space, ledger, crew, signals, ceilings, seed, on_event or (lambda name, record: None))
            driver.cheap_cost, driver.time_candidates = cheap_cost, time_candidates
            driver.new_history = lambda: History(space, sampler=sampler, seed=seed, options=options)
            driver.halving, driver.is_two_sided = halving, sampler in TWO_OBJECTIVES
            driver.score = objective.score if higher_is_better else lambda accuracy, latency_ms: -accuracy
            driver.run(trials, batch)
        except KeyboardInterrupt:
            raise Stopped(f"search stopped by {signals.asked}; the same command goes on from {folder}") from None
        return make_result(
            ledger.candidates,
            ceilings=ceilings,
            sampler=sampler,
            seconds=ledger.seconds,
            higher_is_better=higher_is_better,
            objective=objective,
        )


class _Driver:
    """The only one that asks and tells."""

    cheap_cost: CheapCost | None
    time_candidates: TimeCandidates | None
    new_history: Callable[[], History]
    score: Callable[[float, float], float]  # accuracy, latency_ms; more is better
    halving: Halving | None
    is_two_sided: bool  # whether latency is an objective of its own

    def __init__(
        self,
        space: Space,
        ledger: Ledger,
        evaluator: Evaluator,
        signals: StopSignals,
        ceilings: Ceilings,
        seed: int,
        on_event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._space, self._ledger, self._evaluator, self._signals = space, ledger, evaluator, signals
        self._ceilings, self._seed, self._tell = ceilings, seed, on_event
        self._first: dict[str, Candidate] = {}  # of each point
        self._seconds = {"timing": 0.0, "training": 0.0, "other": 0.0, **ledger.seconds}

    def run(self, trials: int, batch: int) -> None:
        """Fill every slot, generation by generation."""
        filled = {candidate.slot for candidate in self._ledger.candidates if candidate.is_finished}
        if self._ledger.candidates:
            self._tell("resumed", {"finished": len(filled), "trials": trials})
        for start in range(0, trials, batch):
            slots = range(start, min(start + batch, trials))
            if filled.issuperset(slots):
                continue
            with self._measured("other"):
                generation, is_exhausted = self._ask(slots)
            with self._measured("timing"):
                self._time(generation)
            with self._measured("training"):
                self._evaluate(generation)
            self._ledger.note_seconds({name: round(value, 3) for name, value in self._seconds.items()})
            if is_exhausted:
                return

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, slots: range) -> tuple[list[Candidate], bool]:
        """Ask until every slot has a candidate within the cheap ceilings; return the slots' running ones."""
        history = self.new_history()
        earlier = sorted(self._ledger.candidates, key=lambda candidate: (candidate.slot, candidate.attempt))
        for candidate in earlier:
            self._first.setdefault(candidate.key, candidate)
            self._show(history, candidate)
        generation: list[Candidate] = []
        for slot in slots:
            mine = [candidate for candidate in earlier if candidate.slot == slot]
            if any(candidate.is_finished for candidate in mine):
                continue
            attempt = len(mine)
            while True:
                if attempt >= MAX_REJECTIONS or self._has_rejected_everything():
                    self._tell("exhausted", {"slot": slot, "rejected": attempt})
                    return generation, True
                self._signals.check()
                candidate = self._ask_one(history, slot, attempt)
                self._show(history, candidate)
                attempt += 1
                if not candidate.rejected:
                    break
            if candidate.state == "running":
                generation.append(candidate)
        return generation, False

    def _ask_one(self, history: History, slot: int, attempt: int) -> Candidate:
        point, drawn = self._ledger.lost_point(slot, attempt), dict[str, float]()
        if point is None and slot == 0 and attempt == 0:
            point = self._space.check(self._space.reference)
        elif point is None:
            point, drawn = history.draw(slot, attempt)
        candidate = self._ledger.ask(slot, attempt, point, drawn)
        self._first.setdefault(candidate.key, candidate)
        self._tell("asked", {"slot": slot, "attempt": attempt, "number": candidate.number, "point": point})
        if candidate.outcome:  # the driver before was killed between the outcome and the end of the trial
            self._finish(candidate, **candidate.outcome)
            return candidate
        twin = self._twin(candidate)
        if twin is not None and twin.state != "running":
            self._take_over(candidate, twin)
        elif twin is None:
            self._reject_or_keep(candidate)
        return candidate

    def _reject_or_keep(self, candidate: Candidate) -> None:
        if self.cheap_cost is None:
            return None
        try:
            params, macs = self.cheap_cost(candidate.point)
        except LimbeckError as error:
            return self._finish(candidate, "failed", reason=str(error))
        except Exception as error:
            return self._finish(candidate, "failed", reason=f"cannot be built: {tell_error(error)}")
        self._note_cost(candidate, params=int(params), macs=int(macs))
        if over := self._ceilings.violations(params=int(params), macs=int(macs)):
            self._finish(candidate, "pruned", rejected=True, reason="; ".join(over))
        return None

    def _has_rejected_everything(self) -> bool:
        rejected = {candidate.key for candidate in self._ledger.candidates if candidate.rejected}
        return len(rejected) >= self._space.size

    def _twin(self, candidate: Candidate) -> Candidate | None:
        """The first candidate with the same point, if this one is not it."""
        first = self._first[candidate.key]
        return None if first is candidate else first

    # -- timing and evaluating ---------------------------------------------------------------------------------------

    def _time(self, generation: list[Candidate]) -> None:
        """Time all candidates of a generation in one call, then prune those over a ceiling."""
        first = [candidate for candidate in generation if self._twin(candidate) is None]
        untimed = [candidate for candidate in first if "latency_ms" not in candidate.cost]
        if untimed and self.time_candidates is not None:
            with self._signals.interruptible():
                costs = list(self.time_candidates([dict(candidate.point) for candidate in untimed]))
            if len(costs) != len(untimed):
                raise ValueError(f"time_candidates returned {len(costs)} results for {len(untimed)} points")
            for candidate, cost in zip(untimed, costs, strict=True):
                wrong = latency_problem(cost.latency_ms) if isinstance(cost, CandidateCost) else ""
                if wrong:
                    self._finish(candidate, "failed", reason=wrong)
                elif isinstance(cost, CandidateCost):
                    self._note_cost(
                        candidate,
                        latency_ms=cost.latency_ms,
                        size_bytes=cost.size_bytes,
                        peak_memory_bytes=cost.peak_memory_bytes,
                        metrics=dict(cost.metrics),
                    )
                else:
                    reason = str(cost) if isinstance(cost, LimbeckError | str) else tell_error(cost)
                    self._finish(candidate, "failed", reason=reason)
            self._tell("timed", {"numbers": [candidate.number for candidate in untimed]})
        for candidate in first:
            if candidate.state == "running" and (over := self._violations(candidate)):
                self._finish(candidate, "pruned", reason="; ".join(over))

    def _evaluate(self, generation: list[Candidate]) -> None:
        """Evaluate the survivors; none is under way any more on return."""
        first = [one for one in generation if one.state == "running" and self._twin(one) is None]
        for rung, share in enumerate(self.halving.shares() if self.halving else ()):
            self._train([one for one in first if len(one.rungs) == rung], share, self._climb)
            self._halve(first, rung)
        self._train(first, 1.0 if self.halving else None, self._judge)
        for candidate in generation:
            twin = self._twin(candidate) if candidate.state == "running" else None
            if twin is not None:
                self._take_over(candidate, twin)

    def _train(
        self, candidates: list[Candidate], share: float | None, judge: Callable[[Candidate, Evaluation], None]
    ) -> None:
        running = [candidate for candidate in candidates if candidate.state == "running"]
        evaluations = self._evaluator.evaluate([dict(one.point) for one in running], self._seed, share)
        while True:
            with self._signals.interruptible():
                ended = next(evaluations, None)
            if ended is None:
                return
            candidate, evaluation = running[ended[0]], ended[1]
            judge(candidate, self._held_to_ceilings(candidate, evaluation))

    def _held_to_ceilings(self, candidate: Candidate, evaluation: Evaluation) -> Evaluation:
        """Note the costs that only the evaluation tells: a candidate over a ceiling is pruned, one without latency failed."""
        told = {name: getattr(evaluation, name) for name in CEILED if candidate.cost.get(name) is None}
        if told := {name: value for name, value in told.items() if value is not None}:
            self._note_cost(candidate, **told)
        if evaluation.state != "complete":
            return evaluation
        if over := self._violations(candidate):
            return replace(evaluation, state="pruned", accuracy=None, reason="; ".join(over))
        if wrong := latency_problem(candidate.cost.get("latency_ms")):
            return replace(evaluation, state="failed", accuracy=None, reason=wrong)
        return evaluation

    def _climb(self, candidate: Candidate, evaluation: Evaluation) -> None:
        if evaluation.state != "complete":
            return self._judge(candidate, evaluation)
        assert self.halving is not None
        share = self.halving.shares()[len(candidate.rungs)]
        accuracy = float(evaluation.accuracy or 0.0)
        self._ledger.note_rung(candidate, share=share, accuracy=accuracy, seconds=round(evaluation.seconds, 3))
        return None

    def _halve(self, generation: list[Candidate], rung: int) -> None:
        """Prune those of a generation that too many of all that came to this rung are better than."""
        assert self.halving is not None
        came = [one for one in self._ledger.candidates if len(one.rungs) > rung]
        figures = []
        for candidate in came:
            latency = candidate.cost["latency_ms"]
            score = self.score(candidate.rungs[rung]["accuracy"], latency)
            figures.append((score, -latency) if self.is_two_sided else (score,))
        share = self.halving.shares()[rung]
        for candidate, better in zip(came, count_better(figures), strict=True):
            is_reference = candidate.slot == 0 and candidate.attempt == 0
            if candidate not in generation or candidate.state != "running" or is_reference:
                continue
            if not self.halving.goes_on(better, len(came)):
                reason = f"hopeless after {share:.0%} of its training: {better} of {len(came)} were better there"
                seconds = sum(one["seconds"] for one in candidate.rungs)
                self._finish(candidate, "pruned", reason=reason, seconds=round(seconds, 3))

    def _judge(self, candidate: Candidate, evaluation: Evaluation) -> None:
        if evaluation.state == "failed":
            self._signals.check()  # what failed because it was being stopped has not failed
        self._finish(
            candidate,
            evaluation.state,
            accuracy=evaluation.accuracy if evaluation.state == "complete" else None,
            reason=evaluation.reason,
            seconds=round(evaluation.seconds + sum(one["seconds"] for one in candidate.rungs), 3),
            metrics=dict(evaluation.metrics),
        )

    # -- telling -----------------------------------------------------------------------------------------------------

    def _take_over(self, candidate: Candidate, twin: Candidate) -> None:
        """End a repeated point with the result that its first occurrence had."""
        self._ledger.note_cost(candidate, list(twin.constraints), **twin.cost)
        outcome = {**twin.outcome, "seconds": 0.0, "reused": twin.number}
        self._finish(candidate, **outcome)

    def _note_cost(self, candidate: Candidate, **figures: Any) -> None:
        known = {**candidate.cost, **figures}
        bounded = {name: known.get(name) for name in CEILED}
        self._ledger.note_cost(candidate, self._ceilings.constraints(**bounded), **figures)

    def _violations(self, candidate: Candidate) -> list[str]:
        bounded = {name: candidate.cost.get(name) for name in CEILED}
        return self._ceilings.violations(**bounded)

    def _finish(self, candidate: Candidate, state: Any, **outcome: Any) -> None:
        self._ledger.finish(candidate, state, **outcome)
        self._tell(
            "rejected" if candidate.rejected else "finished",
            {"slot": candidate.slot, "number": candidate.number, **candidate.outcome, **candidate.cost},
        )

    def _show(self, history: History, candidate: Candidate) -> None:
        accuracy, latency = candidate.outcome.get("accuracy"), candidate.cost.get("latency_ms")
        score = None if accuracy is None or latency is None else self.score(accuracy, latency)
        history.add(
            candidate.point, candidate.state, score=score, latency_ms=latency, constraints=candidate.constraints
        )

    @contextmanager
    def _measured(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] += time.perf_counter() - start
