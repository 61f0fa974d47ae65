"""Radio signals: a generator of modulated frames, and readers of recorded ones. Not here: networks, splitting, batches."""

from __future__ import annotations

from limbeck.data.radio.channel import Channel
from limbeck.data.radio.modulate import MODULATIONS, Waveform
from limbeck.data.radio.profiles import PROFILES, Profile
from limbeck.data.radio.radioml import read_radioml_2016
from limbeck.data.radio.radioml_2018 import RML2018_CLASSES, convert_radioml_2018
from limbeck.data.radio.record import Signals
from limbeck.data.radio.sigmf_frames import read_sigmf
from limbeck.data.radio.signal_sets import read_signals
from limbeck.data.radio.signals import make_frames, make_signals, write_signals

__all__ = [
    "MODULATIONS",
    "PROFILES",
    "RML2018_CLASSES",
    "Channel",
    "Profile",
    "Signals",
    "Waveform",
    "convert_radioml_2018",
    "make_frames",
    "make_signals",
    "read_radioml_2016",
    "read_sigmf",
    "read_signals",
    "write_signals",
]
