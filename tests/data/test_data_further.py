"""What a batch carries beside its pictures: further views of them, another picture of each class."""

import numpy as np
import pytest
import torch

from limbeck.data import Augment, Loader
from limbeck.data.draws import Draws
from limbeck.data.further import Classmates, view_copies
from limbeck.data.picture_set import PictureSet
from limbeck.data.raw import RawSplit
from limbeck.data.stream import PictureStream
from limbeck.errors import InputError

SIZE = (12, 10)
MIXED = Augment(crop="shift", erase=0.3, mixup=0.3, cutmix=1.0)
PLAIN = Augment(crop="shift", padding=0.5)


def picture_set(labels, *, values=None, classes=3):
    """Each picture is of one value, so that it can be told by its pixels; or noise."""
    if values is None:
        pixels = np.random.default_rng(0).integers(0, 256, (len(labels), *SIZE, 3), np.uint8)
    else:
        pixels = np.broadcast_to(np.array(values, np.uint8)[:, None, None, None], (len(labels), *SIZE, 3)).copy()
    names, labels = tuple(f"class{place}" for place in range(classes)), np.array(labels, np.int64)
    return PictureSet("toy", "train", names, labels, SIZE, "crop", RawSplit(pixels), np.arange(len(labels)), pixels)


@pytest.fixture
def pictures():
    return picture_set([place % 3 for place in range(40)])


def by_index(batches):
    return {
        int(index): [batch.inputs[row], *(batch.further[name][row] for name in sorted(batch.further))]
        for batch in batches
        for row, index in enumerate(batch.index)
    }


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(a, b) for index in one for a, b in zip(one[index], other[index], strict=True))


@pytest.mark.parametrize(("augment", "needs"), [(MIXED, {"view2", "view3"}), (PLAIN, {"view2", "same_class"})])
def test_they_are_functions_of_seed_view_and_index(pictures, augment, needs):
    alone = Loader(pictures, batch_size=8, augment=augment, seed=5, needs=needs)
    whole = by_index(alone.epoch(1))
    assert len(whole) == 40
    assert alone.offers == needs
    other = Loader(pictures, batch_size=5, augment=augment, seed=5, needs=needs, workers=2)
    assert equal(by_index(other.epoch(1)), whole)
    rest = by_index(alone.epoch(1, start=3))
    assert equal({index: whole[index] for index in rest}, rest)
    ranks = [Loader(pictures, batch_size=4, augment=augment, seed=5, needs=needs, rank=r, world=2) for r in (0, 1)]
    assert equal(by_index(ranks[0].epoch(1)) | by_index(ranks[1].epoch(1)), whole)
    for others in (alone.epoch(2), Loader(pictures, batch_size=8, augment=augment, seed=6, needs=needs).epoch(1)):
        found = by_index(others)
        assert not any(torch.equal(found[0][place], whole[0][place]) for place in range(3))
    plain = by_index(Loader(pictures, batch_size=8, augment=augment, seed=5).epoch(1))
    assert all(torch.equal(plain[index][0], whole[index][0]) for index in whole)  # the pictures themselves stay


def test_views_differ_and_share_the_target(pictures):
    batch = next(Loader(pictures, batch_size=40, augment=PLAIN, needs={"view2", "view3"}).epoch(0))
    views = [batch.inputs, batch.further["view2"], batch.further["view3"]]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert sum(torch.equal(views[one][row], views[other][row]) for row in range(40)) < 4
    still = next(Loader(pictures, batch_size=40, augment=None, needs={"view2"}).epoch(0))
    assert torch.equal(still.inputs, still.further["view2"])


def test_mixed_views_have_one_share_and_one_partner():
    values = [10 * place for place in range(20)]
    loader = Loader(
        picture_set([place % 3 for place in range(20)], values=values),
        batch_size=20,
        augment=Augment(crop="none", flip=False, mixup=1.0),
        needs={"view2"},
    )
    batch = next(loader.epoch(0))  # pictures of one value: without other changes the views are what the mixing makes
    assert batch.target.shape == (20, 3)
    assert torch.equal(batch.inputs, batch.further["view2"])
    assert len(batch.inputs[:, 0, 0, 0].unique()) > 15


