"""Figures of landmarks: hand values, the independent vectors, a slow reference, and the rules of tasks."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import landmark_l2, landmark_main
from limbeck.point_schemes import SCHEMES, choose_scheme
from limbeck.tasks import open_task
from limbeck.tasks.landmarks import (
    Landmarks,
    auc,
    ced,
    compat_auc,
    failure_rate,
    figures_by_subset,
    figures_of_errors,
    nme,
)
from limbeck.testing import check_task

CASE = json.loads((Path(__file__).parents[1] / "losses" / "landmark_vectors.json").read_text())["metrics"]
TRUE, FOUND = np.array(CASE["gt"]), np.array(CASE["pred"])
ERRORS = np.array(CASE["per_image_nme"])
GENERATOR = np.random.default_rng(4)


def test_one_picture():
    error = nme(FOUND[None], TRUE[None], CASE["eye_corner_indices"])
    assert error.shape == (1,)
    assert 100 * error[0] == pytest.approx(CASE["nme_percent"], abs=1e-10)
    assert nme(FOUND, TRUE, CASE["eye_corner_indices"]) == error[0]


def test_figures_of_ten_errors():
    assert 100 * failure_rate(ERRORS, 0.10) == pytest.approx(CASE["failure_rate_percent_at_0.10"])
    assert 100 * failure_rate(ERRORS, 0.08) == pytest.approx(CASE["failure_rate_percent_at_0.08"])
    assert auc(ERRORS, 0.10) == pytest.approx(CASE["auc_at_0.10_standard"], abs=1e-10)
    assert auc(ERRORS, 0.08) == pytest.approx(CASE["auc_at_0.08_standard"], abs=1e-10)
    assert compat_auc(ERRORS) == pytest.approx(
        CASE["auc_authors_statistic_swapped_axes_of_cumulated_ced_20_points"], abs=1e-10
    )
    assert compat_auc(np.zeros(3)) == pytest.approx(CASE["authors_statistic_upper_limit"])
    figures = figures_of_errors(ERRORS)
    assert figures["nme"] == pytest.approx(ERRORS.mean())
    assert set(figures) == {"nme", "failure_rate_8", "failure_rate_10", "auc_8", "auc_10"}


def test_the_area_is_that_under_the_curve():
    fine = np.linspace(0, 0.1, 200001)
    area = np.trapezoid(ced(ERRORS, fine), fine) / 0.1
    assert auc(ERRORS, 0.1) == pytest.approx(area, abs=1e-5)
    assert ced(ERRORS, [0.0209, 0.021, 0.2]).tolist() == [0.0, 0.1, 1.0]


@pytest.mark.parametrize(("scheme", "points"), [(one.name, one.points) for one in SCHEMES.values()])
def test_against_a_slow_reference_for_every_normaliser(scheme, points):
    true = GENERATOR.uniform(0, 1, (4, points, 2))
    found = true + GENERATOR.normal(0, 0.02, true.shape)
    for name, (first, second) in SCHEMES[scheme].normalizers.items():
        expected = []
        for p, g in zip(found, true, strict=True):
            size = np.hypot(*(g[list(first)].mean(0) - g[list(second)].mean(0)))
            expected.append(sum(np.hypot(*(a - b)) for a, b in zip(p, g, strict=True)) / points / size)
        np.testing.assert_allclose(nme(found, true, name), expected, rtol=1e-12)


def test_the_corners_and_pupils_that_papers_use():
    true = np.zeros((3, 98, 2))
    true[:, 60], true[:, 72], true[:, 96], true[:, 97] = (0, 0), (10, 0), (2, 0), (7, 0)
    found = true + np.array([3.0, 4.0])
    np.testing.assert_allclose(nme(found, true), 0.5)
    np.testing.assert_allclose(nme(found, true, "inter_pupil"), 1.0)


def test_the_box_as_what_is_divided_by():
    true = np.array([[[0.0, 0], [4, 0], [4, 9]]])
    assert nme(true + np.array([3, 4]), true, "box")[0] == pytest.approx(5 / 6)


def test_unknown_points():
    true = np.tile(TRUE, (3, 1, 1))
    true[1, 4] = np.nan
    true[2, 0] = np.nan  # an eye's corner: nothing to divide by
    errors = nme(np.tile(FOUND, (3, 1, 1)), true, (0, 1))
    kept = np.linalg.norm(FOUND - TRUE, axis=1)[:4].mean() / 20
    assert errors[1] == pytest.approx(kept)
    assert np.isnan(errors[2])
    assert failure_rate(errors) == 0.0  # of those that can be judged
    assert np.isfinite(nme(np.tile(FOUND, (3, 1, 1)), true, "box")).all()
    assert np.isnan(nme(FOUND[None], np.full((1, 5, 2), np.nan), "box")).all()
    assert np.isnan(nme(FOUND[None], np.ones((1, 5, 2)), (0, 1))).all()


def test_a_prediction_that_is_no_number_is_a_failure_and_not_left_out():
    found = np.tile(FOUND, (3, 1, 1))
    found[0, 2], found[1, 3, 0] = np.nan, np.inf
    true = np.tile(TRUE, (3, 1, 1))
    true[2, 4] = np.nan
    found[2, 4] = np.nan  # of a point that nobody knows, a prediction may be anything
    errors = nme(found, true, (0, 1))
    assert errors[:2].tolist() == [np.inf, np.inf]
    assert np.isfinite(errors[2])
    assert failure_rate(errors) == pytest.approx(2 / 3)


def test_pictures_that_are_shown_in_sizes_of_their_own():
    task = Landmarks(5, normalizer=(0, 1), image_size=(32, 32))
    pixels = np.stack([np.stack([FOUND, TRUE]) * factor for factor in ((1.0, 1.0), (2.0, 0.5), (0.3, 1.7))], 1)
    sizes = np.array([[50, 200], [30, 90], [64, 48]])
    shares = torch.from_numpy(pixels / sizes[:, None, ::-1]).float()
    expected = nme(*pixels, (0, 1))
    np.testing.assert_allclose(task.errors(*shares, sizes=sizes), expected, rtol=1e-5)
    metric = task.metric(sizes=sizes)
    metric.update(shares[0, :2].flatten(1), shares[1, :2])
    metric.update(shares[0, 2:].flatten(1), shares[1, 2:])
    assert metric.compute() == pytest.approx(figures_of_errors(expected), rel=1e-5)
    assert np.abs(task.errors(*shares) - expected).max() > 0.01  # in the pixels of the square it is another figure


def test_pictures_that_are_not_square_are_judged_in_their_pixels():
    task = Landmarks(5, normalizer=(0, 1), image_size=(50, 200))
    shares = torch.from_numpy(np.stack([FOUND, TRUE])[:, None] / [200, 50]).float()
    errors = task.errors(shares[0], shares[1])
    assert 100 * errors[0] == pytest.approx(CASE["nme_percent"], rel=1e-5)


def test_the_task_keeps_the_rules():
    target = torch.rand(6, 68, 2, generator=torch.Generator().manual_seed(0))
    target[2, 5] = torch.nan
    out = torch.rand(6, 136, generator=torch.Generator().manual_seed(1))
    check_task(Landmarks(68), out, target, perfect=target.nan_to_num(0.5).flatten(1))
    task = open_task("landmarks", num_classes=68, image_size=(64, 64), class_weights=None, label_smoothing=0.0)
    figures = task.figures(out, target)
    assert set(figures) == {"nme", "nme_inter_pupil", "failure_rate_8", "failure_rate_10", "auc_8", "auc_10"}
    assert figures["nme_inter_pupil"] == pytest.approx(
        float(np.nanmean(nme(out.view(6, 68, 2), target, "inter_pupil")))
    )
    assert task.criterion(out, target) == landmark_main(out, target=target)
    assert Landmarks(68, loss="landmark_l2").criterion(out, target) == landmark_l2(out, target=target)


def test_points_of_no_known_order_are_divided_by_their_box():
    assert Landmarks(5).normalizer == "box"
    own = choose_scheme(5, normalizers={"inter_ocular": [0, 1]})
    assert Landmarks(5, scheme=own).normalizer == "inter_ocular"


def test_parts_of_a_set():
    errors = np.array([0.02, 0.04, 0.2, np.nan])
    masks = {
        "easy": np.array([1, 1, 0, 0], bool),
        "hard": np.array([0, 0, 1, 1], bool),
        "none": np.array([0, 0, 0, 1], bool),
    }
    found = figures_by_subset(errors, masks)
    assert list(found) == ["easy", "hard"]
    assert found["easy"]["nme"] == pytest.approx(0.03)
    assert (found["easy"]["count"], found["hard"]["count"]) == (2, 1)
    assert found["hard"]["failure_rate_10"] == 1.0


def test_bad_input_is_told():
    with pytest.raises(InputError, match="unknown normalizer 'inter_occular'"):
        nme(np.ones((1, 68, 2)), np.ones((1, 68, 2)), "inter_occular")
    with pytest.raises(InputError, match="5 points of no known order"):
        nme(FOUND, TRUE)
    with pytest.raises(InputError, match=r"expected two of the points 0 \.\. 4"):
        nme(FOUND, TRUE, (0, 5))
    with pytest.raises(InputError, match="do not fit"):
        nme(FOUND[:4], TRUE)
    with pytest.raises(InputError, match="unknown loss 'kd'"):
        Landmarks(5, loss="kd")
    with pytest.raises(InputError, match="unknown normalizer"):
        Landmarks(68, normalizer="interocular")
    with pytest.raises(InputError, match="has 29 points, not 68"):
        Landmarks(68, scheme=SCHEMES["face29"])
    with pytest.raises(InputError, match=r"expected \[3, 136\] and \[3, 68, 2\]"):
        Landmarks(68).criterion(torch.rand(3, 68), torch.rand(3, 68, 2))
    with pytest.raises(InputError, match="no picture has points that can be judged"):
        figures_of_errors(np.array([np.nan]))
