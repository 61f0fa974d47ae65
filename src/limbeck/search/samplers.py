"""The samplers by name, and the history that they draw from. No ledger and no evaluation here."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import optuna
from optuna.samplers import BaseSampler, NSGAIISampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from limbeck.errors import InputError, unknown_name
from limbeck.parts import find_part

if TYPE_CHECKING:
    from limbeck.search.space import Point, Space

__all__ = ["SAMPLERS", "TWO_OBJECTIVES", "History", "check_sampler", "make_sampler", "quiet_optuna"]

Direction = Literal["minimize", "maximize"]

# Optuna 5 reads constraints from the trials; Optuna 4 asks for a function that returns them.
_TRIALS_HOLD_CONSTRAINTS = hasattr(optuna.trial.Trial, "set_constraint")


def read_constraints(trial: optuna.trial.FrozenTrial) -> Sequence[float]:
    """The constraints that a trial was recorded with (above zero = violated)."""
    return trial.user_attrs.get("constraints", ())


_READS_CONSTRAINTS: dict[str, Any] = {} if _TRIALS_HOLD_CONSTRAINTS else {"constraints_func": read_constraints}

POPULATION = 24  # of nsga2: searches are of hundreds of evaluations, Optuna's default is made for thousands


class _Nsga2(NSGAIISampler):
    """Optuna's, but that the order of parents does not depend on whether they were looked up before."""

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)


def _tpe(seed: int) -> BaseSampler:
    # Joint over the choices, and a batch drawn at once is spread out by taking running trials for bad ones.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, **_READS_CONSTRAINTS)


def _nsga2(seed: int, *, population_size: int = POPULATION) -> BaseSampler:
    if type(population_size) is not int or population_size < 2:
        raise InputError(f"population_size must be a whole number of at least 2, got {population_size!r}")
    return _Nsga2(seed=seed, population_size=population_size, **_READS_CONSTRAINTS)


def _controller(
    seed: int, *, search_seed: int, space: Space | None, preset: str = "short", **constants: Any
) -> BaseSampler:
    from limbeck.search.controller import PolicySampler  # imports torch
    from limbeck.search.policy import PolicySettings

    known = ["preset", *PolicySettings.__dataclass_fields__]
    if wrong := sorted(constants.keys() - known):
        raise unknown_name("constant", wrong[0], known, where="search.sampler_options of 'controller'")
    return PolicySampler(search_seed, preset=preset, space=space, draw_seed=seed, **constants)


def _random(seed: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "controller": _controller,
    "tpe": _tpe,
    "nsga2": _nsga2,
    "random": _random,
}
HANDED = ("search_seed", "space")  # to the samplers that name them
TWO_OBJECTIVES = ("nsga2",)  # the score and the latency; the others see the score alone


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


def make_sampler(
    name: str,
    seed: int,
    slot: int,
    attempt: int,
    *,
    space: Space | None = None,
    options: Mapping[str, Any] | None = None,
) -> BaseSampler:
    """A fresh sampler whose random state depends on the seed, the slot and the attempt alone.

    So the draw for a slot is the same in a search that was killed and started again, whatever the trial numbers are.

    Args:
        name: of `SAMPLERS`, or `package.module:function` of that random state. A function whose signature names
            `search_seed` or `space` is handed the seed of the whole search, or its space.
        seed: of the search.
        slot: place in the search.
        attempt: how many candidates of this slot were rejected before.
        space: what is searched.
        options: further arguments of the function.

    Raises:
        InputError: no such sampler, or an option that it does not take.
    """
    factory = _checked_factory(name, options or {})
    handed = {"search_seed": seed, "space": space}
    given = {key: value for key, value in handed.items() if key in inspect.signature(factory).parameters}
    state = int(np.random.SeedSequence([seed, slot, attempt]).generate_state(1)[0])
    return factory(state, **given, **(options or {}))


def check_sampler(name: str, options: Mapping[str, Any]) -> None:
    """Tell what is wrong with a sampler before any work; ours are made once, for the values of their options.

    Raises:
        InputError: no such sampler, or an option that it does not take.
    """
    _checked_factory(name, options)
    if name in SAMPLERS:
        with quiet_optuna():
            make_sampler(name, 0, 0, 0, options=options)


