"""Points go where pixels go: blobs in pictures are found again where the affine maps say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data import Augment, Loader, PictureSet
from limbeck.data.augment import apply_augmentation, augmentation_affine, draw_augmentation
from limbeck.data.draws import Draws
from limbeck.data.placement import combine, cut_window, move_points, scaled_window
from limbeck.data.raw import RawSplit
from limbeck.errors import InputError
from limbeck.pictures import fit_affine, fit_picture, window_affine

SIZES = [(60, 90), (90, 60), (75, 75)]


def blob(size: tuple[int, int], x: float, y: float, width: float = 4.0) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    grey = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2))
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def centre(picture: np.ndarray) -> np.ndarray:
    weights = picture[:, :, 0].astype(float)
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


def inside(point: np.ndarray, size: tuple[int, int], margin: float) -> bool:
    return margin <= point[0] <= size[1] - margin and margin <= point[1] <= size[0] - margin


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("source", SIZES)
def test_fitting_puts_points_where_it_puts_pixels(source, fit):
    x, y = source[1] * 0.55, source[0] * 0.48
    fitted = fit_picture(blob(source, x, y), (48, 64), fit)
    expected = move_points(fit_affine(source, (48, 64), fit), np.array([x, y]))
    assert np.abs(centre(fitted) - expected).max() < 0.15


@pytest.mark.parametrize("crop", ["none", "shift", "resized", "scaled"])
def test_augmentation_puts_points_where_it_puts_pixels(crop):
    size, augment = (64, 96), Augment(crop=crop, padding=0.2, scale=(0.3, 1.0))
    index = np.arange(40)
    x, y = 44.0, 30.0
    picture = blob(size, x, y, width=2.0)
    drawn = draw_augmentation(augment, size, Draws(3, 0, index))
    changed = apply_augmentation([picture] * len(index), drawn, augment, size)
    seen = 0
    for place in index:
        expected = move_points(augmentation_affine(drawn, place, size, size), np.array([x, y]))
        if inside(expected, size, 12):
            assert np.abs(centre(changed[place]) - expected).max() < 0.35, place
            seen += 1
    assert seen > 10


def test_a_reduced_picture_lies_on_whole_pixels_and_black_is_around_it():
    picture = np.full((40, 60, 3), 255, np.uint8)
    window = scaled_window(np.array([0.5, 0.25, 0.75]), (40, 60))
    out = cut_window(picture, window, (40, 60))
    assert set(np.unique(out)) == {0, 255}
    rows, columns = np.nonzero(out[:, :, 0])
    corners = move_points(window_affine(window, (40, 60)), np.array([[0.0, 0.0], [60.0, 40.0]]))
    assert corners.tolist() == [[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]]
    assert (rows.max() + 1 - rows.min(), columns.max() + 1 - columns.min()) == (20, 30)


@pytest.mark.parametrize("factor", [1.0, 1.7, 2.0])
def test_an_enlarged_picture_fills_the_output(factor):
    left, top, right, bottom = scaled_window(np.array([factor, 1.0, 0.0]), (40, 60))
    assert (right - left, bottom - top) == pytest.approx((60 / factor, 40 / factor))
    assert (left, bottom) == pytest.approx((0, 40))


def test_combined_maps_are_one_after_the_other():
    rng = np.random.default_rng(0)
    first, then, points = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.normal(size=(5, 2))
    np.testing.assert_allclose(
        move_points(combine(first, then), points), move_points(then, move_points(first, points)), atol=1e-12
    )


class Points:
    """One point per picture, as the smallest of annotations."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points

    def __len__(self):
        return len(self.points)

    def take(self, indices):
        return Points(self.points[indices])

    def changed(self, index, affine, size):
        return move_points(affine, self.points[index]) / (size[1], size[0])

    def collate(self, samples):
        return torch.from_numpy(np.stack(samples))

    def class_counts(self):
        return np.array([len(self)])

    def identity(self):
        return self.points.tobytes()


@pytest.fixture
def annotated() -> PictureSet:
    rng = np.random.default_rng(1)
    sizes = [SIZES[i % len(SIZES)] for i in range(24)]
    points = np.array([[w * rng.uniform(0.4, 0.6), h * rng.uniform(0.4, 0.6)] for h, w in sizes])
    pictures = [blob(size, *point, width=3.0) for size, point in zip(sizes, points, strict=True)]
    return PictureSet(
        "points", "train", ("point",), np.zeros(24, np.int64), (48, 64), "pad", RawSplit(pictures), np.arange(24),
        targets=Points(points), sizes=np.array(sizes),
    )  # fmt: skip


@pytest.mark.parametrize("crop", ["none", "shift", "resized", "scaled", None])
def test_batches_carry_annotations_that_moved_with_the_pictures(annotated, crop):
    augment = None if crop is None else Augment(crop=crop, zoom=(0.7, 1.4), scale=(0.5, 1.0))
    batch = next(iter(Loader(annotated, batch_size=24, augment=augment, seed=5).epoch(2)))
    seen = 0
    for picture, point in zip(batch.inputs.numpy(), batch.target.numpy(), strict=True):
        expected = point * (64, 48)
        if inside(expected, (48, 64), 9):
            assert np.abs(centre(picture.transpose(1, 2, 0) * 255) - expected).max() < 0.5
            seen += 1
    assert seen >= 10


def test_annotated_batches_do_not_depend_on_who_reads_them(annotated):
    loaders = [Loader(annotated, batch_size=5, augment=Augment(crop="scaled"), seed=5, workers=n) for n in (0, 2)]
    for one, other in zip(loaders[0].epoch(1, start=1), loaders[1].epoch(1, start=1), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.target, other.target)


def test_a_subset_takes_its_annotations_along(annotated):
    some = annotated.take([3, 1])
    batch = next(iter(Loader(some, batch_size=2, augment=None, shuffle=False).epoch(0)))
    whole = next(iter(Loader(annotated, batch_size=24, augment=None, shuffle=False).epoch(0)))
    assert torch.equal(batch.target, whole.target[[3, 1]])
    assert torch.equal(batch.inputs, whole.inputs[[3, 1]])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"augment": Augment(mixup=0.2)}, "mix pictures"),
        ({"augment": Augment(rand_augment=(2, 9))}, "rand_augment"),
        ({"augment": Augment(auto_augment="imagenet")}, "auto_augment"),
        ({"augment": None, "sampling": "balanced"}, "one class per picture"),
        ({"augment": None, "needs": ["view2"]}, "one class per picture"),
    ],
)
def test_what_needs_one_class_each_is_refused(annotated, options, told):
    with pytest.raises(InputError, match=told):
        Loader(annotated, batch_size=4, **options)
