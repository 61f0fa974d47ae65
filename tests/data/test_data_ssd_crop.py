"""SSD's random crop: what its windows keep, box by box, and the way from a recipe's word to pictures and boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.data import Augment, Loader
from limbeck.data.boxes import BoxTargets
from limbeck.data.picture_set import PictureSet
from limbeck.data.raw import RawSplit
from limbeck.data.ssd_crop import LOWEST_OVERLAPS, ssd_window
from limbeck.errors import InputError

SIZE = (60, 90)
BOXES = np.array([[10, 5, 40, 30], [50, 30, 85, 58], [5, 40, 15, 50]], np.float32)


def overlap(a, b):
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    inside = sides[0] * sides[1]
    return inside / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside)


def test_windows_keep_the_rules_and_use_all_choices():
    best, whole = [], 0
    for seed in range(1500):
        window = ssd_window(seed, BOXES, SIZE)
        assert window == ssd_window(seed, BOXES, SIZE)
        if window is None:
            whole += 1
            continue
        left, top, right, bottom = window
        assert 0 <= left < right <= SIZE[1]
        assert 0 <= top < bottom <= SIZE[0]
        wide, tall = (right - left) / SIZE[1], (bottom - top) / SIZE[0]
        assert 0.1 - 1e-9 <= wide * tall <= 1 + 1e-9
        assert 0.5 - 1e-9 <= wide / tall <= 2 + 1e-9
        assert any(left <= (b[0] + b[2]) / 2 <= right and top <= (b[1] + b[3]) / 2 <= bottom for b in BOXES)
        best.append(max(overlap(window, box) for box in BOXES))
        choice = int(np.random.Generator(np.random.PCG64(seed)).integers(len(LOWEST_OVERLAPS) + 1))
        assert best[-1] >= LOWEST_OVERLAPS[choice]
    assert whole > 1500 / 7  # its own choice, and where no window will do
    assert min(best) < 0.1
    assert max(best) > 0.7
    assert len({ssd_window(seed, BOXES, SIZE) for seed in range(200)}) > 80


def picture_set(targets=True, read_as=None):
    """Each box is a block of its own grey; what moves must keep showing it.

    Args:
        targets: whether it has boxes.
        read_as: size of pictures that are read in their own each time; None = they lie in memory, in their own.
    """
    pixels = np.zeros((1, *SIZE, 3), np.uint8)
    for grey, (x1, y1, x2, y2) in zip((80, 160, 240), BOXES.astype(int), strict=True):
        pixels[0, y1:y2, x1:x2] = grey
    pixels = np.repeat(pixels, 40, 0)
    labels = np.arange(3)
    own = BoxTargets(BOXES, labels, np.zeros(3, bool), np.array([[0, 3]] * 40), 3) if targets else None
    raw, rows, sizes = RawSplit(pixels), np.arange(40), np.array([SIZE] * 40)
    names = ("a", "b", "c")
    held = pixels if read_as is None else None
    size = read_as or SIZE
    return PictureSet("set", "train", names, np.zeros(40, np.int64), size, "squash", raw, rows, held, own, sizes)


@pytest.mark.parametrize("read_as", [None, (40, 80), (120, 100)])
def test_boxes_and_pixels_move_together(read_as):
    sets = [picture_set(read_as=read_as) for _ in range(2)]
    made = [Loader(one, batch_size=40, augment=Augment(crop="ssd", flip=True), seed=3) for one in sets]
    batch, again = (next(one.epoch(0)) for one in made)
    size = batch.inputs.shape[2:]
    assert size == (read_as or SIZE)
    assert torch.equal(batch.inputs, again.inputs)
    assert torch.equal(batch.target, again.target)
    shown = 0
    for picture, rows in zip((batch.inputs * 255).round().int()[:, 0], batch.target, strict=True):
        for label, x1, y1, x2, y2 in rows[rows[:, 0] >= 0].tolist():
            middle = picture[int((y1 + y2) / 2 * size[0]), int((x1 + x2) / 2 * size[1])]
            assert abs(int(middle) - (80, 160, 240)[int(label)]) <= 1
            shown += 1
    assert 40 < shown < 120
    widths = batch.target[:, :, 3] - batch.target[:, :, 1]
    assert len(widths[batch.target[:, :, 0] == 0].unique()) > 5
    uncut = torch.from_numpy(BOXES[:, 3] - BOXES[:, 1]) / SIZE[0]  # one of seven crops is none: all of the picture
    heights = batch.target[:, :, 4] - batch.target[:, :, 2]
    assert ((heights - uncut).abs() < 1e-6).all(1).sum() >= 3


def test_it_needs_boxes():
    with pytest.raises(InputError, match=r"augment\.crop = ssd: needs boxes"):
        Loader(picture_set(targets=False), batch_size=4, augment=Augment(crop="ssd"))
