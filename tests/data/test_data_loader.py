"""Batches: the same for any number of workers, from any step on, in any number of processes."""

import pickle

import numpy as np
import pytest
import torch

from limbeck.data import Augment, Loader, open_data
from limbeck.data.picture_set import PictureSet
from limbeck.data.raw import RawSplit
from limbeck.errors import InputError

SIZE = (12, 10)
ALL = Augment(crop="shift", rand_augment=(1, 5), erase=0.3, mixup=0.3, cutmix=1.0)


def picture_set(noise, labels, *, first=0, classes=3, split="train"):
    pixels = np.stack([noise(first + row) for row in range(len(labels))])
    names = tuple(f"class{place}" for place in range(classes))
    labels = np.array(labels, np.int64)
    return PictureSet("toy", split, names, labels, SIZE, "crop", RawSplit(pixels), np.arange(len(labels)), pixels)


@pytest.fixture
def pictures(noise):
    return picture_set(noise, [place % 3 for place in range(40)])


def same(one, other):
    one, other = list(one), list(other)
    assert len(one) == len(other) > 0
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left.index, right.index)
        assert torch.equal(left.inputs, right.inputs)
        assert torch.equal(left.target, right.target)
        assert (left.view, left.labelled) == (right.view, right.labelled)
    return True


def test_workers_change_nothing_and_neither_does_where_an_epoch_is_taken_up(pictures):
    alone = Loader(pictures, batch_size=7, augment=ALL, seed=5)
    helped = Loader(pictures, batch_size=7, augment=ALL, seed=5, workers=2)
    for epoch in (0, 1):
        assert same(alone.epoch(epoch), helped.epoch(epoch))
    assert same(alone.epoch(2, start=3), list(helped.epoch(2))[3:])
    assert same(helped.epoch(2, start=2), list(alone.epoch(2))[2:])
    assert not torch.equal(next(alone.epoch(0)).index, next(alone.epoch(1)).index)
    abandoned = helped.epoch(3)
    next(abandoned)
    assert same(helped.epoch(1), alone.epoch(1))
    with pytest.raises(RuntimeError, match="side by side"):
        next(abandoned)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanishes_ends_in_its_one_line_from_a_worker_too(tmp_path, workers):
    raw = RawSplit([str(tmp_path / "gone.png")])
    pictures = PictureSet("toy", "train", ("a",), np.zeros(1, np.int64), SIZE, "crop", raw, np.zeros(1, np.int64))
    with pytest.raises(InputError) as caught:
        next(Loader(pictures, batch_size=1, augment=None, workers=workers).epoch(0))
    assert str(caught.value) == f"{tmp_path}/gone.png: no such file"


def test_an_epoch_holds_every_picture_once(pictures):
    loader = Loader(pictures, batch_size=7, augment=Augment(), drop_last=False)
    batches = list(loader.epoch(3))
    assert len(batches) == loader.steps_per_epoch() == 6
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(40))
    assert all(torch.equal(batch.target, torch.from_numpy(pictures.labels)[batch.index]) for batch in batches)
    assert Loader(pictures, batch_size=7, augment=None).steps_per_epoch() == 5
    assert len(next(Loader(pictures, batch_size=64, augment=None).epoch(0))) == 40


def test_evaluation_is_in_order_and_untouched(pictures):
    batches = list(Loader(pictures, batch_size=16, augment=None, shuffle=False, drop_last=False).epoch(0))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(40))
    inputs = torch.cat([batch.inputs for batch in batches])
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous()
    assert np.array_equal(
        np.rint(inputs.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8), pictures.samples(range(40))
    )
    assert inputs.max() <= 1


def by_index(batches):
    return {
        int(index): (picture, target)
        for batch in batches
        for index, picture, target in zip(batch.index, batch.inputs, batch.target, strict=True)
    }


def test_a_picture_depends_on_seed_view_and_index_only(pictures):
    """Whatever the batch size, the order or the epoch: with the same view the same mixed picture and the same target."""
    first = by_index(Loader(pictures, batch_size=8, augment=ALL, seed=1, views=2).epoch(1))
    later = by_index(Loader(pictures, batch_size=5, augment=ALL, seed=1, views=2).epoch(3))
    assert first.keys() == later.keys() == set(range(40))
    assert all(torch.equal(first[index][part], later[index][part]) for index in first for part in (0, 1))
    other_view = by_index(Loader(pictures, batch_size=8, augment=ALL, seed=1, views=2).epoch(2))
    other_seed = by_index(Loader(pictures, batch_size=8, augment=ALL, seed=2, views=2).epoch(1))
    for other in (other_view, other_seed):
        assert sum(torch.equal(first[index][0], other[index][0]) for index in first) < 5
    assert [batch.view for batch in Loader(pictures, batch_size=40, augment=None, views=3).epoch(7)] == [1]


