"""A file of class probabilities made into one of classes. Not here: proof that both say the same (`parity`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from limbeck.errors import InputError
from limbeck.export.graph import set_facts
from limbeck.files import atomic_path
from limbeck.types import Artifact

__all__ = ["append_argmax"]

MOST_CLASSES = 255  # 255 itself means void wherever class maps are kept as bytes


def append_argmax(artifact: Artifact, path: str | Path) -> Artifact:
    """Write a file that gives the most probable class along axis 1, uint8: of maps [N, K, H, W] it is [N, H, W].

    A softmax at the end goes, since it changes no order and takes long over a map; everything before stays as it is.

    Args:
        artifact: the fp32 or int8 file that gives the probabilities.
        path: file to write, whole or not at all.

    Raises:
        InputError: more classes than bytes tell apart.
    """
    path = Path(path)
    model = onnx.load(artifact.path)
    graph = model.graph
    (given,) = graph.output
    shape = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    if isinstance(shape[1], int) and shape[1] > MOST_CLASSES:
        raise InputError(f'export.output = "classes": {shape[1]} classes do not fit bytes; use "probabilities"')
    scores = given.name
    last = next(node for node in graph.node if scores in node.output)
    if last.op_type == "Softmax":
        scores = last.input[0]
        graph.node.remove(last)
    graph.node.append(helper.make_node("ArgMax", [scores], ["class_index"], name="argmax", axis=1, keepdims=0))
    graph.node.append(helper.make_node("Cast", ["class_index"], ["classes"], name="as_bytes", to=TensorProto.UINT8))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("classes", TensorProto.UINT8, [shape[0], *shape[2:]]))
    set_facts(model, output="classes")
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        onnx.save(model, str(temporary))
    return replace(artifact, path=str(path), size_bytes=path.stat().st_size)
