"""Division of samples: stratified, seeded, never through a group."""

import numpy as np
import pytest

from limbeck.data import class_weights
from limbeck.data.split import choose_rows, hold_out


def test_every_class_gives_its_share():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    kept, held = hold_out(labels, 0.2, seed=3)
    assert np.bincount(labels[held]).tolist() == [20, 10, 2]
    assert sorted([*kept, *held]) == list(range(160))


def test_seed_decides():
    labels = np.repeat([0, 1], 50)
    assert np.array_equal(hold_out(labels, 0.3, seed=1)[1], hold_out(labels, 0.3, seed=1)[1])
    assert not np.array_equal(hold_out(labels, 0.3, seed=1)[1], hold_out(labels, 0.3, seed=2)[1])


def test_small_classes_are_in_both_parts_and_never_emptied():
    labels = np.repeat([0, 1, 2], [3, 2, 1])
    kept, held = hold_out(labels, 0.1, seed=0)
    assert np.bincount(labels[held], minlength=3).tolist() == [1, 0, 0]
    assert set(labels[kept]) == {0, 1, 2}


def test_groups_never_cross_and_classes_stay_near_their_share():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 120, 1000)
    labels = (groups % 4).astype(np.int64)
    for seed in range(5):
        kept, held = hold_out(labels, 0.2, seed=seed, groups=groups)
        assert not set(groups[kept]) & set(groups[held])
        share = np.bincount(labels[held], minlength=4) / np.bincount(labels)
        assert np.abs(share - 0.2).max() < 0.06


def test_one_large_group_is_not_held_out_with_a_whole_class():
    groups = np.array(["a"] * 30 + ["b"] * 10 + ["c"] * 10)
    labels = np.array([0] * 30 + [1] * 10 + [0] * 5 + [1] * 5)
    kept, _ = hold_out(labels, 0.2, seed=0, groups=groups)
    assert set(labels[kept]) == {0, 1}


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 20, 59, 60, 100])
def test_limit_is_exact_and_stratified(limit):
    labels = np.repeat([0, 1, 2], [40, 15, 5])
    rows = choose_rows(labels, limit, seed=0)
    assert len(rows) == min(limit, 60)
    assert len(set(rows)) == len(rows)
    if limit >= 3:
        assert set(labels[rows]) == {0, 1, 2}
    assert np.abs(np.bincount(labels[rows], minlength=3) - np.array([40, 15, 5]) * min(limit, 60) / 60).max() <= 1.01


def test_class_weights_balance():
    labels = np.array([0] * 6 + [1] * 2 + [-1] * 9)
    weights = class_weights(labels, 3)
    assert weights[:2].tolist() == pytest.approx([8 / 12, 8 / 4])
    assert weights[2] == 1
    assert (weights[labels[labels >= 0]]).mean() == pytest.approx(1)
