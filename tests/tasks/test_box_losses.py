"""Losses of detectors against torchvision's own SSD, its focal loss, and slow NumPy references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection import _utils as theirs
from torchvision.models.detection.ssd import SSD
from torchvision.ops import sigmoid_focal_loss

from limbeck.errors import InputError
from limbeck.models.heads import AnchorOutputs, Boxes, make_anchors
from limbeck.tasks.box_losses import assign_anchors, focal_loss, match_anchors, ssd_loss

torch.set_num_threads(1)
ANCHORS = make_anchors([(5, 4), (3, 2), (1, 1)])
K = 3


def drawn(seed=0, counts=(2, 0, 3)):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    truth = []
    for count in counts:
        corner = random(count, 2) * 0.6
        boxes = torch.cat([corner, corner + 0.1 + 0.3 * random(count, 2)], 1)
        truth.append(Boxes(boxes, torch.randint(0, K, (count,), generator=generator)))
    logits, deltas = random(len(counts), len(ANCHORS), K + 1) * 6 - 3, random(len(counts), len(ANCHORS), 4) * 6 - 3
    return AnchorOutputs(logits.requires_grad_(), deltas.requires_grad_(), ANCHORS.double()), truth


def slow_iou(a, b):
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    inside = sides[0] * sides[1]
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def slow_matches(boxes, anchors, threshold=0.5):
    found = []
    for anchor in anchors:
        overlaps = [slow_iou(box, anchor) for box in boxes]
        best = int(np.argmax(overlaps)) if overlaps else -1
        found.append(best if overlaps and overlaps[best] >= threshold else -1)
    for number, box in enumerate(boxes):
        found[int(np.argmax([slow_iou(box, anchor) for anchor in anchors]))] = number
    return found


def slow_parts(out, truth):
    """Classes, the sum of the boxes' losses, the number of anchors that stand for a box."""
    anchors, deltas = out.anchors.numpy(), out.box_deltas.detach().numpy()
    classes, total, count = np.zeros(deltas.shape[:2], int), 0.0, 0
    for n, (boxes, labels, _) in enumerate(truth):
        for a, match in enumerate(slow_matches(boxes.numpy(), anchors)):
            if match < 0:
                continue
            classes[n, a], count = int(labels[match]) + 1, count + 1
            (x1, y1, x2, y2), (u1, v1, u2, v2) = boxes[match].numpy(), anchors[a]
            width, height = u2 - u1, v2 - v1
            wanted = [
                10 * ((x1 + x2) - (u1 + u2)) / 2 / width,
                10 * ((y1 + y2) - (v1 + v2)) / 2 / height,
                5 * np.log((x2 - x1) / width),
                5 * np.log((y2 - y1) / height),
            ]
            for said, due in zip(deltas[n, a], wanted, strict=True):
                off = abs(said - due)
                total += 0.5 * off**2 if off < 1 else off - 0.5
    return classes, total, max(count, 1)


def slow_ssd(out, truth, negatives=3):
    classes, boxes, count = slow_parts(out, truth)
    total = boxes
    for logits, wanted in zip(out.class_logits.detach().numpy(), classes, strict=True):
        losses = [np.log(np.exp(row).sum()) - row[k] for row, k in zip(logits, wanted, strict=True)]
        positive = [loss for loss, k in zip(losses, wanted, strict=True) if k]
        negative = sorted((loss for loss, k in zip(losses, wanted, strict=True) if not k), reverse=True)
        total += sum(positive) + sum(negative[: negatives * len(positive)])
    return total / count


def slow_focal(out, truth, alpha, gamma):
    classes, boxes, count = slow_parts(out, truth)
    total = boxes / 4
    for logits, wanted in zip(out.class_logits.detach().numpy(), classes, strict=True):
        for row, k in zip(logits, wanted, strict=True):
            for column, logit in enumerate(row):
                p = 1 / (1 + np.exp(-logit))
                if column == k > 0:  # the background's column is 0 also where there is background
                    total -= alpha * (1 - p) ** gamma * np.log(p)
                else:
                    total -= (1 - alpha) * p**gamma * np.log(1 - p)
    return total / count


@pytest.mark.parametrize("seed", range(5))
def test_anchors_match_as_torchvisions_do(seed):
    _, truth = drawn(seed, (4,))
    boxes = truth[0].boxes
    found = match_anchors(boxes, ANCHORS.double())
    expected = theirs.SSDMatcher(0.5)(torch.tensor([[slow_iou(b, a) for a in ANCHORS.double()] for b in boxes]))
    assert found.tolist() == expected.tolist() == slow_matches(boxes.numpy(), ANCHORS.double().numpy())
    assert set(range(4)) <= set(found.tolist())


