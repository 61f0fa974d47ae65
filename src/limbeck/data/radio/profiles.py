"""The generator's profiles: which published set a frame is like. Not here: the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from limbeck.data.radio.channel import Channel
from limbeck.data.radio.modulate import Waveform, find_modulation
from limbeck.errors import InputError, unknown_name

__all__ = ["PROFILES", "RML2016_CLASSES", "Profile", "find_profile"]

RML2016_CLASSES = (
    "8PSK", "AM-DSB", "AM-SSB", "BPSK", "CPFSK", "GFSK", "PAM4", "QAM16", "QAM64", "QPSK", "WBFM",
)  # fmt: skip


@dataclass(frozen=True)
class Profile:
    """All that frames depend on beside class, SNR, seed and number.

    Attributes:
        name: in records and errors.
        classes: that it makes unless told otherwise; any of `MODULATIONS` and `ALIASES` can be asked for.
        snrs: in dB, likewise.
        waveform: of the sender.
        channel: between sender and receiver.
        norm: what is 1 in a frame: `sum` = the sum of magnitudes (RadioML), `power` = the mean power.
    """

    name: str
    classes: tuple[str, ...]
    snrs: tuple[float, ...]
    waveform: Waveform
    channel: Channel
    norm: str


def decibels(*gains: float) -> tuple[float, ...]:
    """Amplitudes of gains in dB."""
    return tuple(10 ** (gain / 20) for gain in gains)


PROFILES: dict[str, Profile] = {
    "radioml2016": Profile(
        "radioml2016",
        RML2016_CLASSES,
        tuple(range(-20, 20, 2)),
        # Loudness and silence as in the published frames of WBFM at 10 dB and above: a podcast's quiet start.
        Waveform(ssb="none", audio_level=0.006, audio_silence=0.4),
        Channel(delays=(0.0, 0.9, 1.7), gains=(1.0, 0.8, 0.3), rician_k=4.0, noise="10^(-s/10)"),
        "sum",
    ),
    "radioml2016_published": Profile(
        "radioml2016_published",
        RML2016_CLASSES,
        tuple(range(-20, 20, 2)),
        Waveform(ssb="none", audio_level=0.006, audio_silence=0.4, scaled=False),
        Channel(
            delays=(0.0, 0.9, 1.7),
            gains=(1.0, 0.8, 0.3),
            rician_k=4.0,
            band_gain=10 ** (5.1 / 20),
            noise="10^(-s/10)",
        ),
        "sum",
    ),
    "clean_snr": Profile(
        "clean_snr",
        RML2016_CLASSES,
        tuple(range(-20, 20, 2)),
        Waveform(),
        Channel(
            sro_ppm=50.0,
            any_timing=True,
            delays=(0.0, 0.9, 1.7),
            gains=(1.0, 0.8, 0.3),
            rician_k=4.0,
            cfo=0.0025,
            any_phase=True,
        ),
        "power",
    ),
    "rml22": Profile(
        "rml22",
        tuple(name for name in RML2016_CLASSES if name != "AM-SSB"),
        tuple(range(-20, 22, 2)),
        Waveform(sample_rate=30e3, samples_per_symbol=2, gfsk_bt=0.3, gfsk_step=1.57, fm_rate=44.1e3),
        Channel(
            # There an oscillator of 10 MHz, up to 5 Hz off, drives clock and carrier. Here each draws its own error: over
            # 128 samples the clock's, 0.5 ppm at most, moves a sample by less than 1e-4 of its spacing.
            sro_ppm=0.5,
            delays=tuple(30e3 * 1e-9 * ns for ns in (0, 50, 120, 200, 230, 500, 1600, 2300, 5000)),
            gains=decibels(-1, -1, -1, 0, 0, 0, -3, -5, -7),
            doppler=70 / 30e3,
            cfo=500 / 30e3,  # the oscillator's error, times 100
            any_phase=True,
            noise="10^(-s/20)",
        ),
        "sum",
    ),
}
"""By name.

**Source:** `radioml2016`: O'Shea, West, "Radio Machine Learning Dataset Generation with GNU Radio", GRCon 2016, and the
published generator of 2016.10a, without what it does to frames of 128 samples in name only (clock drifts of some 0.01
Hz, Doppler of 1 Hz). `radioml2016_published`: the same as the published files have it, by 1,400 frames of 2016.10b that
were measured: in PAM4, QAM16 and QAM64 the signal is some 6, 9 and 16 dB stronger than in the other classes, which is what
constellations have that are not scaled (the generator's mapper was mended later); and all others have 2 s + 5.1 dB at the
label s, since one draw of the fading serves the whole set. `rml22`: Sathyanarayanan et al., "RML22: Realistic Dataset
Generation for Wireless Modulation Classification", 2023, and its published generator; the oscillator stands still during a
frame. `clean_snr` is ours: the SNR is what it says, AM-SSB is a sideband, offsets are drawn for every frame.
"""


def find_profile(profile: str | Profile) -> Profile:
    """A profile by name, or as it is.

    Raises:
        InputError: an unknown name, class or word of the profile's own.
    """
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise unknown_name("profile", profile, PROFILES)
        return PROFILES[profile]
    where = f"profile '{profile.name}'"
    for name in profile.classes:
        find_modulation(name, where=where)
    for field, value, known in (
        ("norm", profile.norm, ("sum", "power")),
        ("noise", profile.channel.noise, ("10^(-s/10)", "10^(-s/20)", "relative")),
        ("ssb", profile.waveform.ssb, ("none", "analytic")),
    ):
        if value not in known:
            raise unknown_name(field, str(value), known, where=where)
    if len(profile.channel.delays) != len(profile.channel.gains) or not profile.channel.delays:
        raise InputError(f"{where}: needs as many gains as delays, at least one of each")
    return profile
