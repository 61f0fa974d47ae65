"""Orders of points: mirror tables that are their own inverse and put what is left on the right."""

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.point_schemes import SCHEMES, choose_scheme, find_scheme, mirror_order, scheme_of


@pytest.mark.parametrize("name", SCHEMES)
def test_mirrored_twice_is_as_before(name):
    order = np.array(SCHEMES[name].mirror())
    assert order[order].tolist() == list(range(SCHEMES[name].points))


MIDDLE = {
    "face68": {8, 27, 28, 29, 30, 33, 51, 57, 62, 66},
    "face29": {20, 21, 24, 25, 26, 27, 28},
    "face98": {16, 51, 52, 53, 54, 57, 79, 85, 90, 94},
}
"""Chin, bridge and tip of the nose, and the middle of each lip's edge."""


@pytest.mark.parametrize("name", SCHEMES)
def test_which_points_lie_in_the_middle(name):
    order = np.array(SCHEMES[name].mirror())
    assert set(np.flatnonzero(order == np.arange(len(order))).tolist()) == MIDDLE[name]


@pytest.mark.parametrize("name", SCHEMES)
def test_what_errors_are_divided_by_is_the_same_in_the_mirror(name):
    scheme = SCHEMES[name]
    order = scheme.mirror()
    for left, right in scheme.normalizers.values():
        assert {order[i] for i in left} == set(right)


def test_schemes_by_name_and_number():
    assert scheme_of(68).name == "face68"
    assert scheme_of(5) is None
    with pytest.raises(InputError, match="unknown point scheme 'face86'"):
        find_scheme("face86")


def test_wrong_pairs_are_told():
    with pytest.raises(InputError, match=r"mirrored = \[0, 4\]: expected two of the points 0 .. 3"):
        mirror_order(4, [(0, 4)])
    with pytest.raises(InputError, match=r"mirrored = \[1, 2\]: a point can change places with one other only"):
        mirror_order(4, [(0, 1), (1, 2)])
    with pytest.raises(InputError, match="one other only"):
        mirror_order(4, [(3, 3)])
    with pytest.raises(InputError, match="expected two of the points"):
        mirror_order(4, [(1, 2, 3)])


def test_a_set_may_say_its_own_order():
    assert choose_scheme(68).name == "face68"
    unknown = choose_scheme(5)
    assert unknown.mirror() is None
    assert unknown.normalizers == {}
    own = choose_scheme(5, mirrored=[[0, 1]], normalizers={"eyes": [0, 1], "mouth": [[0, 1], [3, 4]]})
    assert own.mirror() == (1, 0, 2, 3, 4)
    assert own.normalizers == {"eyes": ((0,), (1,)), "mouth": ((0, 1), (3, 4))}
    assert set(choose_scheme(68, normalizers={"chin": [8, 27]}).normalizers) == {"inter_ocular", "inter_pupil", "chin"}
    with pytest.raises(InputError, match="point scheme 'face29' has 29 points; the set has 68"):
        choose_scheme(68, name="face29")
    with pytest.raises(InputError, match=r"normalizers\.eyes = \[0, 5\]: expected two of the points 0 \.\. 4"):
        choose_scheme(5, normalizers={"eyes": [0, 5]})
    with pytest.raises(InputError, match=r"normalizers\.eyes = \[1, 1\]: both ends are the same"):
        choose_scheme(5, normalizers={"eyes": [1, 1]})
    with pytest.raises(InputError, match=r"normalizers\.eyes = \[\[0, 1\], \[1, 0\]\]: both ends are the same"):
        choose_scheme(5, normalizers={"eyes": [[0, 1], [1, 0]]})
    with pytest.raises(InputError, match=r"normalizers\.box: the name of the points' own box"):
        choose_scheme(5, normalizers={"box": [0, 1]})


@pytest.mark.parametrize("wrong", [3, "ab", [0], [0, 1.0], [[0], []], [True, False], {"a": 1}])
def test_ends_of_another_form_are_told(wrong):
    with pytest.raises(InputError, match=r"normalizers\.eyes = .*: expected two of the points 0 \.\. 4, or two lists"):
        choose_scheme(5, normalizers={"eyes": wrong})


@pytest.mark.parametrize("wrong", [[0, 1], "ab", 3, [[0, 1.0]], [["a", "b"]], [None]])
def test_pairs_of_another_form_are_told(wrong):
    with pytest.raises(InputError, match=r"mirrored = .*: expected"):
        choose_scheme(5, mirrored=wrong)


def test_normalizers_of_another_form_are_told():
    with pytest.raises(InputError, match=r"normalizers = \[0, 1\]: expected names, each with two points"):
        choose_scheme(5, normalizers=[0, 1])
