"""A detector's file of every anchor's boxes and scores made into one of chosen boxes. Not here: proof that both say the
same (`parity`), the same choice outside a graph (`models.heads`, `deployed`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from limbeck.errors import InputError
from limbeck.export.graph import set_facts
from limbeck.files import atomic_path
from limbeck.types import Artifact

__all__ = ["append_nms"]

CHOSEN = "chosen_boxes"


def append_nms(
    artifact: Artifact,
    path: str | Path,
    *,
    score_threshold: float = 0.001,
    iou_threshold: float = 0.6,
    candidates: int = 300,
    limit: int = 100,
) -> Artifact:
    """Write a file that gives [N, L, 6] float32 rows of x1, y1, x2, y2 (shares of the picture), score and label: what
    `limbeck.models.choose_boxes` keeps, the surest first, filled up with zeros. For any batch.

    Where scores tie at the last of the candidates, all that tie are candidates.

    Args:
        artifact: the fp32 or int8 file that gives boxes and scores, [N, A, 4 + K].
        path: file to write, whole or not at all.
        score_threshold: as of `choose_boxes`, like the three that follow.
        iou_threshold: as above.
        candidates: as above.
        limit: L.

    Raises:
        InputError: the file gives something else.
    """
    path = Path(path)
    model = onnx.load(artifact.path)
    (given,) = model.graph.output
    shape = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    if (
        len(shape) != 3
        or not isinstance(shape[1], int)
        or not isinstance(shape[2], int)
        or shape[1] < 1
        or shape[2] < 5
    ):
        raise InputError(f"{artifact.path}: gives {shape}; expected boxes and scores of every anchor, [N, A, 4 + K]")
    anchors, classes = shape[1], shape[2] - 4
    graph = _Graph(model.graph)

    boxes = graph.add("Slice", given.name, graph.ints(0), graph.ints(4), graph.ints(2))
    by_anchor = graph.add("Slice", given.name, graph.ints(4), graph.ints(4 + classes), graph.ints(2))
    scores = graph.add("Transpose", by_anchor, perm=[0, 2, 1])  # [N, K, A]
    nothing = graph.constant(np.float32(0))
    if candidates < anchors:
        best, _ = graph.add_two("TopK", scores, graph.ints(candidates), axis=2)
        last = graph.add("Slice", best, graph.ints(candidates - 1), graph.ints(candidates), graph.ints(2))
        scores = graph.add("Where", graph.add("GreaterOrEqual", scores, last), scores, nothing)
    places = graph.add(
        "NonMaxSuppression", boxes, scores, graph.ints(limit),
        graph.constant(np.array([iou_threshold], np.float32)), graph.constant(np.array([score_threshold], np.float32)),
    )  # fmt: skip
    # those that stay, back in their places: one TopK then cuts each picture's, of all classes, to the limit
    kept = graph.add("ScatterND", graph.add("Mul", scores, nothing), places, graph.add("GatherND", scores, places))
    flat = graph.add("Reshape", kept, graph.ints(0, -1))
    count = min(limit, anchors * classes)
    sure, found = graph.add_two("TopK", flat, graph.ints(count), axis=1)
    anchor = graph.add("Unsqueeze", graph.add("Mod", found, graph.ints(anchors)), graph.ints(2))
    label = graph.add("Cast", graph.add("Div", found, graph.ints(anchors)), to=TensorProto.FLOAT)
    corners = graph.add("GatherND", boxes, anchor, batch_dims=1)
    columns = [graph.add("Unsqueeze", column, graph.ints(2)) for column in (sure, label)]
    rows = graph.add("Concat", corners, *columns, axis=2)
    rows = graph.add("Where", graph.add("Greater", columns[0], nothing), rows, nothing)
    if count < limit:
        rows = graph.add("Pad", rows, graph.ints(0, 0, 0, 0, limit - count, 0))
    model.graph.node[-1].output[0] = CHOSEN

    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(CHOSEN, TensorProto.FLOAT, [shape[0], limit, 6]))
    set_facts(model, output=CHOSEN)
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        onnx.save(model, str(temporary))
    return replace(artifact, path=str(path), size_bytes=path.stat().st_size)


class _Graph:
    """Appends operators whose outputs have names of their own."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._count = 0

    def add(self, operator: str, *inputs: str, **attributes: int | list[int]) -> str:
        return self._append(operator, inputs, 1, attributes)[0]

    def add_two(self, operator: str, *inputs: str, **attributes: int | list[int]) -> tuple[str, str]:
        first, second = self._append(operator, inputs, 2, attributes)
        return first, second

    def constant(self, value: np.ndarray | np.generic) -> str:
        name = self._name("constant")
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def _append(self, operator: str, inputs: tuple[str, ...], outputs: int, attributes: dict) -> list[str]:
        name = self._name(operator.lower())
        names = [f"{name}_{i}" for i in range(outputs)]
        self._graph.node.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names

    def _name(self, what: str) -> str:
        self._count += 1
        return f"nms_{what}_{self._count}"