def _checked_factory(name: str, options: Mapping[str, Any]) -> Callable[..., BaseSampler]:
    factory: Callable[..., BaseSampler] = find_part("sampler", name, SAMPLERS, where="search.sampler")
    if not callable(factory):
        raise InputError(f"search.sampler = '{name}': is a {type(factory).__name__}, not a function of a seed")
    parameters = inspect.signature(factory).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    handed = (next(iter(parameters), ""), *HANDED)
    known = [one.name for one in parameters.values() if one.name not in handed and one.kind is not one.VAR_KEYWORD]
    for option in options:
        if option in handed or (option not in known and not takes_all):
            where = f"search.sampler_options of '{name}'"
            raise (
                unknown_name("option", option, known, where=where)
                if known
                else InputError(f"{where}: it takes no options, got '{option}'")
            )
    return factory


class History:
    """The study as an unbroken search would hold it at this moment, in memory: what samplers are shown.

    The ledger of a search that was killed holds lost trials, and trials asked again under higher numbers. Samplers
    weigh trials by their order, so drawing from the ledger itself would bend the trajectory. Here the candidates stand
    in the order of (slot, attempt), each once.
    """

    def __init__(self, space: Space, *, sampler: str, seed: int, options: Mapping[str, Any] | None = None) -> None:
        self._space, self._sampler, self._seed, self._options = space, sampler, seed, dict(options or {})
        self._distributions = {
            name: optuna.distributions.CategoricalDistribution(ids) for name, ids in space.choices.items()
        }
        self._sees_latency = sampler in TWO_OBJECTIVES
        directions: list[Direction] = ["maximize", "minimize"] if self._sees_latency else ["maximize"]
        self._study = optuna.create_study(directions=directions, storage=optuna.storages.InMemoryStorage())
        self._added = self._complete = 0

    def add(
        self, point: Point, state: str, *, score: float | None, latency_ms: float | None, constraints: Sequence[float]
    ) -> None:
        """Append one candidate in its present state: running, complete, pruned or failed.

        Args:
            point: of the candidate.
            state: as above.
            score: what the search maximises; read where it is complete.
            latency_ms: the second objective of samplers that have two.
            constraints: excess over each ceiling.
        """
        # The form of Optuna 4, which Optuna 5 reads too.
        attrs: dict[str, Any] = {} if state == "running" else {"constraints": list(constraints)}
        values: list[float] | None = None
        if state == "complete":
            assert score is not None
            assert latency_ms is not None
            values = [score, latency_ms] if self._sees_latency else [score]
            if self._sees_latency:  # a drawn trial is added anew, without the generation that Optuna noted in it
                size = self._options.get("population_size", POPULATION)
                attrs[_Nsga2._get_generation_key()] = self._complete // size
            self._complete += 1
        trial = create_trial(
            state=TRIAL_STATES[state],
            values=values,
            params=dict(point),
            distributions=dict(self._distributions),
            user_attrs={"constraints": list(constraints)},
            system_attrs=attrs,
        )
        if trial.datetime_complete is not None:  # a clock that is put back would change the order
            self._added += 1
            trial.datetime_complete = datetime.fromtimestamp(0, UTC).replace(tzinfo=None) + timedelta(
                seconds=self._added
            )
        self._study.add_trial(trial)

    def draw(self, slot: int, attempt: int) -> tuple[Point, dict[str, float]]:
        """What the sampler proposes after everything that was added, and what it tells of the draw."""
        sampler = make_sampler(self._sampler, self._seed, slot, attempt, space=self._space, options=self._options)
        self._study.sampler = sampler
        trial = self._study.ask(dict(self._distributions))
        # Samplers pass over failed trials: the caller adds the point itself, in the state that it turns out to have.
        self._study.tell(trial, state=TrialState.FAIL)
        entropy = getattr(sampler, "entropy", None)
        return self._space.check(trial.params), {} if entropy is None else {"policy_entropy": float(entropy)}


TRIAL_STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
