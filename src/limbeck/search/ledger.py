"""The record of a search: an Optuna study that only its one driver writes. No decision is taken here."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from limbeck.errors import InputError, LimbeckError
from limbeck.files import read_json, write_json
from limbeck.search.samplers import TRIAL_STATES, Direction
from limbeck.search.space import Point, Space

__all__ = ["Candidate", "Ledger"]

State = Literal["running", "complete", "pruned", "failed"]


@dataclass
class Candidate:
    """One trial of the study, as the driver sees it.

    Attributes:
        slot: its place among the `trials` that were asked for.
        attempt: how many candidates of this slot were rejected before it.
        point: one id per choice.
        number: Optuna's number of the trial; another one after the candidate was lost and asked again.
        state: `running` until it is told.
        rejected: pruned by parameters or MACs before anything costly, so that the slot is still to be filled.
        cost: params, macs, latency_ms, size_bytes as far as they are known.
        constraints: excess over each ceiling, in Optuna's form.
        drawn: what the sampler told of the draw, such as its policy's entropy.
        rungs: what each training before the whole one gave: share, accuracy, seconds.
        outcome: accuracy, reason, seconds, metrics, reused, once known.
    """

    slot: int
    attempt: int
    point: Point
    number: int
    state: State = "running"
    rejected: bool = False
    cost: dict[str, Any] = field(default_factory=dict)
    constraints: list[float] = field(default_factory=list)
    drawn: dict[str, float] = field(default_factory=dict)
    rungs: list[dict[str, float]] = field(default_factory=list)
    outcome: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """Equal for candidates with the same point."""
        return json.dumps(self.point, sort_keys=True)

    @property
    def is_finished(self) -> bool:
        """Whether the slot is filled."""
        return self.state != "running" and not self.rejected


class Ledger:
    """Opens the study, checks that it is this search's own, and writes every step of a candidate durably.

    The default storage is a journal file in the run folder, synced at every entry. Entries are ordered so that a driver
    killed between any two of them leaves a study from which the next driver knows every slot's point: the point stands
    in the trial from its first entry on.
    """

    def __init__(
        self, folder: Path, *, space: Space, direction: Direction, identity: Mapping[str, Any], storage: str | None
    ) -> None:
        self._folder, self._space = folder, space
        self._storage = storage
        self._where = str(folder / "study.journal") if storage is None else f"search.storage ({_scheme(storage)})"
        self._distributions = {
            name: optuna.distributions.CategoricalDistribution(ids) for name, ids in space.choices.items()
        }
        self._study = self._open(storage, direction)
        self._claim(dict(identity))
        self._handles: dict[int, optuna.trial.Trial] = {}
        with self._reading():
            self.candidates = self._read()

    def ask(self, slot: int, attempt: int, point: Point, drawn: Mapping[str, float] | None = None) -> Candidate:
        """Start a trial for `point`; what is known of it from a lost trial of the same slot and attempt goes along."""
        known = self._lost.get((slot, attempt), {"drawn": dict(drawn)} if drawn else {})
        kept = ("cost", "outcome", "constraints", "drawn", "rungs")
        attrs: dict[str, Any] = {key: known[key] for key in kept if key in known}
        entry = create_trial(  # one entry, so there is no half-asked trial; `Study.ask` writes one per choice
            state=TrialState.RUNNING,
            params=dict(point),
            distributions=dict(self._distributions),
            user_attrs={"slot": slot, "attempt": attempt, "point": point, **attrs},
        )
        with self._writing():
            self._study.add_trial(entry)
            (trial,) = self._study.get_trials(deepcopy=False)[-1:]
            self._handles[trial.number] = optuna.trial.Trial(self._study, trial._trial_id)
        candidate = Candidate(slot, attempt, point, trial.number)
        candidate.cost, candidate.outcome = attrs.get("cost", {}), attrs.get("outcome", {})
        candidate.constraints, candidate.drawn = attrs.get("constraints", []), attrs.get("drawn", {})
        candidate.rungs = list(attrs.get("rungs", []))
        self.candidates.append(candidate)
        return candidate

    def lost_point(self, slot: int, attempt: int) -> Point | None:
        """The point that a killed driver had asked for this slot and attempt, to be asked again."""
        known = self._lost.get((slot, attempt))
        return None if known is None else self._space.check(known["point"])

    def note_cost(self, candidate: Candidate, constraints: list[float], **figures: Any) -> None:
        """Write what was learnt of a candidate's cost."""
        candidate.cost = {**candidate.cost, **figures}
        candidate.constraints = constraints
        trial = self._handles[candidate.number]
        with self._writing():
            trial.set_user_attr("cost", candidate.cost)
            trial.set_user_attr("constraints", constraints)

    def note_rung(self, candidate: Candidate, **figures: float) -> None:
        """Write what a candidate's next training before the whole one gave."""
        candidate.rungs.append(figures)
        with self._writing():
            self._handles[candidate.number].set_user_attr("rungs", candidate.rungs)

    def finish(self, candidate: Candidate, state: State, *, rejected: bool = False, **outcome: Any) -> None:
        """Write the outcome, then tell the study. A driver killed in between tells it on its next start."""
        trial = self._handles.pop(candidate.number)
        candidate.outcome = {**outcome, "state": state, "rejected": rejected}
        with self._writing():
            trial.set_user_attr("outcome", candidate.outcome)
            if hasattr(trial, "set_constraint"):  # Optuna 5: its dashboard and other samplers read them there
                for index, excess in enumerate(candidate.constraints):
                    trial.set_constraint(str(index), excess)
            value = outcome.get("accuracy") if state == "complete" else None
            self._study.tell(candidate.number, value, state=TRIAL_STATES[state])
        candidate.state, candidate.rejected = state, rejected

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time by phase, over all drivers that worked on this study."""
        return dict(self._study.user_attrs.get("seconds", {}))

    def note_seconds(self, seconds: dict[str, float]) -> None:
        """Write the wall time by phase."""
        with self._writing():
            self._study.set_user_attr("seconds", seconds)

    def _open(self, storage: str | None, direction: Direction) -> optuna.Study:
        if storage is not None and "://" not in storage:
            raise InputError(f"search.storage = '{storage}': expected a URL such as sqlite:///study.db")
        with self._reading():
            if storage is None:
                backend = JournalFileBackend(str(_mended(self._folder / "study.journal")))
                place: Any = JournalStorage(backend)
                name = "limbeck"
            else:
                place, name = storage, _name_in_shared_storage(self._folder)
            if name in optuna.get_all_study_names(place):  # refusing a foreign study must not write into it
                study = optuna.load_study(storage=place, study_name=name)
            else:
                study = optuna.create_study(storage=place, study_name=name, direction=direction)
            # Points are drawn elsewhere (`History`); nothing here may look at the other trials.
            study.sampler = optuna.samplers.RandomSampler(seed=0)
        return study

    def _claim(self, identity: dict[str, Any]) -> None:
        """Write whose study this is into a new one; refuse one of another search."""
        with self._reading():
            found = self._study.user_attrs.get("identity")
            is_new = found is None and not self._study.get_trials(deepcopy=False)
        if is_new:
            with self._writing():
                self._study.set_user_attr("identity", identity)
            return
        remedy = "choose another folder, or delete the study to start over"
        if not isinstance(found, dict):
            raise InputError(f"{self._where}: holds a study that no search of Limbeck wrote; {remedy}")
        given = json.loads(json.dumps(identity))
        for key in [*given, *(key for key in found if key not in given)]:
            if found.get(key) != given.get(key):
                was, now = (json.dumps(side.get(key)) for side in (found, given))
                raise InputError(f"{self._where}: was written by another search ({key} was {was}, is {now}); {remedy}")

    def _read(self) -> list[Candidate]:
        """Take over from the driver before: fail the trials that it left running, and return all others."""
        self._lost: dict[tuple[int, int], dict[str, Any]] = {}
        candidates = []
        for trial in self._study.get_trials(deepcopy=False):
            attrs = trial.user_attrs
            key = (int(attrs["slot"]), int(attrs["attempt"]))
            if trial.state == TrialState.RUNNING or attrs.get("lost"):
                self._lost[key] = {**self._lost.get(key, {}), **attrs}
                if trial.state == TrialState.RUNNING:
                    self._fail(trial)
            else:
                candidates.append(self._candidate(trial, *key))
        return candidates

    def _fail(self, trial: FrozenTrial) -> None:
        handle = optuna.trial.Trial(self._study, trial._trial_id)
        handle.set_user_attr("lost", True)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def _candidate(self, trial: FrozenTrial, slot: int, attempt: int) -> Candidate:
        attrs = trial.user_attrs
        outcome = dict(attrs["outcome"])
        return Candidate(
            slot=slot,
            attempt=attempt,
            point=self._space.check(attrs["point"]),
            number=trial.number,
            state=outcome["state"],
            rejected=outcome["rejected"],
            cost=dict(attrs.get("cost", {})),
            constraints=list(attrs.get("constraints", [])),
            drawn=dict(attrs.get("drawn", {})),
            rungs=list(attrs.get("rungs", [])),
            outcome=outcome,
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except LimbeckError:
            raise
        except Exception as error:  # whatever a storage or a broken file may raise
            told = (str(error).splitlines() or [""])[0]
            if self._storage is not None:
                told = told.replace(self._storage, _scheme(self._storage))
            told = told[:200]
            raise InputError(
                f"{self._where}: cannot be read as a study ({type(error).__name__}: {told}); "
                "restore it, or delete it to start over"
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._where}: cannot write ({error.strerror or error}); free some space, then start again"
            ) from error


def _mended(journal: Path) -> Path:
    """Undo what a kill can leave of a journal file: a lock that nobody holds, and a last line that was cut short.

    Only called while the driver lock is held, so nobody else can be writing.
    """
    for left in journal.parent.glob(journal.name + ".lock*"):
        left.unlink(missing_ok=True)
    if journal.exists():
        with open(journal, "rb+") as handle:
            content = handle.read()
            end = content.rfind(b"\n") + 1
            last = content[:end].splitlines()[-1:] or [b"{}"]
            if not isinstance(json.loads(last[0]), dict) or content[end : end + 1] not in (b"", b"{"):
                raise ValueError("the last line is no entry")  # Optuna would pass over it, and write on after it
            handle.truncate(end)
    return journal


def _name_in_shared_storage(folder: Path) -> str:
    """A study name that belongs to this folder, wherever the folder is moved."""
    path = folder / "study.json"
    if not path.exists():
        write_json(path, {"study_name": f"limbeck-{uuid.uuid4().hex[:12]}"})
    return str(read_json(path)["study_name"])


def _scheme(url: str) -> str:
    """What may be shown of a storage URL: it may hold a password."""
    return url.partition("://")[0] + "://..."
