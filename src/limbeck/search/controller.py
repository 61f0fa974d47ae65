"""MnasNet's controller as an Optuna sampler, its state rebuilt from the study. Not here: the policy itself (`policy`)."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from limbeck.errors import InputError, unknown_name
from limbeck.search.policy import NOT_TAKEN, PRESETS, Policy, PolicySettings
from limbeck.search.space import Scalar, Space

__all__ = ["PolicySampler"]

Decisions = dict[str, tuple[Any, ...]]
Lesson = tuple[tuple[int, ...], float]  # tokens and reward

KEPT_POLICIES = 8  # in a process, those of the last draws; a study whose policy was dropped replays its trials
_KEPT: list[tuple[tuple[Any, ...], Policy]] = []
_KEPT_LOCK = threading.Lock()


class PolicySampler(BaseSampler):
    """Draws points from a policy that learns from every complete trial, in the order in which they were completed.

    For any study of one objective that is maximised, over categorical parameters:

        study = optuna.create_study(direction="maximize", sampler=PolicySampler(seed=0))
        study.optimize(objective, n_trials=300)

    Nothing of it is stored: the policy follows from the seed and the complete trials, so that a study that was killed
    goes on with the policy that it had. Only the complete ones teach; pruned and failed trials do not. The random state
    of a draw follows from the seed and the number of complete and pruned trials (and, for trials asked before any of
    them is told, from how many this sampler drew at that number); trial numbers mean nothing.

    Args:
        seed: of the first weights and of the draws; None = another one each time.
        preset: `short`, for hundreds of evaluations, or `nasnet`, the published constants, for thousands.
        space: the decisions in their order, a `Space` or name -> ids. None = those of the first complete trial, in the
            order in which it took them; until then, and for parameters that it did not have, draws are uniform.
        draw_seed: the random state of draws in place of the count of trials, for a caller that keeps its own.
        **constants: of `PolicySettings`, in place of the preset's.

    Attributes:
        entropy: of the last draw, in [0, 1]: the decisions' mean along it as a share of the largest that they can have;
            None before the policy drew. Near 0 it proposes one point again and again.

    Raises:
        InputError: a wrong argument; from a study: several objectives, one that is minimised, a parameter that is not
            categorical or not in `space`.

    **Source:** Tan et al. 2019 (MnasNet), arXiv 1807.11626, section 4.2: the controller of NASNet (arXiv 1707.07012)
    trained by PPO.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        preset: str = "short",
        space: Space | Mapping[str, Sequence[Scalar]] | None = None,
        draw_seed: int | None = None,
        **constants: Any,
    ) -> None:
        if not isinstance(preset, str) or preset not in PRESETS:
            raise unknown_name("preset", str(preset), PRESETS, where="PolicySampler")
        known = PolicySettings.__dataclass_fields__
        if wrong := [name for name in constants if name not in known]:
            raise unknown_name("constant", wrong[0], known, where="PolicySampler")
        if seed is not None and (type(seed) is not int or seed < 0):
            raise InputError(f"PolicySampler: seed must be a whole number of at least 0, got {seed!r}")
        self._settings = replace(PRESETS[preset], **constants)
        self._seed = secrets.randbits(63) if seed is None else seed
        choices = space.choices if isinstance(space, Space) else space
        self._space: Decisions | None = None if choices is None else {k: tuple(v) for k, v in choices.items()}
        self._draw_seed = draw_seed
        self._apart: tuple[int, ...] = ()
        self._slot, self._places = -1, dict[int, int]()
        self._lock = threading.Lock()
        self.entropy: float | None = None

    def reseed_rng(self) -> None:
        """Draw apart from copies of this sampler in other processes; Optuna calls it for trials side by side."""
        self._apart = (secrets.randbits(63),)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Refuse a study that it is not for."""
        if len(study.directions) != 1:
            raise InputError(f"PolicySampler: the study has {len(study.directions)} objectives; it takes one")
        if study.direction != StudyDirection.MAXIMIZE:
            raise InputError("PolicySampler: the study minimises; make it with direction='maximize'")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The decisions, as far as they are known."""
        return {name: CategoricalDistribution(ids) for name, ids in self._decisions(_completed(study)).items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All decisions of a point, by the policy."""
        if not search_space:
            return {}
        completed = _completed(study)
        decisions = self._decisions(completed)
        lessons = _lessons(completed, decisions)
        sizes = [len(ids) for ids in decisions.values()]
        chance = self._chance(study, trial)
        tokens, self.entropy = _draw_after(lessons, sizes, self._settings, self._seed, chance)
        return {name: ids[token] for (name, ids), token in zip(decisions.items(), tokens, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A uniform draw, for what the policy does not decide."""
        if not isinstance(param_distribution, CategoricalDistribution):
            kind = type(param_distribution).__name__
            raise InputError(
                f"PolicySampler: parameter '{param_name}' is a {kind}; only suggest_categorical is searched"
            )
        if self._space is not None and param_name not in self._space:
            raise unknown_name("parameter", param_name, self._space, where="PolicySampler(space=...)")
        chance = self._chance(study, trial, *param_name.encode())
        return param_distribution.choices[int(chance.integers(len(param_distribution.choices)))]

    def _decisions(self, completed: Sequence[FrozenTrial]) -> Decisions:
        if self._space is not None:
            return self._space
        for trial in completed:
            found = trial.distributions.items()
            return {name: one.choices for name, one in found if isinstance(one, CategoricalDistribution)}
        return {}

    def _chance(self, study: Study, trial: FrozenTrial, *further: int) -> np.random.Generator:
        """The random state of this trial's draw."""
        if self._draw_seed is not None:
            return np.random.default_rng([self._seed, self._draw_seed, *self._apart, *further])
        slot = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))
        with self._lock:
            if slot != self._slot:
                self._slot, self._places = slot, {}
            place = self._places.setdefault(trial.number, len(self._places))
        return np.random.default_rng([self._seed, slot, place, *self._apart, *further])


