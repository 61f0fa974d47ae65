"""The controller's constants on tables of random effects: what the preset `short` was chosen by.

    python benchmarks/search_policy.py --space large --set learning_rate=0.002 batch_size=5

Each table gives accuracy and latency random effects of every decision, accuracy also of pairs of neighbours; slower ids are
better on average, as in networks. The figures are means over tables: the best reward of all evaluations and of the first 100
and 200, the mean of the last 50, and what as many uniform draws reach. No optimum is known: compare rows of one run.
"""

from __future__ import annotations

import argparse
import time
from ast import literal_eval
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import fmean

import numpy as np

from limbeck.search import reward
from limbeck.search.policy import PRESETS, Policy, PolicySettings

SPACES = {"small": (4, 2, 2, 3, 3) * 2, "large": (4, 2, 2, 3, 3, 3) * 7}  # ids of each decision; large = MobileNetV2's
TARGET_MS, EXPONENT = 18.0, -0.3

Reward = Callable[[Sequence[int]], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=SPACES, default="small")
    parser.add_argument("--preset", choices=PRESETS, default="short")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the policy's constants")
    parser.add_argument("--tables", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=600)
    given = parser.parse_args()
    changes = {name: literal_eval(value) for name, value in (one.split("=") for one in given.set)}
    settings, sizes = replace(PRESETS[given.preset], **changes), SPACES[given.space]
    started = time.perf_counter()
    for name, run in (
        ("policy", lambda seed: by_policy(sizes, seed, given.evaluations, settings)),
        ("uniform", lambda seed: by_chance(sizes, seed, given.evaluations)),
    ):
        traces = [run(seed) for seed in range(given.tables)]
        figures = {
            "best": fmean(max(trace) for trace in traces),
            "of 100": fmean(max(trace[:100]) for trace in traces),
            "of 200": fmean(max(trace[:200]) for trace in traces),
            "last 50": fmean(fmean(trace[-50:]) for trace in traces),
        }
        print(f"{name:8}", "  ".join(f"{what} {value:.4f}" for what, value in figures.items()), flush=True)
    print(f"{settings}\n{given.space} space, {given.tables} tables, {time.perf_counter() - started:.0f} s")


def make_table(sizes: Sequence[int], seed: int) -> Reward:
    """A reward of tokens: main effects and pairs of neighbours through a tanh, latency a sum of effects."""
    chance = np.random.default_rng(100 + seed)
    effects = [chance.normal(size=size) for size in sizes]
    costs = [chance.uniform(size=size) for size in sizes]
    for effect, cost in zip(effects, costs, strict=True):
        effect += (cost - 0.5) / 0.29  # a standard deviation of cost is worth one of accuracy
    pairs = [0.5 * chance.normal(size=(one, two)) for one, two in pairwise(sizes)]

    def judge(tokens: Sequence[int]) -> float:
        total = sum(effect[token] for effect, token in zip(effects, tokens, strict=True))
        total += sum(pair[one, two] for pair, (one, two) in zip(pairs, pairwise(tokens), strict=True))
        accuracy = 0.6 + 0.25 * np.tanh(total / (2 * np.sqrt(len(sizes))))
        latency = 10 + 20 * fmean(cost[token] for cost, token in zip(costs, tokens, strict=True))
        return reward(float(accuracy), latency, TARGET_MS, alpha=EXPONENT, beta=EXPONENT)

    return judge


def by_policy(sizes: Sequence[int], seed: int, evaluations: int, settings: PolicySettings) -> list[float]:
    judge, policy = make_table(sizes, seed), Policy(sizes, settings, seed)
    rewards: list[float] = []
    batch = []
    for number in range(evaluations):
        tokens, _ = policy.draw(np.random.default_rng([seed, number]))
        rewards.append(judge(tokens))
        batch.append((tokens, rewards[-1]))
        if len(batch) == settings.batch_size:
            policy.learn(batch)
            batch = []
    return rewards


def by_chance(sizes: Sequence[int], seed: int, evaluations: int) -> list[float]:
    judge, chance = make_table(sizes, seed), np.random.default_rng([seed, 1])
    return [judge([int(chance.integers(size)) for size in sizes]) for _ in range(evaluations)]


if __name__ == "__main__":
    main()
