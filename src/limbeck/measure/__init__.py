"""How fast an exported file is on a device: targets, timing, memory, placement. Where it came from is unknown here."""

from limbeck.measure.artifacts import measure_artifacts
from limbeck.measure.local import OnnxRuntimeDevice
from limbeck.measure.lock import exclusive
from limbeck.measure.target import TARGETS, open_device, read_target
from limbeck.measure.timing import Comparison, compare, drift, is_steady, summarize

__all__ = [
    "TARGETS",
    "Comparison",
    "OnnxRuntimeDevice",
    "compare",
    "drift",
    "exclusive",
    "is_steady",
    "measure_artifacts",
    "open_device",
    "read_target",
    "summarize",
]
