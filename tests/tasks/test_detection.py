"""Figures of detection against faster-coco-eval itself, a slow reading of COCO's rules, and hand values."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from limbeck.errors import InputError
from limbeck.models.heads import AnchorOutputs, Boxes, SoftmaxAnchorOutputs, choose_boxes, encode_boxes, make_anchors
from limbeck.tasks import open_task
from limbeck.tasks.average_precision import IOU_THRESHOLDS, RECALLS, match_boxes
from limbeck.tasks.box_losses import focal_loss, ssd_loss
from limbeck.tasks.detection import Detection
from limbeck.testing import check_task

torch.set_num_threads(1)
K, SIZE = 3, (120, 200)


def drawn(seed=0, pictures=12, found=9, crowds=True):
    """Boxes that lie near the true ones, some of them of another class, some nowhere."""
    generator = np.random.default_rng(seed)
    kept, target = np.zeros((pictures, found + 3, 6), np.float32), np.zeros((pictures, 5, 5), np.float32)
    target[:, :, 0] = -1
    for n in range(pictures):
        count = int(generator.integers(0, 6))
        corner = generator.uniform(0, 0.7, (count, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(0.02, 0.3, (count, 2))], 1)
        labels = generator.integers(0, K, count)
        crowd = (generator.random(count) < 0.2) & crowds
        target[n, :count, 0], target[n, :count, 1:] = np.where(crowd, -2 - labels, labels), boxes
        for d in range(found):
            near = boxes[generator.integers(count)] if count else np.array([0.2, 0.2, 0.5, 0.5])
            box = near + generator.normal(0, 0.02, 4)
            label = labels[generator.integers(count)] if count else 0
            kept[n, d] = (*box[:2], *np.maximum(box[2:], box[:2] + 0.01), generator.uniform(0.01, 1), label)
        kept[n] = kept[n][np.argsort(-kept[n, :, 4], kind="stable")]
    return kept, target


def by_library(kept, target, copies=None):
    """[T, R, K] precision of COCO's evaluation over pictures (each as often as `copies` says), -1 = no true boxes."""
    height, width = SIZE
    copies = np.ones(len(kept), int) if copies is None else copies
    images, annotations, found = [], [], []
    for n in np.repeat(np.arange(len(kept)), copies):
        image = len(images) + 1
        images.append({"id": image, "height": height, "width": width})
        for label, *box in target[n].astype(float).tolist():
            if label == -1:
                continue
            x1, y1, x2, y2 = (v * side for v, side in zip(box, (width, height) * 2, strict=True))
            own = {"category_id": int(label if label >= 0 else -2 - label), "iscrowd": int(label < 0)}
            whole = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            annotations.append({"id": len(annotations) + 1, "image_id": image, **own, **whole})
        for *box, score, label in kept[n].astype(float).tolist():
            if score > 0:
                x1, y1, x2, y2 = (v * side for v, side in zip(box, (width, height) * 2, strict=True))
                entry = {"image_id": image, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1]}
                found.append({**entry, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO({"images": images, "annotations": annotations, "categories": [{"id": k} for k in range(K)]})
        judge = COCOeval_faster(truth, truth.loadRes(found), "bbox")
        judge.params.iouThrs, judge.params.recThrs = np.array(IOU_THRESHOLDS), np.array(RECALLS)
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, :, 0, -1]


def mean_of(precision):
    return precision[precision > -1].mean()


@pytest.mark.parametrize("seed", range(4))
def test_precision_is_that_of_cocos_evaluation(seed):
    kept, target = drawn(seed)
    expected = by_library(kept, target)
    found = match_boxes(kept, target, K)
    for label in range(K):
        assert found.average_precisions()[label] == pytest.approx(expected[:, :, label].mean(1), abs=1e-9)
        assert found.per_class()[label] == pytest.approx(mean_of(expected[:, :, label]), abs=1e-9)
    assert 0.05 < found.map() < 0.9
    assert found.map() == pytest.approx(mean_of(expected), abs=1e-9)


def test_counts_stand_for_copies_of_pictures():
    kept, target = drawn(5)
    found = match_boxes(kept, target, K)
    generator = np.random.default_rng(0)
    seen = set()
    for _ in range(8):
        copies = generator.multinomial(len(kept), [1 / len(kept)] * len(kept))
        expected = by_library(kept, target, copies)
        assert found.map(copies) == pytest.approx(mean_of(expected), abs=1e-9)
        seen.add(round(found.map(copies), 6))
    assert len(seen) > 4


def slow_precision(kept, target, label, threshold):
    """One class at one overlap, as COCO's evaluation is described: box by box."""
    entries, total = [], 0
    for found, truth in zip(kept.astype(float), target.astype(float), strict=True):
        real = [row[1:] for row in truth if row[0] == label]
        crowd = [row[1:] for row in truth if row[0] == -2 - label]
        total += len(real)
        taken = set()
        for *box, score, own in sorted((row for row in found.tolist() if row[4] > 0), key=lambda row: -row[4]):
            if own != label:
                continue
            best, place = threshold, None
            for i, other in enumerate(real):
                if i not in taken and slow_overlap(box, other) >= best:
                    best, place = slow_overlap(box, other), i
            if place is not None:
                taken.add(place)
                entries.append((score, True))
            elif not any(slow_overlap(box, other, inside=True) >= threshold for other in crowd):
                entries.append((score, False))
    if not total:
        return None
    entries.sort(key=lambda entry: -entry[0])
    curve = []
    hits = 0
    for i, (_, right) in enumerate(entries, 1):
        hits += right
        curve.append((hits / total, hits / i))
    return np.mean([max((p for r, p in curve if r >= recall), default=0.0) for recall in RECALLS])


def slow_overlap(a, b, inside=False):
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    common, own, other = sides[0] * sides[1], (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return common / (own if inside else own + other - common)


def test_precision_is_that_of_a_slow_reading_of_the_rules():
    kept, target = drawn(7)
    found = match_boxes(kept, target, K).average_precisions()
    for label in range(K):
        for place, threshold in enumerate(IOU_THRESHOLDS):
            assert found[label, place] == pytest.approx(slow_precision(kept, target, label, threshold), abs=1e-9)


def test_a_hand_value():
    # two true boxes; the surest found one misses, the next hits one of them: recall 0.5 at precision 0.5
    target = torch.tensor([[[0, 0.0, 0.0, 0.2, 0.2], [0, 0.5, 0.5, 0.9, 0.9]]])
    kept = torch.tensor([[[0.2, 0.6, 0.3, 0.7, 0.9, 0], [0.5, 0.5, 0.9, 0.9, 0.8, 0], [0.0] * 6]])
    expected = 0.5 * 51 / 101  # of 101 recalls, 0 to 0.5 are reached
    figures = Detection(1).figures(kept, target)
    assert figures["map"] == pytest.approx(expected, abs=1e-6)
    assert figures["map50"] == pytest.approx(expected, abs=1e-6)
    assert figures["mar_100"] == pytest.approx(0.5)
    assert Detection(1).matches(kept.numpy(), target.numpy()).map() == pytest.approx(expected, abs=1e-9)


def test_figures_are_the_librarys_by_size_too():
    kept, target = drawn(2, pictures=20)
    figures = Detection(K, image_size=SIZE).figures(kept, target)
    precision = by_library(kept, target)
    assert figures["map"] == pytest.approx(mean_of(precision), abs=1e-6)
    assert figures["map50"] == pytest.approx(mean_of(precision[0]), abs=1e-6)
    assert figures["map75"] == pytest.approx(mean_of(precision[5]), abs=1e-6)
    sides = target[..., 3:] - target[..., 1:3]
    areas = (sides.prod(-1) * SIZE[0] * SIZE[1])[target[..., 0] >= 0]
    present = {
        "map_small": areas < 32**2,
        "map_medium": (areas >= 32**2) & (areas < 96**2),
        "map_large": areas >= 96**2,
    }
    assert {name for name, there in present.items() if there.any()} == {n for n in figures if n in present}
    assert not present["map_large"].any()
    assert not any(name in Detection(K).figures(kept, target) for name in present)


def test_the_task_keeps_to_the_protocol():
    out, target = said()
    perfect = np.zeros((4, 2, 6), np.float32)
    rows = target.numpy()
    perfect[..., :4], perfect[..., 4], perfect[..., 5] = rows[..., 1:], rows[..., 0] >= 0, rows[..., 0].clip(0)
    check_task(open_task("detection", num_classes=K, image_size=SIZE), out, target, perfect=torch.from_numpy(perfect))


def said(seed=0, kind=AnchorOutputs):
    anchors = make_anchors([(5, 4), (3, 2), (1, 1)])
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, len(anchors), K + 1, generator=generator)
    deltas = torch.randn(4, len(anchors), 4, generator=generator)
    target = torch.tensor([
        [[0, 0.1, 0.1, 0.4, 0.5], [2, 0.3, 0.3, 0.9, 0.8]],
        [[-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]],
        [[1, 0.0, 0.2, 0.5, 0.9], [-1, 0, 0, 0, 0]],
        [[-3, 0.1, 0.1, 0.9, 0.9], [1, 0.5, 0.5, 0.7, 0.9]],
    ])  # fmt: skip
    return kind(logits, deltas, anchors), target


@pytest.mark.parametrize(("kind", "loss"), [(AnchorOutputs, focal_loss), (SoftmaxAnchorOutputs, ssd_loss)])
def test_the_criterion_is_the_loss_that_fits_the_scores(kind, loss):
    out, target = said(kind=kind)
    truth = [
        Boxes(target[0, :, 1:], torch.tensor([0, 2])),
        Boxes(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)),
        Boxes(target[2, :1, 1:], torch.tensor([1])),
        Boxes(target[3, 1:, 1:], torch.tensor([1])),  # the crowd teaches nothing
    ]
    assert torch.equal(Detection(K).criterion(out, target), loss(out, truth))
    assert torch.isfinite(Detection(K).criterion(out, torch.zeros(4, 0, 5)))


