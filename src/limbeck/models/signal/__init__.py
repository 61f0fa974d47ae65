"""Networks for radio signals: ClST, its students, and what they are compared with. Not here: signals themselves."""

from __future__ import annotations

from limbeck.models.signal.names import SIGNAL_TABLES, SIGNALS, SignalDesign, find_signal, signal_network
from limbeck.models.signal.network import SignalNetwork

__all__ = ["SIGNALS", "SIGNAL_TABLES", "SignalDesign", "SignalNetwork", "find_signal", "signal_network"]
