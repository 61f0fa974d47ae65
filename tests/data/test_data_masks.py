"""Masks: what is refused, counted and named; where classes go when pictures move; weights of classes."""

import io
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from limbeck.data import Loader, PictureSet, RawData, RawSplit, open_data
from limbeck.data.augment import Augment
from limbeck.data.balance import balanced_weights, class_weights, median_frequency_weights
from limbeck.data.masks import VOID, open_masks, read_mask
from limbeck.errors import InputError

NAMES = ("road", "car", "tree")


def encoded(mask, mode=None, form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(mask, mode).save(buffer, form)
    return buffer.getvalue()


def masks_of(seed, count=6, size=(9, 8)):
    return [np.random.default_rng([seed, i]).integers(0, 3, size).astype(np.uint8) for i in range(count)]


def opened(masks, *, sizes=None, keep=True, values=None, names=NAMES, **more):
    """Open masks as a set's train split would be."""
    if sizes is None:
        sizes = [np.shape(read_mask(mask)) for mask in masks]
    split = RawSplit([b""] * len(masks), annotations=masks, names=[f"p{i}" for i in range(len(masks))])
    raw = RawData({"train": split}, class_names=names, kind="mask", mask_values=values)
    settings = {"class_names": names, "keep": keep, "description": "masks", **more}
    return open_masks(raw, split, np.arange(len(masks)), sizes=np.array(sizes, np.int32), **settings)


@pytest.mark.parametrize("keep", [True, False])
def test_masks_are_classes_and_255_is_void(keep):
    masks = masks_of(0)
    masks[1][0] = VOID
    found = opened([encoded(mask) for mask in masks], keep=keep)
    assert found.usable.all()
    assert not found.errors
    assert not found.notes
    assert np.array_equal(found.targets.mask(1), masks[1])
    expected = [[(mask == k).sum() for k in range(3)] for mask in masks]
    assert found.targets.counts.tolist() == expected
    assert found.targets.class_counts().tolist() == np.sum(expected, axis=0).tolist()
    batch = found.targets.collate([found.targets.changed(i, np.eye(2, 3), (9, 8)) for i in (0, 1)])
    assert batch.dtype == torch.int64
    assert batch[1, 0].eq(-1).all()
    assert batch[1, 1:].equal(torch.from_numpy(masks[1][1:]).long())
    two = found.targets.take(np.array([3, 1]))
    assert len(two) == 2
    assert np.array_equal(two.mask(0), masks[3])
    assert two.counts.tolist() == [expected[3], expected[1]]


def test_identity_follows_the_classes_not_the_files():
    masks = masks_of(1)
    first = opened([encoded(mask) for mask in masks]).targets.identity()
    assert opened(masks, keep=False).targets.identity() == first
    masks[2][4, 4] = (masks[2][4, 4] + 1) % 3
    assert opened(masks).targets.identity() != first


def test_values_may_stand_for_classes():
    mask = np.array([[7, 8, 11], [0, 11, 7]], np.uint8)
    found = opened([mask], values={7: 0, 8: 2, 11: 1, 0: -1})
    assert found.targets.mask(0).tolist() == [[0, 2, 1], [VOID, 1, 0]]
    with pytest.raises(InputError, match="mask value 7 stands for class 3"):
        opened([mask], values={7: 3})


def test_every_form_of_one_channel_is_read_as_written():
    mask = masks_of(2, count=1)[0]
    palette = Image.fromarray(mask, "P")
    palette.putpalette([200, 30, 40] * 256)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    sixteen = io.BytesIO()
    Image.fromarray(mask.astype(np.uint16) * 1000).save(sixteen, "PNG")
    assert np.array_equal(read_mask(buffer.getvalue()), mask)
    assert np.array_equal(read_mask(sixteen.getvalue()), mask.astype(int) * 1000)
    assert read_mask(mask > 1).tolist() == (mask > 1).astype(int).tolist()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (encoded(np.zeros((4, 4, 3), np.uint8)), "has the channels RGB; expected one channel"),
        (b"not a picture", "mask of 13 bytes: not readable"),
        (encoded(masks_of(0, count=1)[0])[:60], "not readable"),
        ("nowhere/mask.png", "mask nowhere/mask.png: no such file"),
        (np.zeros((4, 4)), "expected .H, W. whole numbers"),
        (np.full((2, 2), -1), "holds -1 to -1; expected values in 0 .. 65535"),
        (np.zeros((4, 4, 1), np.uint8), r"is \[4, 4, 1\] of uint8"),
    ],
)
def test_what_is_no_mask_is_named(source, message):
    with pytest.raises(InputError, match=message):
        read_mask(source)


