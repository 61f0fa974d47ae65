"""Radio signals: a generator of modulated frames, and readers of recorded ones. Not here: networks, splitting, batches."""

from __future__ import annotations

from limbeck.data.radio.channel import Channel
from limbeck.data.radio.modulate import MODULATIONS, Waveform
from limbeck.data.radio.profiles import PROFILES, Profile
from limbeck.data.radio.signals import Signals, make_frames, make_signals, write_signals

__all__ = [
    "MODULATIONS",
    "PROFILES",
    "Channel",
    "Profile",
    "Signals",
    "Waveform",
    "make_frames",
    "make_signals",
    "write_signals",
]
