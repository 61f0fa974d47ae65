"""The modulations: complex baseband of frames before any channel. Not here: channels, noise, framing.

Digital symbols are independent and uniform: the data sets' sources scramble their text with random bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from scipy.signal import lfilter

from limbeck.data.radio.audio import analytic_speech, margin, speech, upsampled
from limbeck.data.radio.streams import Streams
from limbeck.errors import unknown_name

__all__ = ["ALIASES", "CONSTELLATIONS", "MODULATIONS", "Waveform", "find_modulation", "rrc", "rrc_taps"]


@dataclass(frozen=True)
class Waveform:
    """How signals are made.

    Attributes:
        sample_rate: in Hz; only the analog modulations know seconds.
        samples_per_symbol: of the digital modulations.
        roll_off: of the root-raised cosine.
        scaled: whether constellations have a mean magnitude of 1; False = their points are as `CONSTELLATIONS` has them,
            so that denser ones are stronger.
        gfsk_bt: bandwidth of GFSK's Gaussian times the symbol's duration.
        gfsk_step: radians per sample that GFSK's phase goes at a steady bit.
        gfsk_amplitude: of GFSK.
        cpfsk_index: half turns of CPFSK's phase per symbol.
        fm_rate: rate at which WBFM is made, in Hz, a multiple of 44.1 kHz. Its samples are taken for samples at
            `sample_rate`, as the data sets have it.
        ssb: `analytic` = speech with its upper sideband only; `none` = no signal at all, which is what RadioML 2016.10a
            calls AM-SSB: its carrier is a sine of 0 Hz.
        audio_level: median loudness of speech.
        audio_silence: share of frames without any.
    """

    sample_rate: float = 200e3
    samples_per_symbol: int = 8
    roll_off: float = 0.35
    scaled: bool = True
    gfsk_bt: float = 0.35
    gfsk_step: float = 0.1
    gfsk_amplitude: float = 0.999
    cpfsk_index: float = 0.5
    fm_rate: float = 220.5e3
    ssb: str = "analytic"
    audio_level: float = 0.05
    audio_silence: float = 0.2


Modulation = Callable[[Streams, int, Waveform], np.ndarray]
"""Streams, a number of samples and the waveform -> [frames, samples] complex."""


def psk(points: int, turn: float = 0.0) -> np.ndarray:
    """Points on the unit circle, the first at `turn` radians."""
    return np.exp(1j * (turn + 2 * np.pi * np.arange(points) / points))


def pam(points: int) -> np.ndarray:
    """Odd whole numbers on the real axis, as many below 0 as above."""
    return np.arange(1 - points, points, 2) + 0j


def qam(side: int, *, corner: int = 0) -> np.ndarray:
    """The odd whole numbers of a square, without `corner` x `corner` points at each corner (a cross)."""
    axis = np.arange(side)
    near = np.minimum(axis, side - 1 - axis)
    keep = (near[:, None] >= corner) | (near >= corner)
    return (pam(side).real[:, None] + 1j * pam(side).real)[keep]


def apsk(*rings: tuple[int, float]) -> np.ndarray:
    """Rings of (points, radius), each ring's first point half a step up from the real axis."""
    return np.concatenate([radius * psk(points, np.pi / points) for points, radius in rings])


CONSTELLATIONS: dict[str, np.ndarray] = {
    "BPSK": psk(2),
    "QPSK": psk(4, np.pi / 4),
    "8PSK": psk(8),
    "16PSK": psk(16),
    "32PSK": psk(32),
    "PAM4": pam(4),
    "OOK": np.array([0j, 1]),
    "4ASK": np.arange(4) + 0j,
    "8ASK": np.arange(8) + 0j,
    "QAM16": qam(4),
    "QAM32": qam(6, corner=1),
    "QAM64": qam(8),
    "QAM128": qam(12, corner=2),
    "QAM256": qam(16),
    "16APSK": apsk((4, 1.0), (12, 2.57)),
    "32APSK": apsk((4, 1.0), (12, 2.53), (16, 4.3)),
}
"""Points before they are scaled.

**Source:** the 2016 classes: gr-mapper, as the generator of RadioML 2016.10a uses it; APSK: ETSI EN 302 307-1 (DVB-S2),
the radii for rate 4/5; crosses: squares of 6 and 12 points a side without their corners.
"""


