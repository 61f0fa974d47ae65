"""Boxes chosen inside the graph against `choose_boxes`, batch by batch, on ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from limbeck.errors import InputError
from limbeck.export.detections import append_nms
from limbeck.export.onnx import export_onnx
from limbeck.models import choose_boxes, create_model
from limbeck.models.heads import AnchorOutputs, encode_boxes, make_anchors
from limbeck.tasks.detection import Detection
from limbeck.types import Artifact

torch.set_num_threads(1)
MAPS = [(6, 6), (3, 3), (1, 1)]


def artifact_of(path, shape):
    return Artifact(str(path), "onnx", "fp32", shape, "float32", path.stat().st_size)


def plain_file(path, anchors, classes, batch="batch"):
    """A graph that gives what it is given: the choice alone is then under test."""
    shape = [batch, anchors, 4 + classes]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("given", "boxes")]
    graph = helper.make_graph([helper.make_node("Identity", ["given"], ["boxes"])], "plain", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(path))
    return artifact_of(path, (anchors, 4 + classes))


def run(artifact, inputs):
    session = onnxruntime.InferenceSession(artifact.path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


def drawn(seed, pictures, classes, spread=0.05):
    """Outputs whose boxes crowd around a few places, so that there is much to drop."""
    anchors = make_anchors(MAPS)
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(pictures, 5, 2, generator=generator) * 0.6
    places = torch.cat([corner, corner + 0.1 + torch.rand(pictures, 5, 2, generator=generator) * 0.3], 2)
    boxes = (
        places[:, torch.arange(len(anchors)) % 5] + torch.randn(pictures, len(anchors), 4, generator=generator) * spread
    )
    boxes = torch.cat([boxes[..., :2], torch.maximum(boxes[..., 2:], boxes[..., :2] + 0.02)], 2)
    logits = torch.randn(pictures, len(anchors), classes + 1, generator=generator) * 2
    return AnchorOutputs(logits, encode_boxes(boxes, anchors), anchors)


@pytest.mark.parametrize(
    ("pictures", "classes", "choice"),
    [
        (1, 1, {}),
        (3, 4, {}),
        (3, 4, {"candidates": 17, "limit": 9, "score_threshold": 0.3}),
        (2, 3, {"iou_threshold": 0.3, "limit": 1000}),
        (4, 2, {"score_threshold": 0.9, "iou_threshold": 0.45}),
    ],
)
def test_the_graph_keeps_what_choose_boxes_keeps(tmp_path, pictures, classes, choice):
    for seed in range(3):
        out = drawn(seed, pictures, classes)
        decoded = torch.cat([out.boxes(), out.class_scores()], 2).numpy()
        plain = plain_file(tmp_path / "plain.onnx", decoded.shape[1], classes)
        found = run(append_nms(plain, tmp_path / "chosen.onnx", **choice), decoded)
        expected = Detection(classes, **choice).keep(out)
        assert found.dtype == np.float32
        assert found.shape == expected.shape
        assert (expected[:, :, 4] > 0).any(1).all()
        assert np.array_equal(found, expected)
        dropped = sum(len(one.labels) for one in choose_boxes(out, **{**choice, "iou_threshold": 1.0, "limit": 10**6}))
        assert dropped > (expected[:, :, 4] > 0).sum()


def test_nothing_found_is_rows_of_zeros(tmp_path):
    decoded = np.zeros((2, 5, 6), np.float32)
    decoded[..., 2:4] = 1
    chosen = append_nms(plain_file(tmp_path / "plain.onnx", 5, 2), tmp_path / "chosen.onnx", limit=4)
    assert not run(chosen, decoded).any()
    decoded[1, 3, 5] = 0.7  # one picture of two has an object
    found = run(chosen, decoded)
    assert not found[0].any()
    assert found[1, 0].tolist() == [0, 0, 1, 1, np.float32(0.7), 1]
    assert not found[1, 1:].any()


def test_a_detectors_file_chooses_as_the_network_does(tmp_path):
    torch.manual_seed(0)
    network = create_model("ssdlite_mobilenet_v3_small", num_classes=3, width_multiplier=0.35, input_size=96).eval()
    for part in [
        *network.classes,
        *network.boxes,
    ]:  # sure of something, and of each place otherwise
        torch.nn.init.normal_(part[1].bias, std=2.0)
        torch.nn.init.normal_(part[1].weight, std=1.0)
    plain = export_onnx(network, tmp_path / "plain.onnx", sample_size=(80, 120), class_names=["a", "b", "c"])
    task = Detection(3)
    chosen = append_nms(plain, tmp_path / "chosen.onnx", **task.choice)
    assert chosen.input_dtype == "uint8"
    assert chosen.size_bytes > plain.size_bytes
    both = onnx.load(chosen.path)
    both.graph.output.append(onnx.load(plain.path).graph.output[0])
    session = onnxruntime.InferenceSession(both.SerializeToString(), providers=["CPUExecutionProvider"])
    for pictures in (1, 3):
        pixels = np.random.default_rng(pictures).integers(0, 256, (pictures, 80, 120, 3)).astype(np.uint8)
        with torch.no_grad():
            out = network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        inside, outside = session.run(None, {"pictures": pixels})
        expected = torch.cat([out.boxes(), out.class_scores()], 2).numpy()
        assert outside.shape == expected.shape
        assert np.abs(outside - expected).max() < 1e-4
        # what the graph chooses is chosen from what it says, whose last digits are its own
        kept = task.keep(Decoded(torch.from_numpy(outside)))
        assert (kept[:, :, 4] > 0).sum() > 20 * pictures
        assert np.array_equal(in_order(inside), in_order(kept))


def in_order(rows):
    """Rows of equal scores, which no rule orders, by their other columns."""
    return np.stack([one[np.lexsort((*one.T[[0, 1, 2, 3, 5]], -one[:, 4]))] for one in rows])


class Decoded(AnchorOutputs):
    """Boxes and scores that are decoded already, in the form of a detector's outputs."""

    __slots__ = ()

    def __new__(cls, decoded):
        return super().__new__(cls, decoded[..., 4:], decoded[..., :4], decoded[0, :, :4])

    def class_scores(self):
        return self.class_logits

    def boxes(self):
        return self.box_deltas


def test_another_file_is_refused(tmp_path):
    file = plain_file(tmp_path / "plain.onnx", 5, 0)
    with pytest.raises(InputError, match=r"gives \['batch', 5, 4\]; expected boxes and scores") as caught:
        append_nms(file, tmp_path / "chosen.onnx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "chosen.onnx").exists()
