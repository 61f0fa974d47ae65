"""Parts of landmarks in the chain by themselves: radii, inexact boxes, targets without pictures, softened criteria."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from points_run import OPTIONS, face, faces_folder

from limbeck.data import Augment, Loader, open_data
from limbeck.data.placement import combine, move_points
from limbeck.data.shape_model import ShapeModel
from limbeck.distill import tells_teachers_apart
from limbeck.errors import LimbeckError
from limbeck.pipeline.pictured import FOUND, TRUE, draw_points
from limbeck.pipeline.problems.landmark_pictures import jitter_affine, jittered
from limbeck.pipeline.problems.landmarks import LandmarksProblem, _distances, conformal_radii
from limbeck.recipe import Calibrate
from limbeck.tasks import Landmarks
from limbeck.tasks.landmarks import nme


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = faces_folder(tmp_path_factory.mktemp("faces"), {"train": 24, "val": 4, "test": 4})
    return open_data("pts", path=str(folder), image_size=32, options=OPTIONS)


def test_radii_hold_as_often_as_they_promise_on_further_pictures():
    """Over many draws of 50 pictures, the mean share is the promised one to a rank: 46 / 51 for 90 %."""
    rng, held = np.random.default_rng(0), []
    for _ in range(400):
        known, further = (rng.gamma(2.0, 1.0, (count, 3)) for count in (50, 200))
        held.append((further <= conformal_radii(known, 0.9)).mean())
    assert np.mean(held) == pytest.approx(46 / 51, abs=0.01)


@pytest.mark.parametrize(
    "form",
    [
        {"options": {**OPTIONS, "square": False, "pad": 0.1}},
        {"options": {**OPTIONS, "crop": "none"}, "fit": "squash", "image_size": (32, 20)},
    ],
)
def test_errors_of_stretched_pictures_are_in_the_pixels_of_the_picture_as_it_was_found(tmp_path, form):
    folder = faces_folder(tmp_path, {"train": 8, "test": 8})
    splits = open_data("pts", path=str(folder), validation=0, **{"image_size": 32, **form})
    pictures, size = splits.test, splits.image_size
    shares = np.random.default_rng(0).uniform(0.2, 0.8, (8, 5, 2)).astype(np.float32)
    found = []
    for row in range(8):  # back through the map of the crop, by hand
        affine = pictures.picture_affine(row)
        found.append(np.linalg.solve(affine[:, :2], (shares[row] * size[::-1] - affine[:, 2]).T).T)
    true = np.stack([pictures.targets.points[row] for row in range(8)])
    expected = nme(np.stack(found), true, (0, 1))
    problem = LandmarksProblem(Landmarks(5, scheme=splits.scheme, image_size=size), splits.class_names)
    kept = {"points": shares}
    assert problem.file_figures(kept, pictures, bins=0)["nme"] == pytest.approx(expected.mean(), rel=1e-4)

    class Fixed(torch.nn.Module):
        def forward(self, inputs):
            return torch.from_numpy(shares).flatten(1)

    told = problem.evaluate(Fixed(), Loader(pictures, batch_size=8, augment=None, shuffle=False), device="cpu")
    assert told == pytest.approx(problem.file_figures(kept, pictures, bins=0))
    judged = problem.judge((kept, pictures), (kept, pictures), Calibrate(coverage=0.5))
    assert judged["reason"].startswith("skipped: 8 validation pictures")
    apart = np.linalg.norm(np.stack(found) - true, axis=2)
    area = np.array([np.prod(size) / np.linalg.det(pictures.picture_affine(row)[:, :2]) for row in range(8)])
    np.testing.assert_allclose(_distances(kept, pictures), apart / np.sqrt(area)[:, None], rtol=1e-4)


def test_points_that_are_no_numbers_end_in_one_line(splits):
    problem = LandmarksProblem(Landmarks(5, scheme=splits.scheme), splits.class_names)
    with pytest.raises(LimbeckError, match="the file gives points that are no numbers, in 4 of 4 pictures"):
        problem.read(lambda pictures: np.full((len(pictures), 10), np.nan, np.float32), splits.test)


def test_too_few_pictures_give_no_radius():
    distances = np.arange(1.0, 9.0)[:, None].repeat(2, 1)
    distances[:, 1] = np.append(distances[:7, 1], np.nan)
    assert conformal_radii(distances, 8 / 9).tolist() == [8.0, np.inf]


@pytest.mark.parametrize(
    "augment",
    [
        None,
        Augment(crop="turned", turn=20, zoom=(0.9, 1.1), padding=0.1),
        Augment(crop="shift", flip=False),
        Augment(crop="resized", scale=(0.6, 1.0)),
        Augment(crop="scaled", zoom=(0.8, 1.2)),
    ],
)
def test_targets_without_pictures_are_those_of_the_batches(splits, augment):
    batches = Loader(splits.train, batch_size=5, augment=augment, seed=3, drop_last=False)
    for view in (0, 1):
        seen = torch.empty(24, 5, 2)
        for batch in batches.epoch(view):
            seen[batch.index] = batch.target
        torch.testing.assert_close(batches.targets(view), seen, rtol=0, atol=0)


def test_targets_of_pictures_that_are_read_from_the_disk_too(tmp_path):
    folder = faces_folder(tmp_path, {"train": 12, "val": 4, "test": 4})
    options = {**OPTIONS, "crop": "none"}
    read = open_data("pts", path=str(folder), image_size=(24, 32), options=options, store_bytes=0)
    batches = Loader(read.train, batch_size=4, augment=Augment(crop="resized", scale=(0.6, 1.0)), seed=1)
    seen = torch.empty(12, 5, 2)
    for batch in batches.epoch(0):
        seen[batch.index] = batch.target
    torch.testing.assert_close(batches.targets(0), seen, rtol=0, atol=0)


def test_an_inexact_box_moves_picture_and_points_alike(splits):
    """A dot's colour stays under its point; with no shift nothing changes."""
    test = splits.test
    plain, truth = jittered(test, 0, 0.0)
    assert np.array_equal(plain, test.picture(0))
    for row in range(4):
        moved, points = jittered(test, row, 0.1)
        _, before = jittered(test, row, 0.0)
        assert np.abs(points - before).max() > 0.005
        for number in (0, 2, 3):
            x, y = (points[number] * 32).astype(int)
            old_x, old_y = (before[number] * 32).astype(int)
            assert np.abs(moved[y, x].astype(int) - test.picture(row)[old_y, old_x].astype(int)).max() < 70
    assert truth.shape == (5, 2)


