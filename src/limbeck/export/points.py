"""A file of points as shares of a crop made into one that gives them in the picture that the crop was cut from. Not here:
the same outside a graph (`deployed`), proof that a file is right (`parity`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from limbeck.errors import InputError
from limbeck.files import atomic_path
from limbeck.types import Artifact

__all__ = ["append_window"]

WINDOW = "window"
SHARES = "shares"


def append_window(artifact: Artifact, path: str | Path) -> Artifact:
    """Write a file that also takes the window of the picture that each crop shows, and gives points in that picture.

    The input `window` is [N, 4] float32, or [1, 4] for all: left, top, right, bottom in pixels of the picture, or in whatever
    unit the points are wanted. It may be left out: its default, 0, 0, 1, 1, gives shares of the crop, as before.

    Args:
        artifact: the fp32 or int8 file that gives points, [N, L, 2].
        path: file to write, whole or not at all.

    Raises:
        InputError: the file gives something else, or takes a window already.
    """
    path = Path(path)
    model = onnx.load(artifact.path)
    graph = model.graph
    (given,) = graph.output
    shape = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    if len(shape) != 3 or (isinstance(shape[2], int) and shape[2] != 2):  # the quick exporter leaves it open
        raise InputError(f"{artifact.path}: gives {shape}; expected points, [N, L, 2]")
    if any(value.name == WINDOW for value in graph.input):
        raise InputError(f"{artifact.path}: takes a window already")
    for node in graph.node:
        node.output[:] = [SHARES if name == given.name else name for name in node.output]
        node.input[:] = [SHARES if name == given.name else name for name in node.input]
    # a default makes an input one that may be left out: what runs files of one input goes on to do so
    graph.input.append(helper.make_tensor_value_info(WINDOW, TensorProto.FLOAT, ["windows", 4]))
    graph.initializer.append(numpy_helper.from_array(np.array([[0, 0, 1, 1]], np.float32), WINDOW))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "window_axis"))
    graph.node.extend(
        [
            helper.make_node("Unsqueeze", [WINDOW, "window_axis"], ["window_rows"], name="window_unsqueeze"),
            helper.make_node(
                "Split", ["window_rows"], ["window_near", "window_far"], name="window_split", axis=2, num_outputs=2
            ),
            helper.make_node("Sub", ["window_far", "window_near"], ["window_size"], name="window_sub"),
            helper.make_node("Mul", [SHARES, "window_size"], ["in_window"], name="window_mul"),
            helper.make_node("Add", ["in_window", "window_near"], [given.name], name="window_add"),
        ]
    )
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        onnx.save(model, str(temporary))
    return replace(artifact, path=str(path), size_bytes=path.stat().st_size)