def test_the_order_is_a_function_of_seed_and_epoch(pictures):
    def order(seed, epoch, **options):
        return torch.cat(
            [batch.index for batch in Loader(pictures, batch_size=8, augment=None, seed=seed, **options).epoch(epoch)]
        ).tolist()

    assert order(0, 4) == order(0, 4) == order(0, 4, views=2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_processes_share_each_step_without_overlap(pictures):
    whole = Loader(pictures, batch_size=8, augment=ALL, seed=1)
    ranks = [Loader(pictures, batch_size=4, augment=ALL, seed=1, rank=rank, world=2) for rank in (0, 1)]
    assert {loader.steps_per_epoch() for loader in ranks} == {whole.steps_per_epoch()}
    for all_of_it, *parts in zip(whole.epoch(0), *(loader.epoch(0) for loader in ranks), strict=True):
        assert sorted(all_of_it.index.tolist()) == sorted(parts[0].index.tolist() + parts[1].index.tolist())
        assert not set(parts[0].index.tolist()) & set(parts[1].index.tolist())
    uneven = [Loader(pictures, batch_size=13, augment=None, rank=rank, world=3, drop_last=False) for rank in range(3)]
    lengths = [[len(batch) for batch in loader.epoch(0)] for loader in uneven]
    assert lengths == [[13, 1], [13, 1], [13, 1]]  # 40 = 39 + 1: the last picture goes to all, none is left waiting


def test_balanced_sampling_evens_the_classes_and_augments_copies_differently(noise):
    pictures = picture_set(noise, [0] * 30 + [1] * 8 + [2] * 2)
    loader = Loader(pictures, batch_size=40, augment=Augment(padding=0.5), sampling="balanced")
    batch = next(loader.epoch(0))
    assert sorted(np.bincount(batch.target.numpy())) == [13, 13, 14]
    copies = batch.inputs[batch.index == 39]
    assert len(copies) >= 6
    assert len(torch.unique(copies.flatten(1), dim=0)) > 3
    assert len({int(index) for index in batch.index if index < 30}) == int((batch.target == 0).sum())
    fixed = next(Loader(pictures, batch_size=40, augment=Augment(), sampling="balanced", views=1).epoch(0))
    assert len(torch.unique(fixed.inputs[fixed.index == 39].flatten(1), dim=0)) == 1


def test_unlabelled_pictures_join_at_the_end(noise, pictures):
    extra = picture_set(noise, [-1] * 10, first=100, split="unlabelled")
    loader = Loader(pictures, batch_size=50, augment=None, extra=extra)
    batch = next(loader.epoch(0))
    assert not batch.labelled
    assert Loader(pictures, batch_size=40, augment=None).epoch(0).__next__().labelled
    assert sorted(batch.index.tolist()) == list(range(50))
    assert (batch.target[batch.index >= 40] == -1).all()
    assert (batch.target[batch.index < 40] >= 0).all()
    place = batch.index.tolist().index(43)
    assert np.array_equal(np.rint(batch.inputs[place].permute(1, 2, 0).numpy() * 255), extra.picture(3))
    mixed = next(Loader(pictures, batch_size=50, augment=Augment(mixup=1.0), extra=extra).epoch(0))
    sums = mixed.target.sum(1)
    assert (sums[mixed.index >= 40] == 0).all()
    assert torch.allclose(sums[mixed.index < 40], torch.ones(40))


def test_pictures_on_disk_give_the_same_batches_as_pictures_in_memory(tmp_path, write_classes):
    write_classes(tmp_path / "set", ("a", "b"), 12)
    held = open_data("folder", path=str(tmp_path / "set"), image_size=8)
    read = open_data("folder", path=str(tmp_path / "set"), image_size=8, store_bytes=0)
    assert held.train.is_in_memory
    assert not read.train.is_in_memory
    assert held.fingerprint == read.fingerprint
    batches = [Loader(splits.train, batch_size=4, augment=Augment(mixup=0.2)).epoch(1) for splits in (held, read)]
    assert same(*batches)
    resized = Augment(crop="resized")
    assert next(Loader(read.train, batch_size=4, augment=resized).epoch(0)).inputs.shape == (4, 3, 8, 8)


def test_what_workers_hold_survives_pickling(pictures):
    """So that platforms which start processes afresh get the same batches."""
    loader = Loader(pictures, batch_size=7, augment=ALL, seed=5)
    copy = pickle.loads(pickle.dumps(loader._maker))
    assert same([copy[1, step] for step in range(5)], loader.epoch(1))


def test_wrong_settings_are_refused(pictures):
    with pytest.raises(InputError, match="batch_size"):
        Loader(pictures, batch_size=0, augment=None)
    with pytest.raises(InputError, match="empty"):
        Loader(pictures.take([]), batch_size=4, augment=None)
