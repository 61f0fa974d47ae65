"""An exporter of your own: ONNX, optimised ahead of time. Called as `export_optimised(network, path, sample_size=(h, w))`.

An exporter writes one file that a runtime takes and describes it. Built on Limbeck's own, it keeps the metadata (labels,
sizes, licence) inside the file, so that `limbeck.load` and `limbeck measure` take it like any other.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from torch import nn

from limbeck.export import export_onnx
from limbeck.files import atomic_path
from limbeck.types import Artifact


def export_optimised(network: nn.Module, path: str | Path, **options: Any) -> Artifact:
    """Export as `limbeck.export.export_onnx` and let ONNX Runtime fold and fuse the graph now: the file opens faster.

    Only the runtime's basic optimisations are kept, which are valid on every machine.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory() as scratch:
        plain = export_onnx(network, Path(scratch) / "plain.onnx", **options)
        session = onnxruntime.SessionOptions()
        session.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session.optimized_model_filepath = str(Path(scratch) / "optimised.onnx")
        onnxruntime.InferenceSession(plain.path, session, providers=["CPUExecutionProvider"])
        model = onnx.load(session.optimized_model_filepath)
        if not model.metadata_props:
            model.metadata_props.extend(onnx.load(plain.path).metadata_props)
        with atomic_path(path) as temporary:
            onnx.save(model, str(temporary))
    return replace(plain, path=str(path), size_bytes=path.stat().st_size)
