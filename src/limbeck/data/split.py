"""Divide samples: stratified by class, seeded, and never through a group.

What does not live here: pictures; only labels, groups and row numbers are seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from limbeck.data.draws import Draws

__all__ = ["VALIDATION_SALT", "choose_rows", "hold_out", "hold_out_of"]

VALIDATION_SALT = 1_000_003
"""What is added to the seed where validation is held out: another order than the test's."""

_ORDER, _GROUPS, _CHOICE = range(3)


def hold_out(
    labels: np.ndarray, share: float, *, seed: int, groups: Sequence[Any] | np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows into (kept, held out), each sorted; about `share` of every class is held out.

    Of a class with three samples or more at least one is held out, and at least one is always kept. With `groups`,
    whole groups are held out: taken in random order as long as each brings the class counts nearer to their share.
    """
    labels = np.asarray(labels)
    mask = np.zeros(len(labels), bool)
    if groups is not None:
        mask = _mark_groups(labels, share, seed=seed, groups=np.asarray(groups))
    else:
        shuffled = Draws(seed, 0, np.arange(len(labels))).order(_ORDER)
        for label in np.unique(labels):
            members = shuffled[labels[shuffled] == label]
            count = max(round(share * len(members)), 1 if len(members) >= 3 else 0)
            mask[members[: min(count, len(members) - 1)]] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def hold_out_of(
    rows: np.ndarray, labels: np.ndarray, share: float, *, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`hold_out` of some rows of a set alone, whose labels and groups are given for all."""
    mine = None if groups is None else groups[rows]
    kept, held = hold_out(labels[rows], share, seed=seed, groups=mine)
    return rows[kept], rows[held]


def _mark_groups(labels: np.ndarray, share: float, *, seed: int, groups: np.ndarray) -> np.ndarray:
    _, group_of = np.unique(groups, return_inverse=True)
    _, class_of = np.unique(labels, return_inverse=True)
    group_of, class_of = group_of.reshape(-1), class_of.reshape(-1)
    wanted = share * np.bincount(class_of)
    missing = wanted.copy()
    by_group = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    mask = np.zeros(len(labels), bool)
    for group in Draws(seed, 0, np.arange(len(by_group))).order(_GROUPS):
        rows = by_group[group]
        classes, counts = np.unique(class_of[rows], return_counts=True)
        if np.abs(missing[classes] - counts).sum() < np.abs(missing[classes]).sum():
            mask[rows] = True
            missing[classes] -= counts
    if not mask.any() and len(by_group) > 1:  # every group is larger than twice the share: the smallest one then
        mask[min(by_group, key=len)] = True
    return mask


def choose_rows(labels: np.ndarray, limit: int, *, seed: int) -> np.ndarray:
    """Choose `limit` rows, sorted, each class in proportion (largest remainder, but none loses its last sample while
    there is room).
    """
    labels = np.asarray(labels)
    if limit >= len(labels):
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * limit / len(labels)
    quota = np.floor(exact).astype(np.int64)
    if limit >= len(classes):
        quota = np.maximum(quota, 1)
    while quota.sum() > limit:
        quota[np.argmax(quota - exact + (quota <= 1) * -1e9)] -= 1
    for place in np.argsort(quota - exact, kind="stable"):
        if quota.sum() < limit and quota[place] < counts[place]:
            quota[place] += 1
    shuffled = Draws(seed, 0, np.arange(len(labels))).order(_CHOICE)
    chosen = [shuffled[labels[shuffled] == label][:count] for label, count in zip(classes, quota, strict=True)]
    return np.sort(np.concatenate(chosen))
