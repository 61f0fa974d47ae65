from __future__ import annotations

import numpy as np
import pytest
from narrow_networks import small_table

from limbeck.adapt import directions, narrowest, propose, split_rows, width_groups
from limbeck.errors import InputError
from limbeck.models import family_table

V3 = split_rows(family_table("mobilenet_v3_large"))
SMALL = split_rows(small_table())


class Clock:
    """A device whose latency is a function of the table; counts what it was asked."""

    def __init__(self, latency):
        self.latency, self.calls, self.tables = latency, 0, 0

    def __call__(self, tables):
        self.calls, self.tables = self.calls + 1, self.tables + len(tables)
        return [self.latency(table) for table in tables]


def mega_macs(table):
    return table.macs() / 1e6


def in_vectors(table):
    """As a processor with registers of 32 channels: most steps of 8 gain nothing."""
    plans = [plan for plans in table.blocks() for plan in plans]
    return sum(-(-p.hidden_channels // 32) * -(-p.out_channels // 16) for p in plans) / 10


def widest(table, direction, latency, enough):
    """Slow: every width in turn."""
    for width in direction.widths:
        if latency(direction.table(table, width)) <= enough:
            return direction.describe(width)
    return None


def test_v3_has_a_direction_for_each_expansion_and_each_group():
    found = directions(V3)
    assert [one.width for one in found if one.kind == "expansion"] == [
        *(64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960)
    ]
    assert [one.members for one in found if one.kind == "width"] == [group.members for group in width_groups(V3)]
    assert all(width % 8 == 0 and width < one.width for one in found for width in one.widths)
    # 672 and 960 channels on 8 would be an expansion beyond the 64 times that a row may have
    assert [one.widths[-1] for one in found] == [8] * 18 + [16] * 2
    assert found[9].describe(400) == "expansion of block 11: 480 -> 400"
    assert found[-3].describe(72) == "width of blocks 7-10: 80 -> 72"
    assert found[14].describe(8) == "width of blocks 0-1: 16 -> 8"


def test_grid_and_least_width_bound_the_choices():
    found = directions(V3, grid=16, min_width=48)
    assert all(width % 16 == 0 and width >= 48 for one in found for width in one.widths)
    assert min(one.width for one in found) > 48


@pytest.mark.parametrize("latency", [mega_macs, in_vectors])
@pytest.mark.parametrize("table", [V3, SMALL])
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_each_proposal_is_the_widest_that_is_enough_faster(latency, table, share):
    clock, now = Clock(latency), latency(table)
    current, found = propose(table, clock, current_ms=now, delta_ms=share * now)
    assert current == now
    expected = [widest(table, one, latency, now * (1 - share)) for one in directions(table)]
    assert [one.what for one in found] == [one for one in expected if one is not None]
    assert all(one.latency_ms == latency(one.table) <= now * (1 - share) for one in found)
    assert found
    every = sum(len(one.widths) for one in directions(table))
    assert clock.calls <= 11
    assert clock.tables < every


def test_few_timings_where_latency_is_smooth():
    clock, now = Clock(mega_macs), mega_macs(V3)
    propose(V3, clock, current_ms=now, delta_ms=0.01 * now)
    assert clock.calls <= 8
    assert clock.tables / len(directions(V3)) < 5  # of up to 119 widths each


def test_what_does_not_hold_beside_the_network_becomes_narrower():
    draw = np.random.default_rng(0)
    drift = {"factor": 1.0}

    def noisy(tables):  # every call is another moment, 2 % up or down, and each timing has an error of its own
        drift["factor"] = 1 + 0.02 * draw.standard_normal()
        return [mega_macs(one) * drift["factor"] * (1 + 0.002 * draw.standard_normal()) for one in tables]

    now = mega_macs(V3)
    current, found = propose(V3, noisy, current_ms=now, delta_ms=0.03 * now)
    assert found
    assert all(one.latency_ms <= current - 0.03 * now * 0.97 for one in found)
    gains = [1 - mega_macs(one.table) / now for one in found]
    assert min(gains) > 0.02  # truly faster, not by a lucky moment


def test_a_candidate_that_cannot_be_timed_is_never_proposed():
    def fails_below(tables):
        return [RuntimeError("no") if one.rows[13].expansion < 5 else mega_macs(one) for one in tables]

    now = mega_macs(V3)
    _, found = propose(V3, fails_below, current_ms=now, delta_ms=0.01 * now)
    assert found
    assert not any(one.what.startswith("expansion of block 14") for one in found)


def test_a_network_that_cannot_be_timed_any_more_is_told():
    answers = {"all": True}

    def vanishes(tables):
        answers["all"] = answers["all"] and tables[0] is not SMALL
        return [mega_macs(one) if answers["all"] else RuntimeError("gone") for one in tables]

    now = mega_macs(SMALL)
    with pytest.raises(InputError, match="cannot be timed any more"):
        propose(SMALL, vanishes, current_ms=now, delta_ms=0.01 * now)


def test_nothing_is_proposed_where_nothing_is_faster():
    current, found = propose(SMALL, Clock(lambda table: 5.0), current_ms=5.0, delta_ms=0.1)
    assert (current, found) == (5.0, [])


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_large", "mnasnet_a1", "mobilenet_v2", "mnasnet_d1", "efficientnet_lite0"]
)
def test_the_narrowest_network_has_nothing_left_to_give(name):
    table = family_table(name)
    least = narrowest(table)
    assert directions(least) == []
    assert least.macs() < table.macs()
    assert [plan.skip for plans in least.blocks() for plan in plans] == [
        plan.skip for plans in split_rows(table).blocks() for plan in plans
    ]