@pytest.mark.parametrize("seed", range(3))
def test_ssd_loss_is_the_slow_one_and_torchvisions_in_value_and_gradient(seed):
    out, truth = drawn(seed)
    loss = ssd_loss(out, truth)
    assert abs(loss.item() - slow_ssd(out, truth)) < 1e-10
    grads = torch.autograd.grad(loss, out[:2])
    matches = [match_anchors(one.boxes, out.anchors) for one in truth]
    holder = type("Holder", (), {"box_coder": theirs.BoxCoder((10.0, 10.0, 5.0, 5.0)), "neg_to_pos_ratio": 3.0})()
    parts = SSD.compute_loss(
        holder,
        [{"boxes": one.boxes, "labels": one.labels + 1} for one in truth],
        {"cls_logits": out.class_logits, "bbox_regression": out.box_deltas},
        [out.anchors] * len(truth),
        matches,
    )
    expected = parts["bbox_regression"] + parts["classification"]
    assert abs(loss.item() - expected.item()) < 1e-10
    for mine, other in zip(grads, torch.autograd.grad(expected, out[:2]), strict=True):
        assert (mine - other).abs().max() < 1e-12
        assert mine.abs().max() > 0


@pytest.mark.parametrize(("alpha", "gamma"), [(0.75, 2.0), (0.25, 0.0), (1.0, 1.5)])
def test_focal_loss_is_the_slow_one_and_torchvisions(alpha, gamma):
    out, truth = drawn(1)
    loss = focal_loss(out, truth, alpha=alpha, gamma=gamma)
    assert abs(loss.item() - slow_focal(out, truth, alpha, gamma)) < 1e-10
    classes, boxes, count = slow_parts(out, truth)
    rows = torch.eye(K + 1, dtype=torch.float64)[torch.from_numpy(classes)]
    rows[..., 0] = 0
    expected = (sigmoid_focal_loss(out.class_logits, rows, alpha, gamma, "sum") + boxes / 4) / count
    assert abs(loss.item() - expected.item()) < 1e-10


@pytest.mark.parametrize("loss", [ssd_loss, focal_loss])
def test_the_box_weight_scales_the_offsets_part_alone(loss):
    out, truth = drawn(2)
    _, boxes, count = slow_parts(out, truth)
    offsets = 4 if loss is focal_loss else 1  # their mean, or their sum
    assert abs((loss(out, truth, box_weight=3.0) - loss(out, truth)).item() - 2 * boxes / offsets / count) < 1e-10
    grad = torch.autograd.grad(loss(out, truth, box_weight=0.0), out.box_deltas)[0]
    assert grad.abs().max() == 0


@pytest.mark.parametrize("loss", [ssd_loss, focal_loss])
def test_pictures_without_boxes_are_pure_background(loss):
    out, _ = drawn(3, (0, 0))
    empty = [Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))] * 2
    value = loss(out, empty)
    value.backward()
    assert (value.item() == 0) is (loss is ssd_loss)  # SSD mines negatives beside boxes; the focal loss has them all
    assert torch.isfinite(out.class_logits.grad).all()
    assert out.box_deltas.grad.abs().max() == 0


@pytest.mark.parametrize("loss", [ssd_loss, focal_loss])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_and_half_precision_outputs_stay_finite(loss, dtype):
    out, truth = drawn(4)
    logits = (torch.sign(out.class_logits.detach()) * 1e4).to(dtype).requires_grad_()
    deltas = out.box_deltas.detach().to(dtype).requires_grad_()
    value = loss(AnchorOutputs(logits, deltas, ANCHORS), truth)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_learning_the_truth_lowers_both():
    out, truth = drawn(5)
    classes, offsets = assign_anchors(truth, out.anchors, K)
    for loss in (ssd_loss, focal_loss):
        wanted = torch.nn.functional.one_hot(classes, K + 1).double()
        wanted[..., 0] *= loss is ssd_loss
        perfect = AnchorOutputs(wanted * 40 - 20, offsets, out.anchors)
        assert loss(perfect, truth).item() < 1e-6 < loss(out, truth).item()


@pytest.mark.parametrize(
    ("boxes", "labels", "says"),
    [
        ([[0.1, 0.1, 0.1, 0.5]], [0], "x1 < x2"),
        ([[0.1, 0.1, float("nan"), 0.5]], [0], "finite"),
        ([[0.1, 0.1, 0.4, 0.5]], [K], "outside 0 .. 2"),
        ([[0.1, 0.1, 0.4, 0.5]], [-1], "outside 0 .. 2"),
        ([[0.1, 0.1, 0.4, 0.5]], [0, 1], "do not fit labels"),
        ([[0.1, 0.1, 0.4]], [0], r"expected boxes \[G, 4\]"),
    ],
)
def test_bad_annotations_are_told(boxes, labels, says):
    out, _ = drawn(0, (1,))
    with pytest.raises(InputError, match=says) as caught:
        ssd_loss(out, [Boxes(torch.tensor(boxes), torch.tensor(labels))])
    assert "\n" not in str(caught.value)


def test_bad_settings_are_told():
    out, truth = drawn(0, (1,))
    with pytest.raises(InputError, match="annotations of 2 pictures for outputs of 1"):
        ssd_loss(out, truth * 2)
    with pytest.raises(InputError, match="alpha"):
        focal_loss(out, truth, alpha=1.5)
    with pytest.raises(InputError, match="iou_threshold"):
        ssd_loss(out, truth, iou_threshold=0.0)
