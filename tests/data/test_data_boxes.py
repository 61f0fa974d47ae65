"""Boxes of a set: what is repaired, what is refused, and where they go when their picture is moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data.boxes import open_boxes, visible_boxes
from limbeck.data.placement import combine
from limbeck.data.raw import BoxAnnotation, RawData, RawSplit
from limbeck.errors import InputError
from limbeck.pictures import window_affine

NAMES = ("cat", "dog", "owl")


def boxes_of(*rows, labels=None, crowd=None):
    count = len(rows)
    return BoxAnnotation(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(labels if labels is not None else [i % 3 for i in range(count)], np.int64),
        np.array(crowd if crowd is not None else [False] * count, bool),
    )


def opened(annotations, size=(40, 60), rows=None):
    pictures = [np.zeros((*size, 3), np.uint8)] * len(annotations)
    split = RawSplit(pictures, annotations=annotations, names=[f"p{i}" for i in range(len(pictures))])
    rows = np.arange(len(pictures)) if rows is None else np.array(rows)
    raw = RawData({"train": split}, NAMES, kind="boxes")
    sizes = np.array([size] * len(rows))
    return open_boxes(raw, split, rows, sizes=sizes, class_names=NAMES, keep=True, description="reading")


def filling(count):
    """Good pictures beside the bad one, so that it is one of many."""
    return [boxes_of([1, 2, 30, 20], [5, 5, 15, 25])] * count


def test_boxes_that_leave_their_picture_are_cut_and_counted():
    found = opened([boxes_of([-5, 3, 70, 39], [58, -2, 60.4, 40.3]), *filling(9)])
    assert found.usable.all()
    assert not found.errors
    assert found.targets.original(0).boxes.tolist() == [[0, 3, 60, 39], [58, 0, 60, 40]]
    assert found.notes == ["2 boxes that leave their picture are cut at its edges (first: p0)"]


def test_boxes_without_area_are_left_out_and_counted():
    found = opened([boxes_of([5, 5, 5, 9], [61, 5, 70, 9], [2, 2, 9, 9], labels=[0, 1, 2]), *filling(9)])
    assert found.targets.original(0).boxes.tolist() == [[2, 2, 9, 9]]
    assert found.targets.original(0).labels.tolist() == [2]
    assert found.notes == ["2 boxes without area inside their picture are left out (first: p0)"]
    assert found.targets.class_counts().tolist() == [9, 9, 1]


def test_pictures_without_a_box_stay():
    found = opened([*filling(2), boxes_of()])
    assert found.usable.all()
    assert found.targets.changed(2, np.eye(2, 3), (40, 60)).shape == (0, 5)
    assert found.notes == ["1 pictures without a box stay, and teach what is no object (first: p2)"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (boxes_of([1, 1, 9, 9], [2, 2, 8, 8], labels=[0, 3]), "box 1 has label 3, out of range 0..2"),
        (boxes_of([1, 1, 9, 9], labels=[-1]), "box 0 has label -1, out of range 0..2"),
        (boxes_of([1, 1, np.nan, 9]), "box 0 is not finite"),
        (boxes_of([1, 1, 9, 9], labels=[0, 1], crowd=[False]), "expected [M, 4], [M] and [M]"),
        (None, "no boxes are known"),
        ("1 2 3 4", "its annotation is a str"),
    ],
)
def test_a_picture_with_impossible_boxes_is_left_out_and_many_are_refused(bad, says):
    found = opened([*filling(19), bad])
    assert found.usable.tolist() == [True] * 19 + [False]
    assert len(found.targets) == 19
    assert says in found.errors[19]
    with pytest.raises(InputError, match="3 of 13 pictures have impossible boxes; first: p0: ") as caught:
        opened([bad, bad, bad, *filling(10)])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_form_of_boxes_is_refused_by_what_it_looks_like():
    sides = boxes_of([30, 20, 10, 5], [40, 30, 8, 6])  # x, y, width, height
    with pytest.raises(InputError, match=r"10 of 10 boxes have no area .*first: p0.*not x, y, width, height"):
        opened([sides] * 5)
    with pytest.raises(InputError, match="in pixels, not shares"):
        opened([boxes_of([0.1, 0.2, 0.5, 1.0])] * 3)


def test_rows_are_of_the_raw_split():
    split = [boxes_of([i, 0, i + 10, 10], labels=[i % 3]) for i in range(6)]
    found = opened(split, rows=[4, 1])
    assert [found.targets.original(i).boxes[0, 0] for i in (0, 1)] == [4, 1]
    taken = found.targets.take(np.array([1]))
    assert len(taken) == 1
    assert taken.original(0).labels.tolist() == [1]
    assert taken.class_counts().tolist() == [0, 1, 0]


def test_identity_follows_every_part_and_no_order_of_files():
    same = opened(filling(3)).targets.identity()
    assert opened(filling(3)).targets.identity() == same
    for other in (
        boxes_of([1, 2, 30, 21], [5, 5, 15, 25]),
        boxes_of([1, 2, 30, 20], [5, 5, 15, 25], labels=[0, 2]),
        boxes_of([1, 2, 30, 20], [5, 5, 15, 25], crowd=[False, True]),
        boxes_of([1, 2, 30, 20]),
    ):
        assert opened([*filling(2), other]).targets.identity() != same
    # the same boxes, dealt out otherwise
    one, two = [1, 2, 30, 20], [5, 5, 15, 25]
    dealt = [opened([boxes_of(*a, labels=[0] * len(a)), boxes_of(*b, labels=[0] * len(b))]).targets.identity()
             for a, b in (([one, two], [one]), ([one], [two, one]))]  # fmt: skip
    assert dealt[0] != dealt[1]
    whole = opened(filling(4)).targets
    assert whole.take(np.arange(3)).identity() == same


def slow_move(box, affine, size):
    """Corners one by one."""
    x1, y1, x2, y2 = box
    corners = [affine[:, :2] @ [x, y] + affine[:, 2] for x in (x1, x2) for y in (y1, y2)]
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    low, high = (min(xs), min(ys)), (max(xs), max(ys))
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    edges = (size[1], size[0])
    cut = [min(max(v, 0), e) for v, e in zip((*low, *high), edges * 2, strict=True)]
    stays = all(0 <= m <= e for m, e in zip(middle, edges, strict=True)) and min(cut[2] - cut[0], cut[3] - cut[1]) >= 1
    return cut, stays


def test_boxes_move_with_their_picture():
    generator = np.random.default_rng(0)
    mirror = np.array([[-1.0, 0.0, 32.0], [0.0, 1.0, 0.0]])
    for _ in range(20):
        corner = generator.uniform(0, 30, (8, 2))
        rows = np.concatenate([corner, corner + generator.uniform(1, 12, (8, 2))], 1).astype(np.float32)
        left, top = generator.uniform(-5, 20, 2)
        affine = window_affine((left, top, left + 25, top + 20), (24, 32))
        affine = combine(affine, mirror) if generator.random() < 0.5 else affine
        boxes, seen = visible_boxes(rows, affine, (24, 32))
        expected = [slow_move(row, affine, (24, 32)) for row in rows.astype(float)]
        assert np.allclose(boxes, [cut for cut, _ in expected], atol=1e-9)
        assert seen.tolist() == [stays for _, stays in expected]


def test_a_target_has_shares_and_crowds_of_their_own_and_is_padded():
    found = opened([
        boxes_of([10, 10, 40, 30], [0, 0, 20, 20], labels=[2, 1], crowd=[False, True]),
        boxes_of(),
        boxes_of([30, 0, 60, 40], labels=[0]),
    ])  # fmt: skip
    halved = np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]])
    samples = [found.targets.changed(i, halved, (20, 30)) for i in range(3)]
    target = found.targets.collate(samples)
    assert target.shape == (3, 2, 5)
    assert target.dtype == torch.float32
    third = 1 / 6
    expected = [
        [[2, third, 0.25, 4 * third, 0.75], [-3, 0, 0, 2 * third, 0.5]],
        [[-1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]],
        [[0, 0.5, 0, 1, 1], [-1, 0, 0, 0, 0]],
    ]
    torch.testing.assert_close(target, torch.tensor(expected))
    assert found.targets.collate(samples[1:2]).shape == (1, 0, 5)
    assert found.targets.class_counts().tolist() == [1, 0, 1]
    assert found.notes[0].startswith("1 crowds or difficult objects")