def rrc(times: np.ndarray, roll_off: float) -> np.ndarray:
    """The root-raised cosine at times in symbols, of unit energy.

    Example:
        >>> rrc(np.array([0, 1 / 8, 1 / 1.4, 1]), 0.35).round(7).tolist()
        [1.0956338, 1.0598872, 0.2606035, -0.0846903]
    """
    t = np.asarray(times, float)
    singular = np.isclose(np.abs(4 * roll_off * t), 1)
    safe = np.where((t == 0) | singular, 0.3, t)
    found = (np.sin(np.pi * safe * (1 - roll_off)) + 4 * roll_off * safe * np.cos(np.pi * safe * (1 + roll_off))) / (
        np.pi * safe * (1 - (4 * roll_off * safe) ** 2)
    )
    found = np.where(t == 0, 1 - roll_off + 4 * roll_off / np.pi, found)
    turn = np.pi / (4 * roll_off)
    limit = roll_off / math.sqrt(2) * ((1 + 2 / np.pi) * np.sin(turn) + (1 - 2 / np.pi) * np.cos(turn))
    return np.where(singular, limit, found)


@lru_cache
def rrc_taps(samples_per_symbol: int, roll_off: float, span: int = 12) -> np.ndarray:
    """[span, samples_per_symbol]: column p is the filter arm that makes sample p of a symbol; the arms sum to 1 on average.

    The data set's pulse reaches over 88 symbols; what lies beyond 12 has less than 0.1 % of its energy.
    """
    count = span * samples_per_symbol
    taps = rrc((np.arange(count) - count // 2) / samples_per_symbol, roll_off)
    return (taps * samples_per_symbol / taps.sum()).reshape(span, samples_per_symbol)


@lru_cache
def gaussian_taps(samples_per_symbol: int, bt: float) -> np.ndarray:
    """As `rrc_taps`, of GFSK: a Gaussian of 4 symbols over a symbol's rectangle."""
    count = 4 * samples_per_symbol
    spread = math.sqrt(math.log(2)) / (2 * np.pi * bt)
    gaussian = np.exp(-0.5 * ((np.arange(count) - count / 2) / samples_per_symbol / spread) ** 2)
    taps = np.convolve(gaussian / gaussian.sum(), np.ones(samples_per_symbol))
    return np.append(taps, 0.0).reshape(5, samples_per_symbol)


def shape(symbols: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """[n, s] symbols through the arms [span, sps] -> [n, (s - span + 1) * sps] samples, without any run-in."""
    span, rate = taps.shape
    count = symbols.shape[1] - span + 1
    found = np.zeros((len(symbols), count, rate), symbols.dtype)
    for back, arm in enumerate(taps):
        start = span - 1 - back
        found += symbols[:, start : start + count, None] * arm
    return found.reshape(len(symbols), count * rate)


def cut(samples: np.ndarray, starts: np.ndarray, count: int) -> np.ndarray:
    """[n, count] from each row's start on."""
    return samples[np.arange(len(samples))[:, None], starts[:, None] + np.arange(count)]


def symbols_for(count: int, waveform: Waveform, span: int) -> int:
    """Symbols that `count` samples need wherever in a symbol they start."""
    return -(-count // waveform.samples_per_symbol) + span


def linear(draws: Streams, count: int, waveform: Waveform, *, name: str, staggered: bool = False) -> np.ndarray:
    """Symbols of a constellation, root-raised cosine, from a random sample of a symbol on."""
    points = CONSTELLATIONS[name]
    points = points / np.abs(points).mean() if waveform.scaled else points
    taps = rrc_taps(waveform.samples_per_symbol, waveform.roll_off)
    delay = waveform.samples_per_symbol // 2 if staggered else 0
    starts = draws.below(waveform.samples_per_symbol, 1)[:, 0]
    drawn = draws.below(len(points), symbols_for(count + delay, waveform, len(taps)))
    shaped = shape(points[drawn], taps)
    found = cut(shaped, starts, count)
    return found.real + 1j * cut(shaped.imag, starts + delay, count) if staggered else found


def gaussian(draws: Streams, count: int, waveform: Waveform, step: float) -> np.ndarray:
    """Bits through a Gaussian into the phase, which goes `step` radians per sample at a steady bit."""
    taps = gaussian_taps(waveform.samples_per_symbol, waveform.gfsk_bt)
    starts, phase = draws.below(waveform.samples_per_symbol, 1)[:, 0], draws.uniform(1)
    bits = 2.0 * draws.below(2, symbols_for(count, waveform, len(taps))) - 1
    steps = cut(shape(bits, taps), starts, count) * step
    return np.exp(1j * (2 * np.pi * phase + np.cumsum(steps, axis=1)))


def gfsk(draws: Streams, count: int, waveform: Waveform) -> np.ndarray:
    """As the data sets set it: a step in radians per sample."""
    return waveform.gfsk_amplitude * gaussian(draws, count, waveform, waveform.gfsk_step)


def gmsk(draws: Streams, count: int, waveform: Waveform) -> np.ndarray:
    """A quarter turn per symbol."""
    return gaussian(draws, count, waveform, np.pi / 2 / waveform.samples_per_symbol)


def cpfsk(draws: Streams, count: int, waveform: Waveform) -> np.ndarray:
    """Bits straight into the phase, which at the start of a symbol is one of those that it can be."""
    rate = waveform.samples_per_symbol
    starts, phase = draws.below(rate, 1)[:, 0], draws.below(4, 1) * np.pi * waveform.cpfsk_index
    bits = 2.0 * draws.below(2, symbols_for(count, waveform, 1)) - 1
    steps = np.repeat(bits * (np.pi * waveform.cpfsk_index / rate), rate, axis=1)
    return np.exp(1j * cut(phase + np.cumsum(steps, axis=1), starts, count))


@lru_cache
def pre_emphasis(rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator of FM's 75 us pre-emphasis: one zero, a pole near half the rate, gain 1 at 0 Hz."""
    zero, pole = math.tan(0.5 / 75e-6 / rate), math.tan(0.5 * 0.925 * math.pi)
    top, bottom = np.array([1 + zero, zero - 1]) / zero, np.array([1 + pole, pole - 1]) / pole
    return top / bottom[0], bottom / bottom[0]


def wbfm(draws: Streams, count: int, waveform: Waveform) -> np.ndarray:
    """Speech, pre-emphasised, into the phase: 75 kHz off at full scale."""
    lead = 64  # samples in which the filter forgets its start
    audio = speech(
        draws,
        margin(count + lead, waveform.fm_rate),
        level=waveform.audio_level,
        silence=waveform.audio_silence,
    )
    raw = upsampled(audio, count + lead, waveform.fm_rate)
    bright = lfilter(*pre_emphasis(waveform.fm_rate), raw, axis=1)[:, lead:]
    turns = draws.uniform(1) + np.cumsum(75e3 / waveform.fm_rate * bright, axis=1)
    return np.exp(2j * np.pi * turns)


def am_dsb(draws: Streams, count: int, waveform: Waveform, *, carrier: float = 1.0) -> np.ndarray:
    """Speech on a carrier, both sidebands."""
    audio = speech(
        draws, margin(count, waveform.sample_rate), level=waveform.audio_level, silence=waveform.audio_silence
    )
    return upsampled(audio, count, waveform.sample_rate) + (carrier + 0j)


def am_ssb(draws: Streams, count: int, waveform: Waveform, *, carrier: float = 0.0) -> np.ndarray:
    """Speech's upper sideband; or nothing."""
    if waveform.ssb == "none":
        return np.zeros((len(draws), count), complex)
    return carrier + analytic_speech(
        draws, count, waveform.sample_rate, level=waveform.audio_level, silence=waveform.audio_silence
    )


MODULATIONS: dict[str, Modulation] = {
    **{name: partial(linear, name=name) for name in CONSTELLATIONS},
    "OQPSK": partial(linear, name="QPSK", staggered=True),
    "GMSK": gmsk,
    "GFSK": gfsk,
    "CPFSK": cpfsk,
    "WBFM": wbfm,
    "AM-DSB": am_dsb,
    "AM-DSB-SC": partial(am_dsb, carrier=0.0),
    "AM-SSB": am_ssb,
    "AM-SSB-WC": partial(am_ssb, carrier=0.5),
}
"""Class -> how its baseband is made."""

ALIASES = {
    "16QAM": "QAM16",
    "32QAM": "QAM32",
    "64QAM": "QAM64",
    "128QAM": "QAM128",
    "256QAM": "QAM256",
    "AM-DSB-WC": "AM-DSB",
    "AM-SSB-SC": "AM-SSB",
}
"""Names of RadioML 2018.01a -> ours of the same modulation, whose frames they are."""


def find_modulation(name: str, *, where: str) -> str:
    """Our name of a modulation.

    Raises:
        InputError: there is none.
    """
    if name not in MODULATIONS and name not in ALIASES:
        raise unknown_name("modulation", str(name), [*MODULATIONS, *ALIASES], where=where)
    return ALIASES.get(name, name)
