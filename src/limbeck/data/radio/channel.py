"""What lies between sender and receiver: clocks, fading, noise. Not here: modulations, the values of the profiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from limbeck.data.radio.resample import REACH, interpolate
from limbeck.data.radio.streams import Streams

__all__ = ["Channel", "draw_taps", "faded", "resampled", "samples_before"]

SINUSOIDS = 8
GRID = 8  # samples between two looks at fading paths that move; they go straight in between


@dataclass(frozen=True)
class Channel:
    """One link, applied in the order of these fields.

    Attributes:
        sro_ppm: sample rates differ by up to this much, uniformly.
        any_timing: whether a frame starts anywhere between two samples of the sender.
        delays: of the paths, in samples.
        gains: of their amplitudes.
        taps: of the filter that the paths become.
        rician_k: power of the first path's steady part over that of its moving part; None = none is steady.
        band_gain: amplitude that every draw of the paths is scaled to, at the carrier; None = as it was drawn.
        doppler: largest Doppler shift in cycles per sample; 0 = the paths stand still during a frame.
        cfo: carriers differ by up to this much, uniformly, in cycles per sample.
        any_phase: whether the carrier's phase is drawn for each frame.
        noise: the noise's amplitude at an SNR of s dB: `10^(-s/10)` (RadioML 2016: an amplitude that was meant for a
            power), `10^(-s/20)`, or `relative` = `10^(-s/20)` of the received signal's own.
    """

    sro_ppm: float = 0.0
    any_timing: bool = False
    delays: tuple[float, ...] = (0.0,)
    gains: tuple[float, ...] = (1.0,)
    taps: int = 8
    rician_k: float | None = None
    band_gain: float | None = None
    doppler: float = 0.0
    cfo: float = 0.0
    any_phase: bool = False
    noise: str = "relative"

    def path_taps(self) -> np.ndarray:
        """[paths, taps]: the taps of each path at its own gain."""
        delays, gains = np.array(self.delays)[:, None], np.array(self.gains)[:, None]
        return gains * np.sinc(np.arange(self.taps) - delays)


def samples_before(channel: Channel, length: int) -> int:
    """Samples of the sender from which `length` samples of the receiver are made."""
    count = length + channel.taps - 1
    if channel.sro_ppm or channel.any_timing:
        count += 2 * REACH + 1 + math.ceil(1e-6 * channel.sro_ppm * count)
    return count


def resampled(channel: Channel, draws: Streams, samples: np.ndarray, length: int) -> np.ndarray:
    """[n, samples_before] -> [n, length + taps - 1] as the receiver's clock takes them."""
    if not channel.sro_ppm and not channel.any_timing:
        return samples
    error, start = draws.uniform(2, 1).transpose(1, 0, 2)
    pace = 1 + 1e-6 * channel.sro_ppm * (2 * error - 1)
    start = start if channel.any_timing else 0 * start
    return interpolate(samples, REACH - 1 + start + pace * np.arange(length + channel.taps - 1))


def draw_taps(channel: Channel, draws: Streams, length: int) -> np.ndarray:
    """[n, taps, looks] complex: the filter at samples 0, GRID, 2 GRID ...; a single look where paths stand still.

    Each path is a sum of sinusoids: Rayleigh, of power 1, and the first one Rician where the channel says so.

    **Source:** GNU Radio's `selective_fading_model` and `flat_fader`; the angle that drifts there stands still.
    """
    paths, looks = len(channel.delays), 1 + (-(-length // GRID) if channel.doppler else 0)
    drawn = 2 * np.pi * draws.uniform(paths, 2 * SINUSOIDS + 3)
    theta = drawn[:, :, :1] - np.pi
    angles = (2 * np.pi * np.arange(1, SINUSOIDS + 1) - np.pi + theta) / (4 * SINUSOIDS)
    passed = 2 * np.pi * channel.doppler * GRID * np.arange(looks)
    moved = np.cos(angles)[..., None] * passed
    real = np.cos(drawn[:, :, 1 : SINUSOIDS + 1, None] + moved).sum(2)
    imaginary = np.sin(drawn[:, :, SINUSOIDS + 1 : -2, None] + moved).sum(2)
    fading = (real + 1j * imaginary) / math.sqrt(SINUSOIDS)  # [n, paths, looks]
    if channel.rician_k is not None:
        steady = np.exp(1j * (drawn[:, 0, -2, None] + np.cos(drawn[:, 0, -1, None]) * passed))
        k = channel.rician_k
        fading[:, 0] = fading[:, 0] / math.sqrt(k + 1) + math.sqrt(k / (k + 1)) * steady
    found = np.zeros((len(draws), channel.taps, looks), complex)
    for path, weights in enumerate(channel.path_taps()):
        found += fading[:, path, None] * weights[:, None]
    if channel.band_gain is not None:
        found *= channel.band_gain / np.abs(found.sum(1)[:, :1]).mean(1)[:, None, None]
    return found


def faded(taps: np.ndarray, samples: np.ndarray, length: int) -> np.ndarray:
    """[n, length + taps - 1] through the filters of `draw_taps` -> [n, length]."""
    count, looks = taps.shape[1:]
    found = np.zeros((len(samples), length), complex)
    share = np.arange(GRID) / GRID
    for delay in range(count):
        late = samples[:, count - 1 - delay : count - 1 - delay + length]
        tap = taps[:, delay]
        if looks > 1:
            between = tap[:, :-1, None] + (tap[:, 1:] - tap[:, :-1])[..., None] * share
            tap = between.reshape(len(taps), -1)[:, :length]
        found += tap * late
    return found


def turned(channel: Channel, draws: Streams, samples: np.ndarray) -> np.ndarray:
    """[n, length] with the offsets of frequency and phase."""
    if not channel.cfo and not channel.any_phase:
        return samples
    offset, phase = draws.uniform(2, 1).transpose(1, 0, 2)
    turns = channel.cfo * (2 * offset - 1) * np.arange(samples.shape[1]) + (phase if channel.any_phase else 0)
    return samples * np.exp(2j * np.pi * turns)


def noise_amplitude(channel: Channel, snr: float, received: np.ndarray) -> np.ndarray | float:
    """Standard deviation of the complex noise, [n, 1] where it depends on the signal received."""
    if channel.noise == "relative":
        return np.sqrt((np.abs(received) ** 2).mean(1, keepdims=True)) * 10 ** (-snr / 20)
    return 10 ** (-snr / (10 if channel.noise == "10^(-s/10)" else 20))


def noisy(channel: Channel, draws: Streams, samples: np.ndarray, snr: float) -> np.ndarray:
    """[n, length] with white noise."""
    real, imaginary = draws.normal(2, samples.shape[1]).transpose(1, 0, 2)
    return samples + noise_amplitude(channel, snr, samples) * math.sqrt(0.5) * (real + 1j * imaginary)
