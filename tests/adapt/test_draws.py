"""Narrower forms drawn at random: buildable, distinct, seeded, on the grid, and from the table down to the least widths."""

from itertools import islice

import pytest
from narrow_networks import tiny_table

from limbeck.adapt import draw_narrowings, narrowest, split_rows, width_groups
from limbeck.models import build, family_table


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mnasnet_a1"])
def test_narrowings_lie_between_the_table_and_its_narrowest_form(name):
    table = family_table(name, num_classes=4, input_size=(32, 32))
    drawn = list(islice(draw_narrowings(table, min_width=16, seed=1), 40))
    assert drawn == list(islice(draw_narrowings(table, min_width=16, seed=1), 40))
    assert drawn[0] == split_rows(table)
    assert len({one.fingerprint() for one in drawn}) == 40
    least, most = narrowest(table, min_width=16).macs(), table.macs()
    macs = [one.macs() for one in drawn]
    assert all(least <= one < most for one in macs[1:])
    assert max(macs[1:]) > 0.9 * most  # near forms of the table come too
    assert min(macs) < 0.5 * most
    groups = width_groups(drawn[0])
    for one in drawn[1:]:
        assert [group.members for group in width_groups(one)] == [group.members for group in groups]
        for now, before in zip(width_groups(one), groups, strict=True):
            assert now.width == before.width or (now.width % 8 == 0 and 16 <= now.width < before.width)
    build(drawn[-1])


def test_a_table_with_few_widths_is_drawn_out():
    drawn = list(draw_narrowings(tiny_table(), grid=64, min_width=64))
    assert drawn == [split_rows(tiny_table())]
