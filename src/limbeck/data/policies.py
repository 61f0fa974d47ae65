"""Augmentation policies of the literature by name, each a function of a picture and a seed: RandAugment, AutoAugment, and
whatever timm's notation says.

What does not live here: when a policy comes (`augment`), and where its seed is from (`draws`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from limbeck.errors import InputError, unknown_name

__all__ = ["apply_policy", "check_policy", "check_rand_augment"]

POLICIES = ("imagenet", "cifar10", "svhn")  # AutoAugment's, learned on those sets
MAGNITUDES = 30  # torchvision's scale ends here; timm's own notation counts to 10
TIMM = re.compile(
    r"rand(-(m\d+|n[1-9]\d*|p[01](\.\d+)?|mstd\d+(\.\d+)?|mmax\d+|inc[01]))*|(original|v0)r?(-mstd\d+(\.\d+)?)?"
)
GREY = (124, 116, 104)  # ImageNet's mean, which timm fills with what a picture was moved away from


def check_policy(name: str) -> None:
    """Check the name of a policy.

    Raises:
        InputError: neither one of `POLICIES` nor a policy in timm's notation.
    """
    library, colon, text = name.partition(":")
    if colon and library == "timm":
        if not TIMM.fullmatch(text):
            raise InputError(
                f"augment.auto_augment: '{name}': cannot read '{text}'; timm's notation is rand, original, originalr, v0 "
                f"or v0r, then for rand -mN, -nN, -pP, -mstdS, -mmaxN, -inc1 (such as timm:rand-m9-mstd0.5)"
            )
    elif name not in POLICIES:
        raise unknown_name("policy", name, (*POLICIES, "timm:rand-m9-mstd0.5"), where="augment.auto_augment")


def check_rand_augment(operations: int, magnitude: int) -> None:
    """Check the setting of torchvision's RandAugment.

    Raises:
        InputError: no operation, or a magnitude outside 0 to 30.
    """
    if operations < 1 or not 0 <= magnitude <= MAGNITUDES:
        raise InputError(
            f"augment.rand_augment = [{operations}, {magnitude}]: must be at least one operation, at a magnitude of 0 to "
            f"{MAGNITUDES}"
        )


def apply_policy(picture: np.ndarray, policy: str | tuple[int, int], seed: int) -> np.ndarray:
    """[H, W, 3] uint8, changed: a pure function of its arguments. The process's generators are left as they were.

    Args:
        picture: [H, W, 3] uint8.
        policy: a name as in `check_policy`, or (operations, magnitude) of RandAugment.
        seed: below 2^63.

    **Source:** AutoAugment: Cubuk et al., arXiv 1805.09501; RandAugment: Cubuk et al., arXiv 1909.13719, both as
    torchvision has them; timm's notation and operations as timm has them.
    """
    change = _change(policy, min(picture.shape[:2]))
    with _seeded(seed, own=not isinstance(policy, str) or policy in POLICIES):
        return np.asarray(change(Image.fromarray(picture)))


@contextmanager
def _seeded(seed: int, *, own: bool) -> Iterator[None]:
    """The generators that the library draws from (`own`: torch's; otherwise Python's and NumPy's), seeded meanwhile."""
    import torch

    if own:
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reset every accelerator's generator
        try:
            yield
        finally:
            torch.set_rng_state(before)
        return
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@lru_cache
def _change(policy: str | tuple[int, int], side: int) -> Any:
    from torchvision.transforms import v2

    if not isinstance(policy, str):
        return v2.RandAugment(num_ops=policy[0], magnitude=policy[1])
    if policy in POLICIES:
        return v2.AutoAugment(v2.AutoAugmentPolicy(policy))
    from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

    text = policy.partition(":")[2]
    make = rand_augment_transform if text.startswith("rand") else auto_augment_transform
    return make(text, {"translate_const": int(0.45 * side), "img_mean": GREY})
