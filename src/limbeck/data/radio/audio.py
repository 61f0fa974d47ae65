"""A synthetic voice for the analog modulations. Not here: the modulations (`modulate`)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.signal import firwin

from limbeck.data.radio.resample import REACH, interpolate
from limbeck.data.radio.streams import Streams

__all__ = ["AUDIO_RATE", "analytic_speech", "speech", "upsampled"]

AUDIO_RATE = 44_100.0
HALF = 128  # taps of the Hilbert filter on each side; it is whole from about 400 Hz on
SILENCE = 0.03  # of the level of speech


def speech(draws: Streams, samples: int, *, level: float, silence: float) -> np.ndarray:
    """[frames, samples] at 44.1 kHz, within +-0.5: noise through one formant, of a loudness that differs by frame.

    A stretch of one frame is short beside a syllable: it is silent as a whole (but for the room's noise), or lies
    somewhere on a syllable's slow rise and fall.

    Args:
        draws: of the frames.
        samples: how many.
        level: median of the standard deviation in frames that are not silent.
        silence: share of silent frames.
    """
    choices, noise = draws.uniform(4), draws.normal(samples + 3)
    formant = 150.0 * 10 ** choices[:, 0]  # 150 Hz to 1.5 kHz
    radius = np.exp(-np.pi * (100.0 + 300.0 * choices[:, 1]) / AUDIO_RATE)
    first, second = 2 * radius * np.cos(2 * np.pi * formant / AUDIO_RATE), -(radius**2)
    # The first two samples come from the process's own distribution, so that no run-in is needed.
    correlation = first / (1 - second)
    innovation = np.sqrt((1 + second) * ((1 - second) ** 2 - first**2) / (1 - second))
    found = np.empty((samples, len(draws)))
    before, last = noise[:, 0], correlation * noise[:, 0] + np.sqrt(1 - correlation**2) * noise[:, 1]
    for i in range(samples):
        before, last = last, first * last + second * before + innovation * noise[:, i + 2]
        found[i] = last
    loudness = level * np.exp(0.8 * noise[:, -1])
    loudness = np.where(choices[:, 2] < silence, SILENCE * level, loudness)
    syllable = 4.0 * np.arange(samples) / AUDIO_RATE
    envelope = 1 + 0.7 * np.cos(2 * np.pi * (syllable + choices[:, 3:]))
    return np.clip(found.T * envelope * loudness[:, None], -0.5, 0.5)


def margin(samples: int, rate: float) -> int:
    """Audio samples that `upsampled` needs for `samples` at `rate`."""
    return int(np.ceil((samples - 1) * AUDIO_RATE / rate)) + 2 * REACH + 1


def upsampled(audio: np.ndarray, samples: int, rate: float) -> np.ndarray:
    """[n, margin(samples, rate)] at 44.1 kHz -> [n, samples] at `rate` Hz."""
    return interpolate(audio, REACH - 1 + np.arange(samples) * (AUDIO_RATE / rate))


@lru_cache(maxsize=1)
def hilbert_taps() -> np.ndarray:
    """Every other tap of a Hilbert filter, those that are not 0, from -HALF + 1 in steps of 2."""
    at = np.arange(-HALF + 1, HALF, 2)
    return 2 / (np.pi * at) * np.hamming(2 * HALF + 1)[at + HALF]


@lru_cache(maxsize=1)
def high_pass() -> np.ndarray:
    """Taps that take the lowest tones away, which no Hilbert filter of finite length can turn."""
    return firwin(2 * HALF + 1, 450.0, fs=AUDIO_RATE, pass_zero=False, window="hamming")


def analytic_speech(draws: Streams, samples: int, rate: float, *, level: float, silence: float) -> np.ndarray:
    """[frames, samples] complex at `rate` Hz: speech with the tones above 0 Hz only."""
    wanted = margin(samples, rate)
    audio = speech(draws, wanted + 4 * HALF, level=level, silence=silence)
    voice = np.zeros((len(audio), wanted + 2 * HALF))
    for i, tap in enumerate(high_pass()):
        voice += tap * audio[:, i : i + wanted + 2 * HALF]
    turned = np.zeros((len(audio), wanted))
    for at, tap in zip(range(-HALF + 1, HALF, 2), hilbert_taps(), strict=True):
        turned += tap * voice[:, HALF - at : HALF - at + wanted]
    return upsampled(voice[:, HALF : HALF + wanted] + 1j * turned, samples, rate)