def test_what_is_kept_are_the_chosen_boxes():
    out, target = said()
    task = Detection(K, limit=7, score_threshold=0.3)
    kept = task.keep(out)
    assert kept.shape == (4, 7, 6)
    for rows, found in zip(kept, choose_boxes(out, limit=7, score_threshold=0.3), strict=True):
        count = len(found.labels)
        assert count > 1
        assert np.array_equal(rows[:count, :4], found.boxes.numpy())
        assert np.array_equal(rows[:count, 4], found.scores.numpy())
        assert np.array_equal(rows[:count, 5], found.labels.numpy())
        assert not rows[count:].any()
    metric = task.metric()
    metric.update(out, target)
    assert metric.compute() == task.figures(kept, target)


def test_a_detector_that_is_right_has_every_figure_at_1():
    anchors = make_anchors([(5, 4), (3, 2), (1, 1)])
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.3, 0.3, 0.9, 0.8]])
    logits = torch.full((1, len(anchors), K + 1), -20.0)
    deltas = encode_boxes(boxes[torch.arange(len(anchors)) % 2], anchors)[None]
    logits[0, 0, 1], logits[0, 1, 3] = 10.0, 10.0
    target = torch.cat([torch.tensor([[0.0], [2.0]]), boxes], 1)[None]
    figures = Detection(K, image_size=SIZE).figures(Detection(K).keep(AnchorOutputs(logits, deltas, anchors)), target)
    assert set(figures) == {"map", "map50", "map75", "mar_100", "map_medium"}
    assert all(value == pytest.approx(1.0) for value in figures.values())


def test_bad_input_is_one_clear_line():
    out, target = said()
    with pytest.raises(InputError, match="at least 1 class, not 0"):
        Detection(0)
    with pytest.raises(InputError, match=r"gives \[4, .*, 4\] where \[N, A, 6\] logits are due"):
        Detection(5).criterion(out, target)
    with pytest.raises(InputError, match=r"targets \[3, 2, 5\] do not fit outputs of 4 pictures"):
        Detection(K).criterion(out, target[:3])
    with pytest.raises(InputError, match=r"class 2 is outside 0 \.\. 1"):
        Detection(2).figures(np.zeros((4, 1, 6), np.float32), target)
    with pytest.raises(InputError, match="no boxes to evaluate on"):
        Detection(K).figures(np.zeros((4, 1, 6), np.float32), torch.full((4, 1, 5), -1.0))
    with pytest.raises(InputError, match="do not fit"):
        Detection(K).figures(np.zeros((3, 1, 6), np.float32), target)
