"""Points brought back to the picture that was given, by the window that the model saw."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.deployed.points import as_boxes, cut_box, found_points
from limbeck.errors import InputError
from limbeck.pictures import fit_affine, window_affine

NAMES = ("a", "b")


def test_points_and_radii_are_in_pixels_of_each_picture():
    """A window of 20 x 10 pixels shown in 40 x 40: x counts 20 pixels, y counts 10, a radius the root of 200."""
    shares = [np.array([[0.0, 0.0], [0.5, 1.0]]), np.array([[1.0, 1.0], [0.25, 0.25]])]
    affines = [window_affine((5, 7, 25, 17), (40, 40)), fit_affine((80, 80), (40, 40))]
    bars = {"error_bars": {"coverage": 0.8, "radii": [0.1, 0.2]}}
    found = found_points(shares, affines, (40, 40), bars, NAMES)
    np.testing.assert_allclose(found.points, [[[5, 7], [15, 17]], [[80, 80], [20, 20]]], atol=1e-5)
    side = np.sqrt(200.0)
    np.testing.assert_allclose(found.radii, [[0.1 * side, 0.2 * side], [8, 16]], rtol=1e-6)
    assert (found.coverage, found.names, len(found)) == (0.8, NAMES, 2)
    assert found_points(shares, affines, (40, 40), {}, NAMES).radii is None
    assert found_points([], [], (40, 40), bars, NAMES).points.shape == (0, 2, 2)


def test_a_crop_is_padded_as_training_padded_its_own():
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[10:20, 20:40] = 200
    exact, window = cut_box(picture, (20, 10, 40, 20), (10, 10), {})
    assert window == (20, 10, 40, 20)
    assert (exact == 200).all()
    crop = {"policy": "gt_box", "pad": 0.25, "pad_pixels": 1.0, "square": True}
    padded, window = cut_box(picture, (20, 10, 40, 20), (32, 32), crop)
    assert window == (14, -1, 46, 31)  # 20 + 2 * (5 + 1) wide and as tall, about (30, 15)
    assert padded[0].max() == 0  # beyond the picture
    assert padded[16, 16].min() == 200


@pytest.mark.parametrize("box", [(500, 500, 600, 600), (-1e7, -1e7, 1e7, 1e7), (-30, 2, -4, 20)])
def test_a_box_that_does_not_show_the_picture_is_refused(box):
    with pytest.raises(InputError, match=r"face.png: the box .* does not show it; it has 60 x 40 pixels"):
        cut_box(np.zeros((40, 60, 3), np.uint8), box, (10, 10), {"pad": 0.1}, where="face.png")


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        ([[1, 2, 3]], r"got \[1, 3\]"),
        ([[1, 2, 30, 40]] * 2, "2 for 1 pictures"),
        ([[5, 5, 5.5, 9]], "holds no pixel"),
        ([[1, 2, np.nan, 4]], "holds no pixel"),
        ([[1, 2, 3, 4], [1, 2]], "expected four numbers"),
        ("1 2 3 4", "expected four numbers"),
        ([], "0 for 1 pictures"),
    ],
)
def test_boxes_of_another_form_are_refused(boxes, told):
    with pytest.raises(InputError, match=told):
        as_boxes(boxes, 1)