def test_wrong_masks_are_left_out_with_reasons():
    masks = masks_of(3, count=30)
    masks[4] = masks[4][:, :-1]
    masks[7][2, 2], masks[7][0, 0] = 12, 3
    masks[9] = encoded(masks[9])[:50]
    found = opened(masks, sizes=[(9, 8)] * 30)
    assert np.flatnonzero(~found.usable).tolist() == [4, 7, 9]
    assert found.errors[4] == "the mask has 9 x 7 pixels (height x width), its picture 9 x 8"
    assert found.errors[7] == "the mask holds the values 3, 12, beyond the classes 0 .. 2"
    assert "not readable" in found.errors[9]
    assert len(found.targets) == 27
    assert np.array_equal(found.targets.mask(4), masks[5])


def test_more_than_a_few_wrong_masks_are_refused():
    masks = masks_of(4, count=10)
    masks[3][0, 0] = masks[8][1, 1] = 77
    with pytest.raises(InputError, match="2 of 10 masks are not usable; first: p3: the mask holds the value 77"):
        opened(masks)


def test_void_all_over_is_said_and_void_everywhere_refused():
    masks = masks_of(5)
    masks[2][:] = VOID
    found = opened(masks)
    assert found.usable.all()
    assert found.notes == ["1 of 6 masks are void all over; first: p2"]
    with pytest.raises(InputError, match="no pixel of any mask is labelled"):
        opened([np.full((3, 3), VOID, np.uint8)])


def test_what_looking_gave_is_remembered_until_a_file_changes(tmp_path, monkeypatch):
    paths = []
    for i, mask in enumerate(masks_of(6, count=25)):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(mask).save(paths[-1])
    Image.fromarray(np.full((9, 8), 9, np.uint8)).save(paths[3])
    settings = {"keep": False, "cache": tmp_path / "cache"}
    first = opened(paths, **settings)
    read = []
    monkeypatch.setattr("limbeck.data.masks.read_mask", lambda source: read.append(source) or read_mask(source))
    again = opened(paths, sizes=[(9, 8)] * 25, **settings)
    assert not read
    assert again.errors == first.errors
    assert 3 in again.errors
    assert again.targets.identity() == first.targets.identity()
    assert np.array_equal(again.targets.counts, first.targets.counts)
    opened(paths, sizes=[(9, 8)] * 25, names=(*NAMES, "sky"), **settings)  # other classes: another question
    assert len(read) == 25
    Image.fromarray(masks_of(7, count=1)[0]).save(paths[3])
    assert opened(paths, sizes=[(9, 8)] * 25, **settings).usable.all()


# ---- where classes go when pictures move


def slow_warp(mask, affine, size):
    """Each output pixel's centre back through the map; the pixel that it falls in."""
    out = np.full(size, VOID, np.uint8)
    whole = np.vstack([affine, [0, 0, 1]])
    for y in range(size[0]):
        for x in range(size[1]):
            u, v, _ = np.linalg.solve(whole, [x + 0.5, y + 0.5, 1])
            if 0 <= np.floor(u) < mask.shape[1] and 0 <= np.floor(v) < mask.shape[0]:
                out[y, x] = mask[int(np.floor(v)), int(np.floor(u))]
    return out


