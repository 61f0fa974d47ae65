"""Brightness, blur and noise: functions of seed, view and index that move nothing."""

import numpy as np
import pytest

from limbeck.data import Augment
from limbeck.data.augment import apply_augmentation, draw_augmentation
from limbeck.data.draws import Draws

SIZE = (24, 32)
PICTURE = np.tile(np.linspace(0, 255, 32).astype(np.uint8)[None, :, None], (24, 1, 3))


def changed(count=64, view=0, **options):
    augment = Augment(crop="none", flip=False, **options)
    draws = Draws(0, view, np.arange(count))
    drawn = draw_augmentation(augment, SIZE, draws)
    return drawn, apply_augmentation([PICTURE] * count, drawn, augment, SIZE)


def test_brightness_by_an_exponent():
    drawn, pictures = changed(gamma=(0.5, 2.0))
    assert drawn.retouch.gamma.min() >= 0.5
    assert drawn.retouch.gamma.max() <= 2.0
    assert abs(np.log(drawn.retouch.gamma).mean()) < 0.2  # darker as often as brighter
    for exponent, picture in zip(drawn.retouch.gamma, pictures, strict=True):
        assert np.abs(picture - 255 * (PICTURE / 255) ** exponent).max() <= 0.5 + 1e-6


def test_noise_has_the_deviation_that_was_drawn():
    drawn, pictures = changed(noise=0.1)
    middle = slice(12, 20)  # far from black and white, where nothing is cut
    for deviation, picture in zip(drawn.retouch.noise, pictures, strict=True):
        noise = (picture.astype(float) - PICTURE)[:, middle]
        assert noise.std() / 255 == pytest.approx(deviation, rel=0.15, abs=0.002)


def test_blur_keeps_the_sum_and_flattens_edges():
    edge = np.zeros((*SIZE, 3), np.uint8)
    edge[:, 16:] = 255
    augment = Augment(crop="none", flip=False, blur=3.0)
    drawn = draw_augmentation(augment, SIZE, Draws(0, 0, np.arange(16)))
    pictures = apply_augmentation([edge] * 16, drawn, augment, SIZE)
    steepest = np.abs(np.diff(pictures[:, 12, :, 0].astype(float), axis=1)).max(1)
    assert np.corrcoef(drawn.retouch.blur, steepest)[0, 1] < -0.8
    assert np.abs(pictures.mean((1, 2, 3)) - edge.mean()).max() < 2


def test_they_are_functions_of_the_view_and_of_nothing_else():
    options = {"gamma": (0.5, 2.0), "blur": 1.0, "noise": 0.05}
    assert np.array_equal(changed(**options)[1], changed(**options)[1])
    assert np.array_equal(changed(8, **options)[1], changed(**options)[1][:8])
    assert not np.array_equal(changed(view=1, **options)[1], changed(**options)[1])


def test_off_is_off():
    drawn, pictures = changed(4)
    assert drawn.retouch is None
    assert np.array_equal(pictures[0], PICTURE)
