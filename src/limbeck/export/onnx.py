"""A network to an ONNX file: the deliverable, and the quick probe whose only purpose is to be timed.

Not here: int8 (`quantize`), proof that the file says what the network says (`parity`), timing (`measure`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from torch import nn

import limbeck
from limbeck.deployed import METADATA_KEY, METADATA_SCHEMA
from limbeck.errors import InputError, LimbeckError
from limbeck.export.graph import Deployed
from limbeck.export.trace import has_quick_exporter, quiet, trace
from limbeck.files import atomic_path
from limbeck.types import Artifact

__all__ = ["export_onnx", "export_part", "export_probe"]

PROBABILITIES, BOXES, POINTS = "probabilities", "boxes", "points"
PICTURES, FRAMES = "pictures", "frames"


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
    gives: Literal["classes", "points"] = "classes",
) -> Artifact:
    """Write the deliverable: one ONNX file with weights and metadata inside, dynamic batch, probabilities out.

    Args:
        network: pictures in [0, 1] or signals to logits, or pictures to a detector's outputs, which become boxes and scores; resize and
            normalisation are its own. Left as it is.
        path: file to write, whole or not at all.
        sample_size: (height, width) of the pictures that will be given; of signals (1, samples of a frame).
        temperature: divides the logits of other networks than detectors, in the graph.
        preprocess: `uint8` takes [N, H, W, C] bytes; `float32` takes [N, C, H, W] in [0, 1]. Signals are [N, 2, T]
            float32 of any power either way.
        class_names: what the outputs mean; empty = their numbers.
        fit: how pictures of other sizes are brought to `sample_size` (`limbeck.pictures.fit_picture`).
        metadata: further JSON-like facts for the file (task, data set, run).
        gives: what [N, K] outputs are: classes, which become probabilities, or x and y in turn of K / 2 named points, as
            shares of the picture, which the file gives as [N, K / 2, 2].

    Raises:
        InputError: class names that do not fit the network, a temperature that is not positive, or an unwritable path.
        LimbeckError: the network holds something that cannot be exported.
    """
    each = 2 if gives == "points" else 1
    if class_names and each * len(class_names) != getattr(network, "num_classes", each * len(class_names)):
        what = "classes" if each == 1 else "outputs, two for each point"
        raise InputError(f"{path}: {len(class_names)} class names for a network of {network.num_classes} {what}")
    if preprocess not in ("uint8", "float32"):
        raise InputError(f"{path}: preprocess = '{preprocess}': expected uint8 or float32")
    if not temperature > 0 or temperature == float("inf"):
        raise InputError(f"{path}: temperature = {temperature}: a positive number is needed")
    facts = _describe(
        network, sample_size, temperature=temperature, preprocess=preprocess, class_names=class_names, fit=fit
    )
    facts |= {"num_classes": facts["num_classes"] // 2} if gives == "points" else {}
    return _export(network, path, facts | dict(metadata or {}), quick=False, gives=gives)


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
    return _export(network, path, facts | {"probe": True}, quick=has_quick_exporter())


def export_part(module: nn.Module, path: str | Path, *, shape: tuple[int, ...]) -> Artifact:
    """Write a piece of a network, a map in and a map out, by the fastest exporter; to be timed on its own.

    Args:
        module: [N, *shape] float32 in, one tensor out.
        path: file to write, whole or not at all.
        shape: of one sample.

    Raises:
        InputError: an unwritable path.
        LimbeckError: the module holds something that cannot be exported.
    """
    path = Path(path)
    was_training = module.training
    try:
        model = trace(module.eval(), torch.zeros(2, *shape), "map", quick=has_quick_exporter())
    except Exception as error:  # as above
        raise LimbeckError(f"{path.name}: cannot export {_name(module)} to ONNX ({_first_line(error)})") from error
    finally:
        module.train(was_training)
    with atomic_path(path) as temporary:
        onnx.save(model, str(temporary))
    return Artifact(str(path), "onnx", "fp32", shape, "float32", path.stat().st_size)


def _describe(network: nn.Module, sample_size: tuple[int, int], **facts: Any) -> dict[str, Any]:
    """The metadata that goes into the file."""
    network = getattr(network, "_orig_mod", network)
    class_names = list(facts.pop("class_names"))
    takes_signals = _takes_signals(network)
    if takes_signals:
        facts["preprocess"] = "float32"
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
        "layout": "NCT" if takes_signals else "NHWC" if facts["preprocess"] == "uint8" else "NCHW",
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


def _export(
    network: nn.Module,
    path: str | Path,
    facts: dict[str, Any],
    *,
    quick: bool,
    gives: Literal["classes", "points"] = "classes",
) -> Artifact:
    path = Path(path)
    try:
        json.dumps(facts, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: metadata must be plain JSON values ({error})") from error
    (height, width), channels = facts["input_size"], facts["in_channels"]
    is_bytes = facts["preprocess"] == "uint8"
    shape: tuple[int, ...] = (height, width, channels) if is_bytes else (channels, height, width)
    if takes_signals := _takes_signals(network):
        shape = (channels, width)
    wrapped = Deployed(network, preprocess=facts["preprocess"], temperature=facts["temperature"], gives=gives)
    # batch 2: a batch of 1 would be baked in as a constant by both exporters' shape rules
    example = torch.zeros((2, *shape), dtype=torch.uint8 if is_bytes else torch.float32)
    try:
        with quiet(), torch.no_grad():
            task, output = (
                ("landmarks", POINTS) if gives == "points" else _kind(wrapped.network(_blank(shape, is_bytes)))
            )
        model = trace(wrapped, example, output, quick=quick, given=FRAMES if takes_signals else PICTURES)
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


def _takes_signals(network: nn.Module) -> bool:
    return len(getattr(getattr(network, "_orig_mod", network), "sample_shape", (3, 1, 1))) == 2


def _kind(said: Any) -> tuple[str, str]:
    """What a network is for, by what it gives of a picture, and what its file will give."""
    if not isinstance(said, torch.Tensor):
        return "detection", BOXES
    return "segmentation" if said.dim() == 4 else "classification", PROBABILITIES


def _blank(shape: tuple[int, ...], is_bytes: bool) -> torch.Tensor:
    """One black picture, or silence, as the network itself takes it."""
    return torch.zeros(1, shape[2], *shape[:2]) if is_bytes else torch.zeros(1, *shape)


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