@pytest.mark.parametrize(
    ("affine", "size"),
    [
        ([[1, 0, 3], [0, 1, -2]], (9, 8)),  # shifted: void where there was no picture
        ([[-1, 0, 8], [0, 1, 0]], (9, 8)),  # mirrored
        ([[1.7, 0, -2.3], [0, 1.3, 0.4]], (12, 11)),  # enlarged and cut
        ([[0.53, 0, 1], [0, 0.61, 2]], (9, 8)),  # reduced on void
        ([[0.9, 0.4, 0.13], [-0.35, 0.8, 2.1]], (10, 10)),  # turned
    ],
)
def test_a_mask_moves_with_its_picture(affine, size):
    mask = masks_of(8, count=1)[0]
    found = opened([mask]).targets.changed(0, np.array(affine, float), size)
    assert np.array_equal(found, slow_warp(mask, np.array(affine, float), size))


def test_batches_move_pictures_and_masks_alike(monkeypatch):
    """Pictures that show their own mask: wherever a pixel is plainly of one class, the mask must say so."""
    rng = np.random.default_rng(9)
    masks = [np.kron(rng.integers(0, 3, (5, 6)), np.ones((8, 8))).astype(np.uint8) for _ in range(12)]
    pictures = [np.repeat((60 + 90 * mask)[:, :, None], 3, axis=2) for mask in masks]
    split = RawSplit(pictures, annotations=masks)

    def reader():
        return RawData({"train": split, "test": split}, class_names=NAMES, kind="mask")

    module = types.ModuleType("mask_reader_part")
    module.reader = reader
    monkeypatch.setitem(sys.modules, "mask_reader_part", module)
    splits = open_data("mask_reader_part:reader", image_size=(32, 40), validation=0)
    assert splits.kind == "mask"
    assert splits.report["class_counts"]["train"] == [int(sum((m == k).sum() for m in masks)) for k in range(3)]
    for augment in (None, Augment(crop="scaled"), Augment(crop="shift"), Augment(crop="resized")):
        loader = Loader(splits.train, batch_size=12, augment=augment)
        void = 0
        for epoch in range(3):
            (batch,) = loader.epoch(epoch)
            assert batch.target.shape == (12, 32, 40)
            value = (batch.inputs[:, 0] * 255).round()
            for k in range(3):
                plain = (
                    value - (60 + 90 * k)
                ).abs() < 1  # no blend of two classes comes out at a class's own value ...
                inner = -torch.nn.functional.max_pool2d(-plain.float()[:, None], 3, 1, 1)[:, 0] > 0  # ... 3 x 3 times
                assert inner.any()
                assert (batch.target[inner] == k).all()
            black = torch.nn.functional.max_pool2d(value[:, None], 3, 1, 1)[:, 0] == 0
            assert (batch.target[black] == -1).all()
            void += int((batch.target == -1).sum())
        assert (void > 0) == (augment is not None and augment.crop in ("scaled", "shift"))


# ---- weights


def test_median_frequency_weights_by_hand():
    counts = np.array([[10, 0, 0, 0], [10, 5, 0, 5], [0, 10, 0, 30]])
    frequency = np.array([20 / 30, 15 / 60, 35 / 60])
    expected = [(35 / 60) / frequency[0], (35 / 60) / frequency[1], 1, 1.0]
    np.testing.assert_allclose(median_frequency_weights(counts), expected, rtol=1e-6)


def test_balanced_weights_follow_the_kind_of_set():
    digits = open_data("digits").train
    assert np.array_equal(balanced_weights(digits), class_weights(digits.labels, 10))
    targets = opened(masks_of(10)).targets
    masks = PictureSet("m", "train", NAMES, np.zeros(6), (9, 8), "crop", RawSplit([]), np.arange(6), targets=targets)
    assert np.array_equal(balanced_weights(masks), median_frequency_weights(targets.counts))
