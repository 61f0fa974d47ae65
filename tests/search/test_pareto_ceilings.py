import random

import pytest

from limbeck.errors import InputError
from limbeck.search import Ceilings, pareto_front


def test_the_front_by_hand():
    points = [(0.5, 1.0), (0.7, 2.0), (0.6, 3.0), (0.9, 4.0), (0.9, 5.0), (0.5, 1.0)]
    assert pareto_front(points) == [0, 1, 3]
    assert pareto_front(points, higher_is_better=False) == [0]
    assert pareto_front([]) == []


def test_the_front_is_what_its_definition_says():
    chance = random.Random(0)
    for _ in range(50):
        points = [(chance.randint(0, 9), chance.randint(0, 9)) for _ in range(30)]

        def is_beaten(one, points=points):
            return any(o != one and o[0] >= one[0] and o[1] <= one[1] for o in points)

        front = pareto_front(points)
        assert {points[i] for i in front} == {one for one in points if not is_beaten(one)}
        assert len({points[i] for i in front}) == len(front)
        costs = [points[i][1] for i in front]
        assert costs == sorted(costs)


def test_violations_name_every_ceiling_that_is_exceeded():
    ceilings = Ceilings(max_latency_ms=2.0, max_params=1000, max_macs=None, max_size_bytes=4000)
    assert ceilings.violations(latency_ms=2.0, params=1000, macs=10**9, size_bytes=4000) == []
    assert ceilings.violations(latency_ms=2.5, params=1001) == [
        "latency_ms 2.5 > max_latency_ms 2",
        "params 1,001 > max_params 1,000",
    ]
    assert Ceilings().violations(latency_ms=1e9, params=10**12) == []


def test_constraints_are_shares_one_for_each_ceiling_in_force():
    ceilings = Ceilings(max_latency_ms=2.0, max_params=1000)
    assert ceilings.constraints(latency_ms=3.0, params=500) == [0.5, -0.5]
    assert ceilings.constraints(params=1500) == [0.0, 0.5]
    assert Ceilings().constraints(params=1) == []


@pytest.mark.parametrize("bound", [0, -1, float("nan"), float("inf")])
def test_a_ceiling_must_be_a_positive_number(bound):
    with pytest.raises(InputError, match="max_latency_ms"):
        Ceilings(max_latency_ms=bound)
