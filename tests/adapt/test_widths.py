from __future__ import annotations

from dataclasses import replace

import pytest

from limbeck.adapt import join_rows, split_rows, width_groups, with_widths
from limbeck.errors import InputError
from limbeck.models import MODELS, Head, Row, Table, family_table


def groups(name):
    return [(group.width, group.members) for group in width_groups(family_table(name))]


def rows(*numbers):
    return tuple(f"row{number}" for number in numbers)


def test_the_groups_of_mobilenet_v3_large_are_those_of_the_paper():
    # {stem 16 and bneck 1}, {24: 2, 3}, {40: 4-6}, {80: 7-10}, {112: 11, 12}, {160: 13-15}; bneck n is row n - 1
    assert groups("mobilenet_v3_large") == [
        (16, ("stem", "row0")),
        (24, rows(1, 2)),
        (40, rows(3, 4, 5)),
        (80, rows(6, 7, 8, 9)),
        (112, rows(10, 11)),
        (160, rows(12, 13, 14)),
    ]


def test_without_the_first_addition_the_stem_is_free():
    assert groups("mobilenet_v3_rw")[:2] == [(16, ("stem",)), (16, ("row0",))]


def test_the_groups_of_mnasnet_a1_and_mobilenet_v2_are_their_rows():
    a1 = [(32, ("stem",)), *((width, (f"row{i}",)) for i, width in enumerate((16, 24, 40, 80, 112, 160, 320)))]
    v2 = [(32, ("stem",)), *((width, (f"row{i}",)) for i, width in enumerate((16, 24, 32, 64, 96, 160, 320)))]
    assert groups("mnasnet_a1") == a1
    assert groups("mobilenet_v2") == v2


def test_a_row_whose_blocks_add_nothing_is_still_one_group():
    table = Table("t", Row("conv", 8), (Row("inverted", 8, repeats=3, skip="none"), Row("separable", 8)), Head())
    assert [group.members for group in width_groups(table)] == [("stem",), ("row0",), ("row1",)]


def test_a_first_block_that_adds_ties_its_row_to_the_one_before():
    table = Table("t", Row("conv", 8), (Row("separable", 16), Row("fused", 16, repeats=2)), Head())
    assert [group.members for group in width_groups(table)] == [("stem",), ("row0", "row1")]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_splitting_and_joining_rows_keeps_the_network(name):
    table = family_table(name)
    split = split_rows(table)
    assert all(row.repeats == 1 for row in split.rows)
    assert [plan for plans in split.blocks() for plan in plans] == [plan for plans in table.blocks() for plan in plans]
    joined = join_rows(split)
    assert split_rows(joined) == split
    assert len(joined.rows) <= len(table.rows)
    flat = [(group.width, len(group.members)) for group in width_groups(split)]
    assert sum(count for _, count in flat) == 1 + sum(row.repeats for row in table.rows)


def test_a_block_of_a_row_changes_alone():
    split = split_rows(family_table("mnasnet_a1"))
    before = [plan.hidden_channels for plans in split.blocks() for plan in plans]
    after = [plan.hidden_channels for plans in with_widths(split, expansions={2: 72}).blocks() for plan in plans]
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [(144, 72)]
    joined = join_rows(with_widths(split, expansions={2: 72}))
    assert [row.repeats for row in joined.rows] == [1, 1, 1, 3, 4, 2, 3, 1]  # the second row is now two


def test_a_bottleneck_changes_in_all_its_blocks_and_leaves_the_insides_alone():
    table = split_rows(family_table("mobilenet_v3_large"))
    narrow = with_widths(table, outputs=dict.fromkeys(rows(6, 7, 8, 9), 72))
    plans = [plan for (plan,) in narrow.blocks()]
    assert [plan.out_channels for plan in plans[7:11]] == [72] * 4
    assert [plan.in_channels for plan in plans[8:12]] == [72] * 4
    assert [plan.hidden_channels for plan in plans] == [plan.hidden_channels for (plan,) in table.blocks()]
    assert [plan.skip for plan in plans] == [plan.skip for (plan,) in table.blocks()]


def test_no_addition_appears_where_two_widths_come_to_be_equal():
    table = split_rows(family_table("mobilenet_v3_large"))
    narrow = with_widths(table, outputs=dict.fromkeys(rows(10, 11), 80))
    assert narrow.rows[10].skip == "none"
    assert [group.members for group in width_groups(narrow)] == [group.members for group in width_groups(table)]


def test_an_expansion_as_wide_as_its_input_stays_a_layer():
    table = split_rows(family_table("mobilenet_v3_large"))
    narrow = with_widths(table, expansions={2: 24})
    plan = narrow.blocks()[3][0]
    assert (plan.in_channels, plan.hidden_channels, plan.expands) == (24, 24, True)
    again = with_widths(narrow, outputs={"row1": 16, "row2": 16})
    assert again.blocks()[3][0].hidden_channels == 24


def test_what_cannot_be_is_told_in_a_line():
    table = family_table("mnasnet_a1")
    with pytest.raises(InputError, match="split_rows"):
        with_widths(table, expansions={0: 8})
    split = split_rows(table)
    with pytest.raises(InputError, match="row0 has no expansion to change"):
        with_widths(split, expansions={0: 8})
    with pytest.raises(InputError, match="row2 cannot have 70 channels inside; multiples of 8"):
        with_widths(split, expansions={2: 70})
    with pytest.raises(InputError, match="row2 adds its input of 24 channels to 16"):
        with_widths(split, outputs={"row2": 16})
    fused = replace(split, rows=(Row("fused", 32, expansion=2.0),))
    with pytest.raises(InputError, match="row0 cannot have 32 channels inside"):
        with_widths(fused, expansions={0: 32})
