"""Frames of signals as pictures: constellation and spectrogram. What is pictured is the problems' to say."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

__all__ = ["draw_constellation", "draw_spectrogram"]

REACH = 2.5  # of the constellation's axes, in root mean squares of the frame
SHADE = np.array([[250, 250, 248], [190, 214, 234], [86, 146, 200], [22, 62, 128], [8, 20, 54]], np.float64)
RANGE_DB = 40.0  # from the strongest part of a spectrogram down to what is drawn as nothing


def draw_constellation(frame: np.ndarray, *, side: int = 200) -> np.ndarray:
    """[side, side, 3] uint8: every sample as a dot, in phase to the right, quadrature upwards, scaled to unit power.

    Args:
        frame: [2, T].
        side: in pixels.
    """
    samples = frame.astype(np.float64)
    samples = samples / np.sqrt((samples**2).sum(0).mean())
    picture = np.full((side, side, 3), SHADE[0])
    middle = side // 2
    picture[middle], picture[:, middle] = 215, 215
    x, y = (side - 1) * (0.5 + samples / (2 * REACH))
    inside = (x >= 1) & (x < side - 1) & (y >= 1) & (y < side - 1)
    columns, rows = x[inside].round().astype(int), (side - 1 - y[inside]).round().astype(int)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            at = np.clip(rows + down, 0, side - 1), np.clip(columns + right, 0, side - 1)
            picture[at] = SHADE[3] if (down, right) == (0, 0) else np.minimum(picture[at], SHADE[2])
    return picture.round().astype(np.uint8)


def draw_spectrogram(frame: np.ndarray, *, side: int = 200) -> np.ndarray:
    """[side, side, 3] uint8: power by time (to the right) and frequency (upwards, 0 in the middle), 40 dB of it.

    Args:
        frame: [2, T].
        side: in pixels.
    """
    samples = (frame[0] + 1j * frame[1]).astype(np.complex128)
    width = max(8, min(64, len(samples) // 4))
    hop = max(1, (len(samples) - width) // 96)
    transform = ShortTimeFFT(hann(width), hop=hop, fs=1.0, fft_mode="centered", mfft=max(64, width))
    # only where the window lies wholly inside: beyond it, a frame seems to begin and end with a click
    first, end = transform.lower_border_end[1], transform.upper_border_begin(len(samples))[1]
    power = np.abs(transform.stft(samples, p0=first, p1=end)) ** 2
    level = 10 * np.log10(np.maximum(power, power.max() * 1e-12) / power.max())
    shade = np.clip(1 + level / RANGE_DB, 0, 1)[::-1] * (len(SHADE) - 1)
    low = np.minimum(shade.astype(int), len(SHADE) - 2)
    picture = SHADE[low] + (SHADE[low + 1] - SHADE[low]) * (shade - low)[..., None]
    image = Image.fromarray(picture.round().astype(np.uint8))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