def _completed(study: Study) -> list[FrozenTrial]:
    """Complete trials in the order of completion, whatever their numbers are."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (trial.datetime_complete is None, trial.datetime_complete, trial.number))


def _lessons(completed: Sequence[FrozenTrial], decisions: Decisions) -> list[Lesson]:
    """The place of each id among those of its decision, and the reward; what is infinite teaches nothing."""
    places = {name: {one: place for place, one in reversed([*enumerate(ids)])} for name, ids in decisions.items()}
    for trial in completed[:1]:  # Optuna holds all trials to the choices of the first
        for name, known in trial.distributions.items():
            if name in decisions and getattr(known, "choices", None) != decisions[name]:
                raise InputError(f"PolicySampler: the study's parameter '{name}' has other choices than its space")
    lessons = []
    for trial in completed:
        if trial.value is not None and isfinite(trial.value):
            chosen = trial.params
            tokens = (ids[chosen[name]] if name in chosen else NOT_TAKEN for name, ids in places.items())
            lessons.append((tuple(tokens), float(trial.value)))
    return lessons


def _draw_after(
    lessons: list[Lesson], sizes: list[int], settings: PolicySettings, seed: int, chance: np.random.Generator
) -> tuple[tuple[int, ...], float]:
    """Tokens and entropy by the policy that learned from all whole batches of `lessons`.

    A policy that this process has is taught only what is new.
    """
    whole = lessons[: len(lessons) // settings.batch_size * settings.batch_size]
    kind = (tuple(sizes), settings, seed)
    with _KEPT_LOCK:
        fitting = [entry for entry in _KEPT if entry[0] == kind and entry[1].learned == whole[: len(entry[1].learned)]]
        entry = max(fitting, key=lambda one: len(one[1].learned), default=None)
        if entry is None:
            entry = (kind, Policy(sizes, settings, seed))
        else:
            _KEPT.remove(entry)
        policy = entry[1]
        for start in range(len(policy.learned), len(whole), settings.batch_size):
            policy.learn(whole[start : start + settings.batch_size])
        _KEPT.append(entry)
        del _KEPT[:-KEPT_POLICIES]
        return policy.draw(chance)
