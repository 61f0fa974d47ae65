"""What an ONNX file is: found in a folder, opened in ONNX Runtime, described as an `Artifact`.

Not here: predicting with it (`model`), writing it (`export`).
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from limbeck.errors import InputError
from limbeck.types import Artifact

__all__ = [
    "METADATA_KEY",
    "METADATA_SCHEMA",
    "Precision",
    "describe",
    "find_model",
    "one_line",
    "open_runtime",
    "open_session",
    "read_artifact",
    "read_metadata",
]

METADATA_KEY = "limbeck"
METADATA_SCHEMA = 1

Precision = Literal["fp32", "int8"]

_LOCATION = rb"\x0a\x08location\x12"
"""Before the name of a file that holds a tensor's data: the key of an entry of `TensorProto.external_data`, and the tag of
its value.
"""

_REINSTALL = (
    "onnxruntime and onnxruntime-gpu share one folder, so only one may be installed: "
    "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install the one you want"
)


def find_model(path: str | Path, *, precision: Precision = "fp32") -> Path:
    """The ONNX file that a file, export folder or run folder stands for.

    Raises:
        InputError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    folder = path / "export" if (path / "export").is_dir() else path
    # model.onnx is the deliverable of a run; other files are its baselines
    files = sorted(folder.glob("*.onnx"), key=lambda file: (not file.stem.startswith("model"), file.name))
    found = [file for file in files if _precision(file) == precision]
    if not found:
        others = f" (only {', '.join(file.name for file in files)})" if files else "; export a model there first"
        raise InputError(f"{folder}: no {precision} ONNX file in it{others}")
    return found[0]


def read_artifact(path: str | Path, *, input_size: tuple[int, int] | None = None) -> Artifact:
    """Describe any ONNX file by itself.

    Args:
        path: the file.
        input_size: (height, width) for files that leave them open.

    Raises:
        InputError: no such file, not a usable ONNX file, or an input that is neither uint8 nor float32.
    """
    path = Path(path)
    session = open_session(path, optimise=False)
    metadata = read_metadata(session, path)
    return describe(session, path, {**metadata, **({"input_size": input_size} if input_size else {})})


def open_runtime() -> Any:
    """Import onnxruntime.

    Raises:
        InputError: it is not installed, or it is broken; with the remedy.
    """
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise InputError("onnxruntime is not installed: pip install onnxruntime") from error
        raise InputError(f"onnxruntime cannot be imported ({one_line(error)}): {_REINSTALL}") from error
    if not hasattr(runtime, "InferenceSession"):  # what is left in the shared folder when one of two was removed
        raise InputError(f"onnxruntime is damaged: {_REINSTALL}")
    return runtime


def open_session(path: Path, *, threads: int | None = None, optimise: bool = True) -> Any:
    """Open a file in ONNX Runtime on the CPU; `optimise=False` only to look at it.

    Raises:
        InputError: no such file, not a usable ONNX file, or onnxruntime is missing or broken.
    """
    runtime = open_runtime()
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if threads is not None and threads < 1:
        raise InputError(f"threads = {threads}: at least 1 is needed")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong arrives as an exception; the log would be a second telling of it
    options.intra_op_num_threads = threads or 0
    if not optimise:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions share no base class
        raise InputError(f"{path}: not a usable ONNX file ({one_line(error)})") from error
    if not session.get_inputs() or not session.get_outputs():
        raise InputError(f"{path}: not a usable ONNX file (it has no input or no output)")
    return session


def read_metadata(session: Any, path: Path) -> dict[str, Any]:
    """What a file of ours says of itself; empty for others.

    Raises:
        InputError: the metadata is damaged, or newer than this version knows.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        return {}
    try:
        metadata = json.loads(text)
        schema = metadata["schema"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its '{METADATA_KEY}' metadata is damaged; export the model again") from error
    if schema > METADATA_SCHEMA:
        raise InputError(
            f"{path}: made by a newer Limbeck (metadata schema {schema}, not {METADATA_SCHEMA}); upgrade it"
        )
    return metadata


def describe(session: Any, path: Path, metadata: Mapping[str, Any]) -> Artifact:
    """The record of an opened file; `metadata` may hold the `input_size` that the file leaves open.

    Raises:
        InputError: an input that is neither uint8 nor float32, or whose shape stays open.
    """
    entry = session.get_inputs()[0]
    kinds: dict[str, Literal["uint8", "float32"]] = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    if entry.type not in kinds:
        raise InputError(f"{path}: its input '{entry.name}' is {entry.type}; uint8 or float32 is needed")
    shape = list(entry.shape[1:])
    if len(shape) == 3 and metadata.get("input_size"):
        rows = 0 if kinds[entry.type] == "uint8" else 1
        given = [int(side) for side in metadata["input_size"]]
        for axis, side in zip((rows, rows + 1), given, strict=True):
            shape[axis] = shape[axis] if isinstance(shape[axis], int) else side
    if not shape or not all(isinstance(side, int) and side > 0 for side in shape):
        raise InputError(f"{path}: its input '{entry.name}' has the open shape {entry.shape}; say its input_size")
    return Artifact(
        path=str(path),
        format="onnx",
        precision=metadata.get("precision") or _precision(path),
        input_shape=tuple(shape),
        input_dtype=kinds[entry.type],
        size_bytes=_size(path),
    )


def _precision(path: Path) -> Precision:
    """int8 where the file has quantised nodes: their operator names stand in it as plain text."""
    if path.stat().st_size == 0:
        return "fp32"
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return "int8" if content.find(b"QuantizeLinear") >= 0 or content.find(b"QLinear") >= 0 else "fp32"


def _size(path: Path) -> int:
    """Bytes of the file and of weights that it keeps in files beside it."""
    with open(path, "rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        starts = [found.end() for found in re.finditer(_LOCATION, content)]
        others = {os.path.join(path.parent, _text_at(content, start)) for start in starts}
    # isfile: what merely looks like a name may be one that no file can have
    return path.stat().st_size + sum(os.path.getsize(other) for other in others if os.path.isfile(other))


def _text_at(content: mmap.mmap, start: int) -> str:
    """Text of a protobuf message, from its length on: a number of seven bits a byte, the lowest first."""
    length, shift = 0, 0
    while content[start] >= 0x80:
        length |= (content[start] & 0x7F) << shift
        start, shift = start + 1, shift + 7
    length |= content[start] << shift
    return content[start + 1 : start + 1 + length].decode(errors="replace")


def one_line(error: BaseException) -> str:
    """What a foreign exception says, on one line of at most 300 characters, without the runtime's own preamble."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed: ?)?", "", text)
    return text[:300] or type(error).__name__
