"""Points drawn at random: distinct, seeded, spread over every choice, and all of a small space."""

from itertools import islice, pairwise

from limbeck.search import Space, draw_points

WIDE = Space(
    "wide", {f"choice{i}": tuple(range(10)) for i in range(6)}, dict, dict.fromkeys((f"choice{i}" for i in range(6)), 4)
)


def test_points_are_distinct_seeded_and_spread_over_every_choice():
    drawn = list(islice(draw_points(WIDE, seed=3), 300))
    assert drawn == list(islice(draw_points(WIDE, seed=3), 300))
    assert drawn[1:] != list(islice(draw_points(WIDE, seed=4), 300))[1:]
    assert drawn[0] == dict(WIDE.reference)
    assert len({tuple(point.values()) for point in drawn}) == 300
    for choice, ids in WIDE.choices.items():
        assert {point[choice] for point in drawn} == set(ids)
    assert all(WIDE.check(point) == point for point in drawn)


def test_a_small_space_comes_whole_and_in_no_order():
    space = Space("small", {"a": tuple(range(40)), "b": (False, True)}, dict, {"a": 7, "b": True})
    drawn = [(point["a"], point["b"]) for point in draw_points(space)]
    assert len(drawn) == len(set(drawn)) == 80
    assert drawn[0] == (7, True)
    assert any(one > other for one, other in pairwise(drawn[1:]))
