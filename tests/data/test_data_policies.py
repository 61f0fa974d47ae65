"""Policies of the literature: the libraries' own results under a seed, any company, no trace in the process."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import auto_augment_transform, rand_augment_transform
from torchvision.transforms import v2

from limbeck.data.augment import Augment
from limbeck.data.policies import apply_policy
from limbeck.errors import InputError

EVERY = ["imagenet", "cifar10", "svhn", "timm:rand-m9-mstd0.5-inc1", "timm:original", "timm:v0r-mstd0.5", (2, 9)]


@pytest.mark.parametrize("policy", EVERY)
def test_a_seed_decides_and_the_process_is_left_as_it_was(policy, noise) -> None:
    picture = noise(1, 40, 32)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    first = [apply_policy(picture, policy, seed) for seed in range(2**62, 2**62 + 8)]
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    again = [apply_policy(picture, policy, seed) for seed in range(2**62, 2**62 + 8)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({one.tobytes() for one in first}) > 3
    assert {(one.shape, one.dtype) for one in first} == {((40, 32, 3), np.dtype(np.uint8))}


def test_autoaugment_is_torchvisions(noise) -> None:
    picture = Image.fromarray(noise(2, 48, 48))
    for name, theirs in (("imagenet", v2.AutoAugmentPolicy.IMAGENET), ("svhn", v2.AutoAugmentPolicy.SVHN)):
        for seed in range(6):
            torch.manual_seed(seed)
            expected = np.asarray(v2.AutoAugment(theirs)(picture))
            assert np.array_equal(apply_policy(np.asarray(picture), name, seed), expected)


def test_timms_notation_is_timms(noise) -> None:
    picture = Image.fromarray(noise(3, 48, 40))
    settings = {"translate_const": 18, "img_mean": (124, 116, 104)}  # as timm's loader sets them for a side of 40
    for make, text in ((rand_augment_transform, "rand-m9-n3-mstd0.5"), (auto_augment_transform, "originalr")):
        theirs = make(text, dict(settings))
        for seed in range(6):
            random.seed(seed), np.random.seed(seed)
            assert np.array_equal(apply_policy(np.asarray(picture), f"timm:{text}", seed), np.asarray(theirs(picture)))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"auto_augment": "imagenet1k"}, "augment.auto_augment: unknown policy 'imagenet1k'; did you mean 'imagenet'"),
        ({"auto_augment": "rand-m9"}, "unknown policy 'rand-m9'; did you mean 'timm:rand-m9-mstd0.5'"),
        ({"auto_augment": "timm:rand-magnitude9"}, "cannot read 'rand-magnitude9'"),
        ({"auto_augment": "timm:original-m9"}, "cannot read 'original-m9'"),
        ({"rand_augment": (0, 9)}, r"rand_augment = \[0, 9\]: must be at least one"),
        ({"rand_augment": (2, 31)}, r"at a magnitude of 0 to 30"),
        ({"rand_augment": (2, 9), "auto_augment": "svhn"}, "two policies; give one"),
    ],
)
def test_what_is_no_policy_is_told(setting: dict, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        Augment(**setting)
    assert "\n" not in str(caught.value)