def test_jitter_keeps_its_bounds():
    draw = np.random.default_rng(1)
    for _ in range(50):
        affine = jitter_affine(0.1, (20, 40), draw)
        middle = move_points(affine, np.array([[20.0, 10.0]]))[0]
        assert abs(middle[0] - 20) <= 0.1 * 40 * 1.2
        assert abs(middle[1] - 10) <= 0.1 * 20 * 1.2
        assert np.exp(-0.1) <= affine[0, 0] == affine[1, 1] <= np.exp(0.1)
    assert np.allclose(combine(np.eye(2, 3), jitter_affine(0.0, (20, 40), draw)), np.eye(2, 3))


def test_a_softened_criterion_learns_the_smoothed_points():
    shapes = torch.from_numpy(np.stack([face(seed)[1] for seed in range(40)]) / 48).float()
    model = ShapeModel.fit(shapes, 0.8)
    said = shapes[:4].flatten(1)
    soft = Landmarks(5, soften=model.soften, loss="landmark_l2").criterion(said, shapes[:4])
    assert soft == pytest.approx((shapes[:4] - model.soften(shapes[:4])).square().mean().item(), rel=1e-5)
    assert soft > 0
    assert Landmarks(5, loss="landmark_l2").criterion(said, shapes[:4]) == 0


def test_points_are_drawn_where_they_are():
    true, found = np.array([[0.25, 0.5], [np.nan, np.nan]]), np.array([[0.75, 0.5], [0.5, 0.25]])
    drawn = draw_points(np.zeros((20, 20, 3), np.uint8), true, found, side=200)
    assert tuple(drawn[100, 50]) == TRUE
    assert tuple(drawn[100, 150]) == FOUND
    assert tuple(drawn[50, 100]) == FOUND  # found, though nobody knows where it is
    assert drawn[100, 100].min() == 255  # the line between


def test_which_methods_tell_teachers_apart():
    assert tells_teachers_apart("two_teacher")
    assert not any(tells_teachers_apart(method) for method in ("kd", "dml", "uskd", None))
