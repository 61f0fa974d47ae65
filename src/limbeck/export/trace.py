"""A module traced to an ONNX graph, by either of torch's exporters. What the graph means is unknown here."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from torch import nn

from limbeck.export.graph import tidy

__all__ = ["has_quick_exporter", "quiet", "trace"]

OPSET = 18  # the one that the dynamo exporter writes without converting, and the lowest that has all we need
INPUT = "pictures"


def trace(module: nn.Module, example: torch.Tensor, output: str, *, quick: bool, given: str = INPUT) -> onnx.ModelProto:
    """Trace a module of one input and one output, with a dynamic batch.

    Args:
        module: in the mode in which it is traced.
        example: an input; of a batch above 1, which exporters would take for a constant.
        output: name of the output.
        given: name of the input.
        quick: by the TorchScript exporter, in 0.2 s where dynamo takes 5 s.
    """
    with quiet(), torch.no_grad():
        model = _trace_quickly(module, example, given, output) if quick else _trace(module, example, given, output)
    return tidy(model)


def has_quick_exporter() -> bool:
    """Whether torch still has the TorchScript exporter."""
    return importlib.util.find_spec("torch.onnx._internal.torchscript_exporter") is not None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' progress lines and warnings; what goes wrong arrives as an exception."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _trace(module: nn.Module, example: torch.Tensor, given: str, output: str) -> onnx.ModelProto:
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[given],
        output_names=[output],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _trace_quickly(module: nn.Module, example: torch.Tensor, given: str, output: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "probe.onnx"
        torch.onnx.export(
            module,
            (example,),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=[given],
            output_names=[output],
            dynamic_axes={given: {0: "batch"}, output: {0: "batch"}},
        )
        return onnx.load(str(file))
