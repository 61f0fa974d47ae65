"""A search over a formula: fast, deterministic, and with a record of every evaluation that began and ended."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import optuna

from limbeck.search import CandidateCost, Ceilings, Space, run_study
from limbeck.types import Evaluation

NAMES = ("a", "b", "c", "d", "e", "f")
LEVELS = (0, 1, 2, 3, 4)
TARGET = {"a": 4, "b": 0, "c": 2, "d": 3, "e": 1, "f": 4}


def build(point):
    return dict(point)


def toy_space(levels=LEVELS, names=NAMES, name="toy"):
    return Space(name, dict.fromkeys(names, levels), build, dict.fromkeys(names, levels[0]), {"version": 1})


def accuracy(point):
    distance = sum(abs(point[name] - TARGET[name]) for name in point)
    wobble = int(hashlib.sha256(json.dumps(point, sort_keys=True).encode()).hexdigest()[:6], 16) / 16**6
    return 1.0 - distance / 24 + 0.01 * wobble


def params(point):
    return 100 + 10 * sum(point.values())


def latency(point):
    return 1.0 + 0.5 * point["a"] + 0.25 * sum(point.values())


@dataclass(frozen=True)
class Trainer:
    """Sleeps, writes one line to a log as it ends, and can be told to misbehave at some points."""

    log: str
    sleep: float = 0.0
    fails: str = ""  # JSON of {choice: level} that raises
    kills_once: str = ""  # a file; while it is missing, the first evaluation writes it and kills its own process
    kills_always: str = ""  # JSON of {choice: level} that kills its process each time

    def __call__(self, point, seed):
        if self.sleep:
            time.sleep(self.sleep)
        if self.kills_once and not os.path.exists(self.kills_once):
            Path(self.kills_once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kills_always and json.loads(self.kills_always).items() <= point.items():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails and json.loads(self.fails).items() <= point.items():
            raise RuntimeError("the loss is not finite")
        with open(self.log, "a") as handle:
            handle.write(json.dumps({"point": point, "pid": os.getpid(), "seed": seed}) + "\n")
        return Evaluation("complete", accuracy=accuracy(point))


def time_candidates(points):
    return [CandidateCost(latency_ms=latency(point), size_bytes=4 * params(point)) for point in points]


def cheap_cost(point):
    return params(point), 1000 * params(point)


class OrderSensitive(optuna.samplers.RandomSampler):
    """Draws from everything that a sampler can see: the states, points and values of the trials, in their order."""

    def __init__(self, seed):
        super().__init__(seed=seed)
        self.seed = seed

    def sample_independent(self, study, trial, name, distribution):
        seen = [t for t in study.get_trials(deepcopy=False) if t.state.name != "FAIL" and t.number != trial.number]
        told = [self.seed, name, *((t.state.name, t.params, t.value) for t in seen)]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).digest()
        return distribution.choices[digest[0] % len(distribution.choices)]


def search(
    folder, *, trials=24, batch=4, seed=0, ceilings=None, evaluate=None, timing=time_candidates, space=None, **more
):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return run_study(
        space or toy_space(),
        folder=folder,
        trials=trials,
        batch=batch,
        seed=seed,
        ceilings=ceilings or Ceilings(max_latency_ms=5.0, max_params=230),
        time_candidates=timing,
        cheap_cost=cheap_cost,
        evaluate=evaluate or Trainer(str(folder / "evaluations.log")),
        **more,
    )


def evaluations(folder):
    path = Path(folder) / "evaluations.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def trajectory(result):
    """What must not depend on kills: everything but trial numbers and wall time."""
    left_out = ("number", "seconds", "reused")
    return [{key: value for key, value in trial.items() if key not in left_out} for trial in result.trials]


if __name__ == "__main__":  # a driver process to be killed: FOLDER SEED WORKERS
    import sys

    os.fsync = lambda handle: None  # as in conftest.py
    target, seed, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    trainer = Trainer(str(Path(target) / "evaluations.log"), sleep=random.uniform(0.0, 0.02))
    done = search(target, seed=seed, workers=workers, evaluate=trainer)
    (Path(target) / "done.json").write_text(json.dumps(done.as_json()))
