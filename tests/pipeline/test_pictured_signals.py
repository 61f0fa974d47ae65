"""Frames as pictures: where a tone lies in the spectrogram, where symbols lie in the constellation."""

from __future__ import annotations

import numpy as np
import pytest

from limbeck.pipeline.pictured_signals import draw_constellation, draw_spectrogram


def as_frame(samples: np.ndarray) -> np.ndarray:
    return np.stack([samples.real, samples.imag]).astype(np.float32)


@pytest.mark.parametrize("length", [16, 64, 128, 1024])
def test_a_tone_is_one_line_all_along_at_its_frequency(length: int) -> None:
    for frequency in (-0.25, 0.25):
        picture = draw_spectrogram(as_frame(np.exp(2j * np.pi * frequency * np.arange(length))))
        dark = picture.sum(2).argmin(0) / len(picture)  # rows from the top: the highest frequency first
        np.testing.assert_allclose(dark, 0.5 - frequency, atol=0.03)


def test_symbols_lie_in_their_quadrants_whatever_their_power() -> None:
    for scale in (1e-3, 1.0, 1e3):
        picture = draw_constellation(as_frame(scale * np.array([1 + 1j, 1 + 1j, 1 - 1j, 1 + 1j]) / np.sqrt(2)))
        rows, columns = np.nonzero(picture.sum(2) < 400)
        middle = len(picture) / 2
        assert (columns > middle).all()
        assert {bool(row < middle) for row in rows} == {True, False}
