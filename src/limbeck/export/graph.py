"""What is exported around a network, and the small clean-up of the ONNX graph that both exporters' output goes through.

Not here: calling an exporter (`onnx`), int8 (`quantize`).
"""

from __future__ import annotations

import copy
import json
from typing import Any, Literal

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from limbeck.deployed import METADATA_KEY
from limbeck.models.heads import AnchorOutputs

__all__ = ["Deployed", "set_facts", "tidy"]


class Deployed(nn.Module):
    """A network as it is deployed: picture in, probabilities, boxes or points out, nothing left that only training needs.

    With `uint8` the input is [N, H, W, C] bytes, what cameras and decoders give; with `float32` it is [N, C, H, W] in
    [0, 1]. The network's own resize and normalisation are part of the graph either way. The network is copied, so that
    its mode, device and memory format stay as they were.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        preprocess: Literal["uint8", "float32"],
        temperature: float,
        gives: Literal["classes", "points"] = "classes",
    ) -> None:
        super().__init__()
        network = getattr(network, "_orig_mod", network)  # torch.compile wraps; exporters want what is inside
        # channels-last weights would be traced into gathers and transposes that no runtime removes
        self.network = copy.deepcopy(network).to("cpu", torch.float32).to(memory_format=torch.contiguous_format)
        self.preprocess = preprocess
        self.temperature = temperature
        self.gives = gives
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        """Probabilities [N, K] or [N, K, H, W]; of a detector x1, y1, x2, y2 and K scores per anchor, [N, A, 4 + K]; points
        [N, L, 2] as shares of the picture.
        """
        if self.preprocess == "uint8":
            # contiguous (no operator in the file): else the trace carries channels-last strides and pools by gathers
            pictures = pictures.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255
        logits = self.network(pictures)
        if isinstance(logits, AnchorOutputs):
            return torch.cat([logits.boxes(), logits.class_scores()], 2)
        if self.gives == "points":
            return logits.reshape(-1, logits.shape[1] // 2, 2)
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return torch.softmax(logits, dim=1) if logits.dim() == 2 else _softmax_of_maps(logits)


def _softmax_of_maps(logits: Tensor) -> Tensor:
    """Softmax over the classes of [N, K, H, W], step by step: ONNX Runtime's own operator takes several times as long over an
    axis that is not the last, most of what a small segmenter takes in all.
    """
    powers = (logits - logits.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


def set_facts(model: onnx.ModelProto, **facts: Any) -> None:
    """Change what a file of ours says of itself, in place."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = json.dumps({**json.loads(entry.value), **facts}, allow_nan=False)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring what either exporter wrote to one form, in place.

    Means over height and width become `GlobalAveragePool` (runtimes run it in their blocked layout and in int8, a
    `ReduceMean` in neither); zeros put around a map before a convolution become its padding, for the same reason;
    traces of the exporting machine (source paths, stack traces) and unused constants go.
    """
    nodes = []
    for node in model.graph.node:
        nodes.extend(_as_pool(node, model.graph))
    _replace(model.graph.node, nodes)
    _fold_pads(model.graph)
    _drop_unused(model.graph)
    for item in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.initializer,
        *model.graph.input,
        *model.graph.output,
    ):
        item.doc_string = ""
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]
    del model.graph.value_info[:]  # stale after the rewrites; runtimes infer shapes themselves
    return model


def _as_pool(node: onnx.NodeProto, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    if node.op_type != "ReduceMean":
        return [node]
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    axes = given.get("axes") or (_constant(graph, node.input[1]) if len(node.input) > 1 else None)
    # [N, C, H, W] only: negative axes -2, -1 cannot be told from a token mean of another rank without shapes
    if axes is None or sorted(axes) not in ([2, 3], [-2, -1]) or _rank_is_not_four(graph, node.input[0]):
        return [node]
    if given.get("keepdims", 1):
        return [helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name=node.name)]
    pooled = f"{node.output[0]}_pooled"
    return [
        helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name=node.name),
        helper.make_node("Flatten", [pooled], list(node.output), name=f"{node.name}_flatten", axis=1),
    ]


def _fold_pads(graph: onnx.GraphProto) -> None:
    """Give zeros around height and width to the convolution that reads them; the `Pad` then has no reader left."""
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    for node in graph.node:
        pad = pads.get(node.input[0]) if node.op_type == "Conv" else None
        around = _zeros_around(pad, graph) if pad is not None else None
        if pad is None or around is None:
            continue
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if given.get("auto_pad", b"NOTSET") != b"NOTSET" or len(given.get("kernel_shape", ())) != 2:
            continue
        own = given.get("pads") or [0, 0, 0, 0]
        kept = [attribute for attribute in node.attribute if attribute.name != "pads"]
        padded = helper.make_attribute("pads", [a + b for a, b in zip(own, around, strict=True)])
        _replace(node.attribute, [*kept, padded])
        node.input[0] = pad.input[0]


def _zeros_around(pad: onnx.NodeProto, graph: onnx.GraphProto) -> list[int] | None:
    """[top, left, bottom, right] of a `Pad` that puts zeros around the last two of four axes; None = another one."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in pad.attribute}
    names = [*pad.input[1:], "", "", ""]
    counts, value, axes = (_constant(graph, name) if name else [] for name in names[:3])
    if given.get("mode", b"constant") != b"constant" or counts is None or value is None or axes is None or any(value):
        return None
    places = [axis % 4 for axis in axes] if axes else list(range(len(counts) // 2))
    if len(places) * 2 != len(counts) or (not axes and len(places) != 4):
        return None
    begin, end = dict(zip(places, counts, strict=False)), dict(zip(places, counts[len(places) :], strict=True))
    if any(begin.get(axis, 0) or end.get(axis, 0) for axis in (0, 1)) or min(counts) < 0:
        return None
    return [begin.get(2, 0), begin.get(3, 0), end.get(2, 0), end.get(3, 0)]


def _rank_is_not_four(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a tensor is known to have another rank, or its rank cannot be told."""
    for value in graph.value_info:
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim) != 4
    makers = {node.output[0]: node for node in graph.node}
    keep_rank = {"Relu", "Clip", "HardSwish", "HardSigmoid", "Sigmoid", "Mul", "Add", "BatchNormalization"}
    while name in makers and makers[name].op_type in keep_rank:
        name = makers[name].input[0]
    # a convolution of a picture network has four axes
    return not (name in makers and makers[name].op_type in ("Conv", "MaxPool", "AveragePool"))


def _constant(graph: onnx.GraphProto, name: str) -> list[Any] | None:
    """The numbers of a constant, flat; None where they depend on the graph's inputs."""
    makers = {output: node for node in graph.node for output in node.output}
    kept = {tensor.name: tensor for tensor in graph.initializer}

    def value(name: str) -> np.ndarray | None:
        if name in kept:
            return numpy_helper.to_array(kept[name])
        node = makers.get(name)
        if node is None or (not node.input and node.op_type != "Constant"):
            return None
        given = {}
        for place in filter(None, node.input):
            if (found := value(place)) is None:
                return None
            given[place] = found
        # the TorchScript exporter writes how numbers are worked out of constants, and not the numbers
        return np.asarray(ReferenceEvaluator(node).run(None, given)[0])

    found = value(name)
    return None if found is None else found.ravel().tolist()


def _drop_unused(graph: onnx.GraphProto) -> None:
    while True:
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        nodes = [node for node in graph.node if any(name in used for name in node.output)]
        if len(nodes) == len(graph.node):
            break
        _replace(graph.node, nodes)
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])


def _replace(field: object, items: list) -> None:
    if len(field) != len(items) or any(a is not b for a, b in zip(field, items, strict=True)):  # type: ignore[arg-type, call-overload]
        kept = [copy.deepcopy(item) for item in items]
        del field[:]  # type: ignore[attr-defined]
        field.extend(kept)  # type: ignore[attr-defined]
