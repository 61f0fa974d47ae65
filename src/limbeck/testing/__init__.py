"""Conformance suites for parts of your own, and a device with known latencies. A run of Limbeck needs none of it."""

from limbeck.testing.artifacts import count_onnx_macs, make_artifact
from limbeck.testing.data import check_reader
from limbeck.testing.devices import check_device
from limbeck.testing.exporters import check_exporter
from limbeck.testing.fake_device import FakeDevice
from limbeck.testing.losses import check_loss
from limbeck.testing.methods import check_distillation
from limbeck.testing.models import check_network
from limbeck.testing.spaces import check_space
from limbeck.testing.tasks import check_task

__all__ = [
    "FakeDevice",
    "check_device",
    "check_distillation",
    "check_exporter",
    "check_loss",
    "check_network",
    "check_reader",
    "check_space",
    "check_task",
    "count_onnx_macs",
    "make_artifact",
]