def test_balanced_copies_have_views_of_their_own():
    pictures = picture_set([0] * 15 + [1])
    batch = next(Loader(pictures, batch_size=16, augment=PLAIN, sampling="balanced", needs={"view2"}).epoch(0))
    copies = batch.index == 15
    assert int(copies.sum()) > 3
    seen = torch.cat([batch.inputs[copies], batch.further["view2"][copies]]).flatten(1)
    assert len(seen.unique(dim=0)) > 0.8 * len(seen)


def test_classmates_are_drawn_evenly_from_the_class():
    labels = np.array([0, 0, 0, 0, 1, 2, 2, -1])
    mates = Classmates.of(labels, 4)
    index = np.arange(8)
    counts = np.zeros((8, 8), int)
    for view in range(2000):
        found = mates.draw(Draws(3, view, index), index, labels)
        counts[index, found] += 1
    expected = np.zeros((8, 8))
    expected[:4, :4], expected[4, 4], expected[5:7, 5:7], expected[7, 7] = 500, 2000, 1000, 2000
    assert np.abs(counts - expected).max() < 130  # five standard deviations
    assert not (counts[expected == 0]).any()


def test_same_class_pictures_are_of_the_class():
    labels = [place % 3 for place in range(30)]
    pictures = picture_set(labels, values=[8 * place for place in range(30)])
    loader = Loader(pictures, batch_size=10, augment=Augment(crop="none"), needs={"same_class"})
    others = 0
    for batch in loader.epoch(0):
        mates = (batch.further["same_class"][:, 0, 0, 0] * 255 / 8).round().long()
        assert [labels[mate] for mate in mates] == batch.target.tolist()
        others += int((mates != batch.index).sum())
    assert others > 20


def test_the_same_picture_as_its_own_classmate_is_changed_anew():
    alone = picture_set([0, 1, 2])
    batch = next(Loader(alone, batch_size=3, augment=PLAIN, needs={"same_class", "view2"}).epoch(0))
    mates = batch.further["same_class"]
    assert not any(torch.equal(mates[row], batch.inputs[row]) for row in range(3))
    assert not torch.equal(mates, batch.further["view2"])


def test_unlabelled_pictures_are_their_own_classmates(pictures):
    extra = picture_set([-1] * 10, values=[25 * place for place in range(10)])
    loader = Loader(pictures, batch_size=50, augment=Augment(crop="none"), extra=extra, needs={"same_class"})
    batch = next(loader.epoch(0))
    unlabelled = batch.target < 0
    assert int(unlabelled.sum()) == 10
    assert torch.equal(batch.further["same_class"][unlabelled], batch.inputs[unlabelled])


def test_a_batch_moves_with_all_it_carries(pictures):
    batch = next(Loader(pictures, batch_size=4, augment=PLAIN, needs={"view2", "same_class"}).epoch(0))
    moved = batch.to("meta", channels_last=True)
    assert {name: value.device.type for name, value in moved.further.items()} == {"view2": "meta", "same_class": "meta"}
    assert moved.further["view2"].is_contiguous(memory_format=torch.channels_last)
    assert batch.further["view2"].device.type == "cpu"


def test_streams_give_views(pictures):
    def shard(number):
        return ((pictures.picture(row), row % 3) for row in range(number, 40, 2))

    stream = PictureStream("toy", ("a", "b", "c"), 40, 2, shard, image_size=SIZE, buffer=8)
    for augment in (PLAIN, MIXED):
        batches = list(Loader(stream, batch_size=8, augment=augment, needs={"view2"}).epoch(0))
        assert all(batch.further["view2"].shape == batch.inputs.shape for batch in batches)
        assert not torch.equal(batches[0].further["view2"], batches[0].inputs)
        later = list(Loader(stream, batch_size=8, augment=augment, needs={"view2"}).epoch(0, start=3))
        assert torch.equal(later[0].further["view2"], batches[3].further["view2"])
    with pytest.raises(InputError, match="needs a set that is not streamed"):
        Loader(stream, batch_size=8, augment=PLAIN, needs={"same_class"})


def test_wrong_needs(pictures):
    with pytest.raises(InputError, match="cannot carry 'view1'; they can: same_class, view2, view3"):
        Loader(pictures, batch_size=4, augment=None, needs={"view1"})
    with pytest.raises(InputError, match=r"set augment.mixup and augment.cutmix to 0"):
        Loader(pictures, batch_size=4, augment=MIXED, needs={"same_class"})
    assert list(view_copies({"view12", "view2"})) == ["inputs", "view12", "view2"]
    assert len(set(view_copies({"view12", "view2"}).values())) == 3
