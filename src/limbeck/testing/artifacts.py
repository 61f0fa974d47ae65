"""Small ONNX files for tests, and how much arithmetic an ONNX file holds. The real exporters are `limbeck.export`'s."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from limbeck.files import atomic_path
from limbeck.types import Artifact

__all__ = ["count_onnx_macs", "make_artifact"]


def make_artifact(
    path: str | Path,
    *,
    channels: int = 8,
    layers: int = 2,
    image_size: int = 16,
    num_classes: int = 4,
    input_dtype: Literal["uint8", "float32"] = "float32",
    seed: int = 0,
) -> Artifact:
    """Write a small classifier (convolutions, mean, linear, softmax) with random weights, as an exporter would.

    Its input `pictures` is [N, 3, H, W] float32 in [0, 1], or [N, H, W, 3] uint8; its output `probabilities` [N, K].
    """
    path, generator = Path(path), np.random.default_rng(seed)
    nodes, weights, last = [], [], "pictures"

    def weight(name: str, *shape: int) -> str:
        fan_in = math.prod(shape[1:])
        values: np.ndarray = generator.standard_normal(shape) / math.sqrt(fan_in)
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    if input_dtype == "uint8":
        weights.append(numpy_helper.from_array(np.array(255, np.float32), "white"))
        nodes += [
            helper.make_node("Cast", [last], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["pixels", "white"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        ]
        last = "planes"
    for layer in range(layers):
        kernel = weight(f"kernel{layer}", channels, channels if layer else 3, 3, 3)
        nodes.append(helper.make_node("Conv", [last, kernel], [f"conv{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"conv{layer}"], [f"relu{layer}"]))
        last = f"relu{layer}"
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
        helper.make_node("Gemm", ["features", weight("linear", num_classes, channels)], ["logits"], transB=1),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    side = [image_size, image_size]
    shape = [*side, 3] if input_dtype == "uint8" else [3, *side]
    element = TensorProto.UINT8 if input_dtype == "uint8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pictures", element, ["N", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", num_classes])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return Artifact(str(path), "onnx", "fp32", tuple(shape), input_dtype, path.stat().st_size)


def count_onnx_macs(path: str | Path) -> int:
    """Multiply-accumulates of one sample: of convolutions, Gemm and MatMul with constant weights, also in int8."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)  # through a resize too
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        # the batch axis is symbolic (0 here): counted as one sample
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    total = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul"):
            continue
        weight = shapes.get(node.input[3 if node.op_type.startswith("QLinear") else 1], ())
        output = shapes.get(node.output[0], ())
        if len(weight) < 2 or len(output) < 2:
            continue
        if node.op_type.endswith("Conv"):  # each output element is one dot product of C/groups x kernel
            total += math.prod(output[1:]) * math.prod(weight[1:])
        else:
            total += math.prod(max(size, 1) for size in output[1:-1]) * math.prod(weight)
    return total
