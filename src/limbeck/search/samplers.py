"""The samplers by name, and the history that they draw from. No ledger and no evaluation here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState, create_trial

from limbeck.parts import find_part

if TYPE_CHECKING:
    from limbeck.search.space import Point, Space

__all__ = ["SAMPLERS", "History", "make_sampler", "quiet_optuna"]

Direction = Literal["minimize", "maximize"]

# Optuna 5 reads constraints from the trials; Optuna 4 asks for a function that returns them.
_TRIALS_HOLD_CONSTRAINTS = hasattr(optuna.trial.Trial, "set_constraint")


def read_constraints(trial: optuna.trial.FrozenTrial) -> Sequence[float]:
    """The constraints that a trial was recorded with (above zero = violated)."""
    return trial.user_attrs.get("constraints", ())


def _tpe(seed: int) -> BaseSampler:
    # Joint over the choices, and a batch drawn at once is spread out by taking running trials for bad ones.
    options: dict[str, Any] = {} if _TRIALS_HOLD_CONSTRAINTS else {"constraints_func": read_constraints}
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, **options)


def _random(seed: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {"tpe": _tpe, "random": _random}


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's own log lines and its notes on experimental or ageing arguments, and put all back after."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"optuna(\..*)?$")
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.filterwarnings("ignore", message=r".*(deprecated|experimental).*", category=FutureWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def make_sampler(name: str, seed: int, slot: int, attempt: int) -> BaseSampler:
    """A fresh sampler whose random state depends on the seed, the slot and the attempt alone.

    So the draw for a slot is the same in a search that was killed and started again, whatever the trial numbers are.

    Raises:
        InputError: no such sampler.
    """
    factory = find_part("sampler", name, SAMPLERS, where="search.sampler")
    return factory(int(np.random.SeedSequence([seed, slot, attempt]).generate_state(1)[0]))


class History:
    """The study as an unbroken search would hold it at this moment, in memory: what samplers are shown.

    The ledger of a search that was killed holds lost trials, and trials asked again under higher numbers. Samplers
    weigh trials by their order, so drawing from the ledger itself would bend the trajectory. Here the candidates stand
    in the order of (slot, attempt), each once.
    """

    def __init__(self, space: Space, *, sampler: str, seed: int, direction: Direction) -> None:
        self._space, self._sampler, self._seed = space, sampler, seed
        self._distributions = {
            name: optuna.distributions.CategoricalDistribution(ids) for name, ids in space.choices.items()
        }
        self._study = optuna.create_study(direction=direction, storage=optuna.storages.InMemoryStorage())

    def add(self, point: Point, state: str, *, accuracy: float | None, constraints: Sequence[float]) -> None:
        """Append one candidate in its present state: running, complete, pruned or failed."""
        self._study.add_trial(
            create_trial(
                state=TRIAL_STATES[state],
                value=accuracy if state == "complete" else None,
                params=dict(point),
                distributions=dict(self._distributions),
                user_attrs={"constraints": list(constraints)},
                # The form of Optuna 4, which Optuna 5 reads too.
                system_attrs={} if state == "running" else {"constraints": list(constraints)},
            )
        )

    def draw(self, slot: int, attempt: int) -> Point:
        """What the sampler proposes after everything that was added."""
        self._study.sampler = make_sampler(self._sampler, self._seed, slot, attempt)
        trial = self._study.ask(dict(self._distributions))
        # Samplers pass over failed trials: the caller adds the point itself, in the state that it turns out to have.
        self._study.tell(trial, state=TrialState.FAIL)
        return self._space.check(trial.params)


TRIAL_STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
