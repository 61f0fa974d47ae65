"""Pictures, batches and filled caches that last milliseconds."""

import numpy as np

from limbeck.data import Augment, Loader
from limbeck.data.picture_set import PictureSet
from limbeck.data.raw import RawSplit
from limbeck.distill import Frozen, TeacherCache, fill_cache

PLAIN = Augment(crop="shift", padding=0.25, flip=True)
MIXED = Augment(crop="shift", rand_augment=(1, 5), erase=0.3, mixup=0.3, cutmix=1.0)


def picture_set(count=40, *, labels=None, split="train", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(count) % 5 if labels is None else np.asarray(labels)
    names = tuple(f"class{place}" for place in range(5))
    return PictureSet("toy", split, names, labels, (8, 8), "crop", RawSplit(pixels), np.arange(count), pixels)


def loader(pictures=None, *, augment=PLAIN, seed=3, views=2, batch_size=8, **options):
    return Loader(pictures or picture_set(), batch_size=batch_size, augment=augment, seed=seed, views=views, **options)


def filled(home, teacher, batches, views=2, **options):
    cache = TeacherCache(home, teacher, batches, data="digest", **options)
    fill_cache(cache, teacher, batches, views)
    return cache


def said(teacher, batch):
    """What a frozen teacher says in a training."""
    return Frozen(teacher)(batch.to("cpu", channels_last=True), {}).out
