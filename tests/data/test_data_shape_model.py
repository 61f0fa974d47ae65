"""The active shape model against vectors that were computed without it, and the properties that it must have."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.data.shape_model import ShapeModel
from limbeck.errors import InputError

CASE = json.loads((Path(__file__).parents[1] / "losses" / "landmark_vectors.json").read_text())["asm"]
SHAPES, TESTS = np.array(CASE["training_shapes"]), np.array(CASE["test_shapes"])


@pytest.mark.parametrize("share", [0.8, 0.85, 0.9, 0.95, 0.97])
def test_how_many_modes_a_share_of_variance_takes(share):
    model = ShapeModel.fit(SHAPES, variance=share)
    count = CASE["k"][str(share)]
    assert model.modes.shape == (count, 10)
    np.testing.assert_allclose(model.mean, CASE["mean"], atol=1e-10)
    np.testing.assert_allclose(model.eigenvalues, CASE["eigenvalues_unbiased"][:count], atol=1e-10)


@pytest.mark.parametrize("share", [0.8, 0.9, 0.95])
def test_soft_landmarks(share):
    expected = CASE["soft"][str(share)]
    model = ShapeModel.fit(SHAPES, variance=share)
    np.testing.assert_allclose(model.soften(TESTS), expected["soft_landmarks"], atol=1e-10)
    amounts = np.abs((TESTS - model.mean) @ model.modes.T)
    np.testing.assert_allclose(amounts, expected["abs_b"], atol=1e-10)
    assert (amounts > 3 * np.sqrt(model.eigenvalues)).any(1).tolist() == expected["clipped"]


def test_all_of_the_variance_gives_known_shapes_back():
    model = ShapeModel.fit(SHAPES, variance=1.0)
    np.testing.assert_allclose(model.soften(SHAPES), SHAPES, atol=1e-12)


def test_softening_twice_changes_nothing():
    model = ShapeModel.fit(SHAPES)
    once = model.soften(TESTS)
    np.testing.assert_allclose(model.soften(once), once, atol=1e-12)


def test_neither_the_sign_nor_the_order_of_shapes_matters():
    model, other = ShapeModel.fit(SHAPES, variance=0.9), ShapeModel.fit(SHAPES[::-1], variance=0.9)
    turned = ShapeModel(model.mean, -model.modes, model.eigenvalues, 0.9, 12)
    for one in (other, turned):
        np.testing.assert_allclose(one.soften(TESTS), model.soften(TESTS), atol=1e-12)


def test_no_shape_leaves_three_standard_deviations():
    model = ShapeModel.fit(SHAPES)
    far = model.varied(0, (-50.0, 50.0))
    np.testing.assert_allclose(model.soften(far), model.varied(0, (-3.0, 3.0)), atol=1e-12)


def test_labels_in_other_units_give_the_same_shapes():
    pixels = ShapeModel.fit((SHAPES + 0.5) * 224)
    np.testing.assert_allclose(pixels.soften((TESTS + 0.5) * 224), (ShapeModel.fit(SHAPES).soften(TESTS) + 0.5) * 224)


def test_forms_and_types_are_kept():
    model = ShapeModel.fit(torch.from_numpy(SHAPES).reshape(-1, 5, 2))
    points = torch.from_numpy(TESTS).float().reshape(-1, 5, 2)
    soft = model.soften(points)
    assert soft.shape == points.shape
    assert soft.dtype == torch.float32
    np.testing.assert_allclose(soft.reshape(4, -1).numpy(), model.soften(TESTS), atol=1e-6)


def test_arrays_that_are_reversed_or_locked():
    model = ShapeModel.fit(SHAPES)
    expected = model.soften(TESTS)
    np.testing.assert_array_equal(model.soften(TESTS[::-1]), expected[::-1])
    locked = TESTS.copy()
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.soften(locked), expected)


def test_unknown_points_stay_unknown_and_the_others_are_fitted():
    model = ShapeModel.fit(SHAPES, variance=0.9)
    shape = model.varied(1, (1.5,))  # lies in the model, so that some of its points tell all of it
    partly = shape.copy()
    partly[0, [0, 3]] = np.nan
    soft = model.soften(partly)
    np.testing.assert_allclose(soft[0, [1, 2, 4]], shape[0, [1, 2, 4]], atol=1e-10)
    assert np.isnan(soft[0, [0, 3]]).all()
    assert np.isnan(model.soften(np.full((1, 5, 2), np.nan))).all()


def test_shapes_with_unknown_points_are_not_fitted_on():
    holed = np.concatenate([SHAPES, np.full((3, 10), np.nan)])
    model = ShapeModel.fit(holed)
    assert model.shapes == 12
    np.testing.assert_allclose(model.mean, CASE["mean"], atol=1e-10)


def test_a_saved_model_is_the_same(tmp_path):
    model = ShapeModel.fit(SHAPES, variance=0.9)
    model.save(tmp_path / "shape_model.safetensors")
    again = ShapeModel.load(tmp_path / "shape_model.safetensors")
    for part in ("mean", "modes", "eigenvalues"):
        assert np.array_equal(getattr(again, part), getattr(model, part))
    assert (again.variance, again.shapes) == (0.9, 12)
    assert np.array_equal(again.soften(TESTS), model.soften(TESTS))
    assert [file.name for file in tmp_path.iterdir()] == ["shape_model.safetensors"]


def test_bad_input_is_told(tmp_path):
    with pytest.raises(InputError, match=r"variance must lie in \(0, 1\], not 95"):
        ShapeModel.fit(SHAPES, variance=95)
    with pytest.raises(InputError, match="1 of 1 shapes have all their points"):
        ShapeModel.fit(SHAPES[:1])
    with pytest.raises(InputError, match="needs two at least that differ"):
        ShapeModel.fit(np.ones((4, 10)))
    with pytest.raises(InputError, match=r"expected \[N, L, 2\] or \[N, 2L\] points, got \[4, 5, 3\]"):
        ShapeModel.fit(np.ones((4, 5, 3)))
    model = ShapeModel.fit(SHAPES)
    with pytest.raises(InputError, match="has 5 points; got 6"):
        model.soften(np.ones((1, 12)))
    with pytest.raises(InputError, match=r"has the modes 0 \.\. 1, not 2"):
        model.varied(2)
    with pytest.raises(InputError, match="no such file"):
        ShapeModel.load(tmp_path / "none.safetensors")
    (tmp_path / "other").write_bytes(b"other")
    with pytest.raises(InputError, match="holds no shape model"):
        ShapeModel.load(tmp_path / "other")
