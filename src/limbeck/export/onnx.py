"""A network to an ONNX file: the deliverable, and the quick probe whose only purpose is to be timed.

Not here: int8 (`quantize`), proof that the file says what the network says (`parity`), timing (`measure`).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from torch import nn

import limbeck
from limbeck.deployed import METADATA_KEY, METADATA_SCHEMA
from limbeck.errors import InputError, LimbeckError
from limbeck.export.graph import Deployed, tidy
from limbeck.files import atomic_path
from limbeck.types import Artifact

__all__ = ["export_onnx", "export_probe"]

OPSET = 18  # the one that the dynamo exporter writes without converting, and the lowest that has all we need
INPUT, PROBABILITIES, BOXES = "pictures", "probabilities", "boxes"


def export_onnx(
    network: nn.Module,
    path: str | Path,
    *,
    sample_size: tuple[int, int],
    temperature: float = 1.0,
    preprocess: Literal["uint8", "float32"] = "uint8",
    class_names: Sequence[str] = (),
    fit: str = "crop",
    metadata: Mapping[str, Any] | None = None,
) -> Artifact:
    """Write the deliverable: one ONNX file with weights and metadata inside, dynamic batch, probabilities out.

    Args:
        network: pictures in [0, 1] to logits, or to a detector's outputs, which become boxes and scores; resize and
            normalisation are its own. Left as it is.
        path: file to write, whole or not at all.
        sample_size: (height, width) of the pictures that will be given.
        temperature: divides the logits of other networks than detectors, in the graph.
        preprocess: `uint8` takes [N, H, W, C] bytes; `float32` takes [N, C, H, W] in [0, 1].
        class_names: what the outputs mean; empty = their numbers.
        fit: how pictures of other sizes are brought to `sample_size` (`limbeck.pictures.fit_picture`).
        metadata: further JSON-like facts for the file (task, data set, run).

    Raises:
        InputError: class names that do not fit the network, a temperature that is not positive, or an unwritable path.
        LimbeckError: the network holds something that cannot be exported.
    """
    if class_names and len(class_names) != getattr(network, "num_classes", len(class_names)):
        raise InputError(f"{path}: {len(class_names)} class names for a network of {network.num_classes} classes")
    if preprocess not in ("uint8", "float32"):
        raise InputError(f"{path}: preprocess = '{preprocess}': expected uint8 or float32")
    if not temperature > 0 or temperature == float("inf"):
        raise InputError(f"{path}: temperature = {temperature}: a positive number is needed")
    facts = _describe(
        network, sample_size, temperature=temperature, preprocess=preprocess, class_names=class_names, fit=fit
    )
    return _export(network, path, facts | dict(metadata or {}), quick=False)


def export_probe(
    network: nn.Module,
    path: str | Path,
    *,
    sample_size: tuple[int, int],
    preprocess: Literal["uint8", "float32"] = "uint8",
) -> Artifact:
    """Write a file that costs what the deliverable costs, by the fastest exporter; to be timed, not handed over.

    The TorchScript exporter takes 0.2 s where dynamo takes 5 s; ONNX Runtime's optimised graph has the same operators.
    Where torch no longer has it, this is `export_onnx` without names.

    Raises:
        InputError: an unwritable path.
        LimbeckError: the network holds something that cannot be exported.
    """
    facts = _describe(network, sample_size, temperature=1.0, preprocess=preprocess, class_names=(), fit="crop")
    return _export(network, path, facts | {"probe": True}, quick=_has_torchscript_exporter())


def _describe(network: nn.Module, sample_size: tuple[int, int], **facts: Any) -> dict[str, Any]:
    """The metadata that goes into the file."""
    network = getattr(network, "_orig_mod", network)
    class_names = list(facts.pop("class_names"))
    height, width = (int(side) for side in sample_size)
    return {
        "schema": METADATA_SCHEMA,
        "limbeck": limbeck.__version__,
        "class_names": class_names,
        "num_classes": getattr(network, "num_classes", len(class_names) or None),
        "input_size": [height, width],
        "in_channels": int(getattr(network, "in_channels", 3)),
        "network_size": [int(side) for side in getattr(network, "input_size", sample_size)],
        "mean": _floats(getattr(network, "mean", None)),
        "std": _floats(getattr(network, "std", None)),
        "layout": "NHWC" if facts["preprocess"] == "uint8" else "NCHW",
        "precision": "fp32",
        "weights": dict(getattr(network, "origin", None) or {}),
        "architecture": _summarise(network),
        **facts,
    }


def _summarise(network: nn.Module) -> dict[str, Any]:
    """What the network is, in a few numbers and words; the full architecture lies beside the weights."""
    describe: Any = getattr(network, "architecture", None)
    full = describe() if callable(describe) else {}
    words = {key: full[key] for key in ("kind", "name") if isinstance(full.get(key), str)}
    table = full.get("table")
    if isinstance(table, Mapping) and isinstance(table.get("name"), str):
        words["table"] = table["name"]
    return {**words, "params": sum(parameter.numel() for parameter in network.parameters())}


def _floats(values: Any) -> list[float] | None:
    return None if values is None else [round(float(value), 7) for value in torch.as_tensor(values).flatten()]


def _export(network: nn.Module, path: str | Path, facts: dict[str, Any], *, quick: bool) -> Artifact:
    path = Path(path)
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: metadata must be plain JSON values ({error})") from error
    (height, width), channels = facts["input_size"], facts["in_channels"]
    is_bytes = facts["preprocess"] == "uint8"
    shape = (height, width, channels) if is_bytes else (channels, height, width)
    wrapped = Deployed(network, preprocess=facts["preprocess"], temperature=facts["temperature"])
    # batch 2: a batch of 1 would be baked in as a constant by both exporters' shape rules
    example = torch.zeros((2, *shape), dtype=torch.uint8 if is_bytes else torch.float32)
    try:
        with _quiet(), torch.no_grad():
            task, output = _kind(wrapped.network(_blank(shape, is_bytes)))
            model = _trace_quickly(wrapped, example, output) if quick else _trace(wrapped, example, output)
        tidy(model)
        model.producer_name, model.producer_version = "limbeck", limbeck.__version__
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, json.dumps({"task": task, "output": output, **facts})
        onnx.checker.check_model(model)
    except Exception as error:  # exporters raise nearly anything on what they cannot trace
        raise LimbeckError(f"{path.name}: cannot export {_name(network)} to ONNX ({_first_line(error)})") from error
    with atomic_path(path) as temporary:
        onnx.save(model, str(temporary))
    return Artifact(
        path=str(path),
        format="onnx",
        precision="fp32",
        input_shape=shape,
        input_dtype=facts["preprocess"],
        size_bytes=path.stat().st_size,
    )


def _kind(said: Any) -> tuple[str, str]:
    """What a network is for, by what it gives of a picture, and what its file will give."""
    if not isinstance(said, torch.Tensor):
        return "detection", BOXES
    return "segmentation" if said.dim() == 4 else "classification", PROBABILITIES


def _blank(shape: tuple[int, ...], is_bytes: bool) -> torch.Tensor:
    """One black picture as the network itself takes it."""
    return torch.zeros(1, shape[2], *shape[:2]) if is_bytes else torch.zeros(1, *shape)


def _trace(module: nn.Module, example: torch.Tensor, output: str) -> onnx.ModelProto:
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[output],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _trace_quickly(module: nn.Module, example: torch.Tensor, output: str) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "probe.onnx"
        torch.onnx.export(
            module,
            (example,),
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[output],
            dynamic_axes={INPUT: {0: "batch"}, output: {0: "batch"}},
        )
        return onnx.load(str(file))


def _has_torchscript_exporter() -> bool:
    return importlib.util.find_spec("torch.onnx._internal.torchscript_exporter") is not None


def _name(network: nn.Module) -> str:
    source = (getattr(network, "origin", None) or {}).get("source")
    return f"{type(network).__name__}{f' ({source})' if source else ''}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # the dynamo exporter wraps the cause in pages of advice; the cause itself is the innermost exception
    while error.__cause__ is not None:
        error = error.__cause__
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or lines
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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
