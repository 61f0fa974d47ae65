"""Networks to files that run elsewhere: the ONNX deliverable and probe, int8, and the gates that prove a file right.

Not here: timing anything (`measure`), using a file (`deployed`).
"""

from collections.abc import Callable

from limbeck.export.classes import append_argmax
from limbeck.export.detections import append_nms
from limbeck.export.onnx import export_onnx, export_part, export_probe
from limbeck.export.paired import exact_mcnemar, paired_bootstrap, paired_difference, paired_interval
from limbeck.export.parity import (
    Agreement,
    check_drop,
    check_int8,
    check_metric,
    check_tensors,
    decision_gate,
    figure_gate,
    run_pictures,
    tensor_gate,
)
from limbeck.export.points import append_window
from limbeck.export.quantize import float_nodes, quantize_onnx
from limbeck.types import Artifact

EXPORTERS: dict[str, Callable[..., Artifact]] = {"onnx": export_onnx}
"""Name -> exporter of the deliverable."""

__all__ = [
    "EXPORTERS",
    "Agreement",
    "append_argmax",
    "append_nms",
    "append_window",
    "check_drop",
    "check_int8",
    "check_metric",
    "check_tensors",
    "decision_gate",
    "exact_mcnemar",
    "export_onnx",
    "export_part",
    "export_probe",
    "figure_gate",
    "float_nodes",
    "paired_bootstrap",
    "paired_difference",
    "paired_interval",
    "quantize_onnx",
    "run_pictures",
    "tensor_gate",
]
