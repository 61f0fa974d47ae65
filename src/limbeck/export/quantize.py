"""An fp32 ONNX file to int8 (static, QDQ) for ONNX Runtime.

Not here: whether the result is good enough (`parity`), confidence calibration (`calibrate`).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from limbeck.deployed import METADATA_KEY, open_runtime
from limbeck.errors import InputError, LimbeckError
from limbeck.export.graph import tidy
from limbeck.files import atomic_path
from limbeck.types import Artifact

__all__ = ["float_nodes", "quantize_onnx"]

# the runtime's entropy method is not among them: with as many bins as levels, its default, it finds what minmax finds
METHODS: dict[str, CalibrationMethod] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
}

# what carries the work of a network; around it lie the conversion of bytes before and the probabilities after
_WORK = ("Conv", "Gemm", "MatMul")
# what only moves or picks values, and does it on bytes as well as on floats
_MOVES = (
    "Flatten",
    "Reshape",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "MaxPool",
    "NhwcMaxPool",
    "Identity",
    "Slice",
    "Gather",
)


def quantize_onnx(
    artifact: Artifact,
    path: str | Path,
    calibration: Iterable[np.ndarray],
    *,
    method: Literal["minmax", "percentile"] = "minmax",
    percentile: float = 99.9,
    reduce_range: bool = False,
) -> Artifact:
    """Write an int8 form of an ONNX file: activations unsigned per tensor, weights signed per channel.

    Everything before the first and after the last convolution or product stays float: bytes to normalised pictures
    there, temperature and softmax here, where eight bits cost accuracy and save no time. Batch norms are folded first.
    Activations are unsigned because ONNX Runtime's x86 kernels are two to three times slower with signed ones. Nets
    with hard-swish often get slower in int8, because that activation has no int8 kernel: measure before preferring it.

    Args:
        artifact: the fp32 file.
        path: file to write, whole or not at all.
        calibration: batches of training pictures as the file takes them, whose ranges become the int8 ranges.
        method: how ranges are taken from what is seen; `percentile` cuts outliers off, for more memory and time.
        percentile: of the values of each tensor, how many are within its range; above 50, at most 100.
        reduce_range: 7-bit weights, for x86 processors without VNNI, whose 8-bit products can saturate.

    Raises:
        InputError: no calibration pictures, pictures of the wrong shape or type, a file that is int8 already, or no such
            method or percentile.
        LimbeckError: the quantiser cannot treat the graph.
    """
    path = Path(path)
    if artifact.precision == "int8":
        raise InputError(f"{artifact.path}: is int8 already; quantize the fp32 file")
    if method not in METHODS:
        raise InputError(f"calibration method '{method}': expected {', '.join(METHODS)}")
    if not 50 < percentile <= 100:
        raise InputError(f"percentile {percentile:g}: expected more than 50 and at most 100, such as 99.9")
    reader = _Pictures(artifact, calibration)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        prepared, quantised = Path(scratch) / "prepared.onnx", Path(scratch) / "int8.onnx"
        try:
            quant_pre_process(artifact.path, str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(quantised),
                reader,
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=reduce_range,
                calibrate_method=METHODS[method],
                extra_options={"CalibPercentile": percentile},
                nodes_to_exclude=_kept_float(onnx.load(str(prepared))),
            )
            model = tidy(onnx.load(str(quantised)))
        except InputError:
            raise
        except Exception as error:  # the quantiser raises nearly anything
            text = " ".join(str(error).split())[:300]
            raise LimbeckError(f"{artifact.path}: cannot be quantised ({type(error).__name__}: {text})") from error
    how = {"method": method} | ({"percentile": percentile} if method == "percentile" else {})
    _write_metadata(model, Path(artifact.path), {"calibration": {**how, "pictures": reader.seen}})
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        onnx.save(model, str(temporary))
    return Artifact(
        path=str(path),
        format="onnx",
        precision="int8",
        input_shape=artifact.input_shape,
        input_dtype=artifact.input_dtype,
        size_bytes=path.stat().st_size,
    )


def float_nodes(path: str | Path) -> dict[str, int]:
    """Operators of an int8 file that ONNX Runtime still computes in float, with their counts: what keeps it slow.

    Read from the graph as the runtime optimised it on this machine, conversions to and from int8 included.

    Raises:
        InputError: not a usable ONNX file.
    """
    runtime = open_runtime()
    with tempfile.TemporaryDirectory() as scratch:
        optimised = Path(scratch) / "optimised.onnx"
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(optimised)
        try:
            runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            graph = onnx.load(str(optimised)).graph
        except Exception as error:  # the runtime's own exceptions share no base class
            raise InputError(f"{path}: not a usable ONNX file ({' '.join(str(error).split())[:300]})") from error
    quantised: set[str] = set()
    left: Counter[str] = Counter()
    for node in graph.node:
        moves = node.op_type in _MOVES and node.input[0] in quantised
        if node.op_type == "QuantizeLinear" or node.op_type.startswith(("QLinear", "QGemm")) or moves:
            quantised.update(node.output)
        if not (moves or node.op_type.startswith(("QLinear", "QGemm"))):
            left[node.op_type] += 1
    return dict(sorted(left.items()))


class _Pictures(CalibrationDataReader):
    """Hands calibration batches to the quantiser, checked, and counts them."""

    def __init__(self, artifact: Artifact, batches: Iterable[np.ndarray]) -> None:
        self.artifact, self.batches, self.seen = artifact, iter(batches), 0
        model = onnx.load(artifact.path, load_external_data=False)
        weights = {tensor.name for tensor in model.graph.initializer}
        self.input = next(value.name for value in model.graph.input if value.name not in weights)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        if batch is None and not self.seen:
            raise InputError(
                f"{self.artifact.path}: no calibration pictures for int8; give a batch of training pictures"
            )
        if batch is None:
            return None
        if batch.shape[1:] != self.artifact.input_shape or batch.dtype != self.artifact.input_dtype:
            raise InputError(
                f"{self.artifact.path}: calibration pictures are {batch.dtype} {list(batch.shape[1:])}; "
                f"the file takes {self.artifact.input_dtype} {list(self.artifact.input_shape)}"
            )
        self.seen += len(batch)
        return {self.input: batch}


def _kept_float(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes before the first and after the last convolution or product."""
    kinds = [node.op_type for node in model.graph.node]
    work = [index for index, kind in enumerate(kinds) if kind in _WORK]
    if not work:
        raise InputError("the graph has no convolution and no product: there is nothing to quantise")
    nodes = model.graph.node
    return [node.name for node in [*nodes[: work[0]], *nodes[work[-1] + 1 :]] if node.name]


def _write_metadata(model: onnx.ModelProto, source: Path, further: dict[str, Any]) -> None:
    """Carry over what the fp32 file says of itself, with the precision that this one has."""
    original = onnx.load(str(source), load_external_data=False)
    model.producer_name, model.producer_version = original.producer_name, original.producer_version
    for entry in original.metadata_props:
        if entry.key == METADATA_KEY:
            facts = {**json.loads(entry.value), "precision": "int8", **further}
            carried = model.metadata_props.add()
            carried.key, carried.value = METADATA_KEY, json.dumps(facts, allow_nan=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the quantiser logs advice through the root logger
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # and prints how it counts, which would spoil `--json`
            yield
    finally:
        logging.disable(before)
