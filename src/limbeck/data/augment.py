"""Random changes of training pictures. One function draws them, as a pure function of (seed, view, index); another
applies them.

What does not live here: learned and random policies (`policies`), brightness and noise (`retouch`), mixing two pictures
(`mixing`), batches (`batches`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from limbeck.data.draws import Draws
from limbeck.data.placement import (
    Window,
    combine,
    cut_window,
    resized_window,
    scaled_window,
    turned_affine,
    warp,
)
from limbeck.data.policies import apply_policy, check_policy, check_rand_augment
from limbeck.data.retouch import Retouch, apply_retouch, check_retouching, draw_retouch
from limbeck.errors import InputError
from limbeck.pictures import window_affine

__all__ = ["Augment", "Drawn", "Stream", "apply_augmentation", "augmentation_affine", "draw_augmentation"]


@dataclass(frozen=True)
class Augment:
    """How training pictures are changed at random; `rotate`, and `crop` where it says so, are what signals know.

    Attributes:
        crop: `none` = all of the picture, as it lies; `shift` = moved by up to `padding` of the side, black where it
            leaves the picture (a signal moves in time, around its ends); `resized` = random resized crop; `scaled` =
            enlarged or reduced by a factor in `zoom` and cut, black where it leaves the picture; `ssd` = a window that
            some box overlaps enough (`ssd_crop`), for pictures with boxes; `turned` = turned about its middle by up to
            `turn`, enlarged or reduced by a factor in `zoom` and moved by up to `padding` of the side, black where
            nothing of the picture was kept.
        padding: share of the side, for `shift` and `turned`.
        scale: range of the area that `resized` keeps.
        zoom: range of the factor of `scaled` and `turned`.
        turn: degrees to either side, for `turned`.
        flip: mirror left and right, half of the time.
        rand_augment: (operations, magnitude from 0 to 30) of torchvision's RandAugment; None = off.
        auto_augment: AutoAugment's policy `imagenet`, `cifar10` or `svhn`, or one in timm's notation, such as
            `timm:rand-m9-mstd0.5`; None = off.
        erase: probability of random erasing.
        gamma: range of the exponent of brightness, drawn evenly on its logarithm; None = off.
        blur: greatest standard deviation of a Gaussian blur, in pixels of the output; 0 = off.
        noise: greatest standard deviation of Gaussian noise, in [0, 1] of the full range; 0 = off.
        mixup: alpha of mixup; 0 = off. With cutmix too, each picture gets one of the two, even odds.
        cutmix: alpha of cutmix; 0 = off.
        rotate: the phase of signals: `any` = turned by any angle, `quarter` = by one of 0, 90, 180, 270 degrees.

    Raises:
        InputError: RandAugment out of range, an unknown policy, or both; a range that is none.
    """

    crop: Literal["none", "shift", "resized", "scaled", "ssd", "turned"] = "shift"
    padding: float = 0.125
    scale: tuple[float, float] = (0.35, 1.0)
    zoom: tuple[float, float] = (0.5, 2.0)
    turn: float = 0.0
    flip: bool = True
    rand_augment: tuple[int, int] | None = None
    auto_augment: str | None = None
    erase: float = 0.0
    gamma: tuple[float, float] | None = None
    blur: float = 0.0
    noise: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    rotate: Literal["none", "quarter", "any"] = "none"

    def __post_init__(self) -> None:
        if self.rand_augment is not None and self.auto_augment is not None:
            raise InputError("augment: rand_augment and auto_augment are two policies; give one")
        if self.rand_augment is not None:
            check_rand_augment(*self.rand_augment)
        if self.auto_augment is not None:
            check_policy(self.auto_augment)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise InputError(
                f"augment.scale = {list(self.scale)}: expected a range of shares of the area, such as [0.35, 1]"
            )
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise InputError(f"augment.zoom = {list(self.zoom)}: expected a range of factors above 0, such as [0.5, 2]")
        check_retouching(self.gamma, self.blur, self.noise)
        if self.turn and self.crop != "turned":
            raise InputError(f"augment.turn = {self.turn}: is for augment.crop = turned, not {self.crop}")

    @property
    def policy(self) -> str | tuple[int, int] | None:
        """What `apply_policy` takes; None = no policy."""
        return self.auto_augment or self.rand_augment

    @property
    def mixes(self) -> bool:
        """Whether two pictures are mixed, so that targets are rows of class shares."""
        return self.mixup > 0 or self.cutmix > 0

    def refusal_with_targets(self) -> str | None:
        """Why pictures that are annotated place by place cannot be changed so, or None where they can."""
        if self.mixes:
            return "augment.mixup and augment.cutmix mix pictures of one class each; set them to 0"
        if self.policy:
            name = "auto_augment" if self.auto_augment else "rand_augment"
            return f"augment.{name} moves pixels away from their annotations; leave it out"
        return None


class Stream(IntEnum):
    """What each random number is for. Only ever append: the numbers are part of what a seed means."""

    SHIFT_DOWN = 0
    SHIFT_RIGHT = 1
    CROP_AREA = 2
    CROP_RATIO = 3
    CROP_DOWN = 4
    CROP_RIGHT = 5
    FLIP = 6
    POLICY = 7
    ERASE = 8
    ERASE_AREA = 9
    ERASE_RATIO = 10
    ERASE_DOWN = 11
    ERASE_RIGHT = 12
    MIX_KIND = 13
    MIX_SHARE = 14
    MIX_DOWN = 15
    MIX_RIGHT = 16
    PARTNER = 17
    PARTNER_CLASS = 18
    SAME_CLASS = 19
    SCALE = 20
    SSD_CROP = 21
    ROTATE = 22
    TURN = 23
    GAMMA = 24
    BLUR = 25
    NOISE = 26
    NOISE_SEED = 27


@dataclass(frozen=True)
class Drawn:
    """The changes drawn for N pictures; None = that change is off.

    Attributes:
        shift: [N, 2] pixels (down, right) that the window moves.
        crop: [N, 4] area share, log of the aspect (1 = the output's), and where the window lies in what is left over
            (down, right).
        scale: [N, 3] factor, and where the window lies in what is left over (down, right).
        flip: [N] bool.
        policy_seed: [N] seed of the policy's own generator.
        erase: [N, 4] top, left, bottom, right in pixels; empty where nothing is erased.
        windows: of each picture; whoever knows the boxes makes them from `crop_seed`.
        crop_seed: [N] what SSD's crop is drawn from.
        turn: [N, 4] degrees, factor, and pixels that the picture moves (down, right).
        retouch: changes of brightness and sharpness.
    """

    shift: np.ndarray | None
    crop: np.ndarray | None
    flip: np.ndarray | None
    policy_seed: np.ndarray | None
    erase: np.ndarray | None
    scale: np.ndarray | None = None
    crop_seed: np.ndarray | None = None
    windows: Sequence[Window] | None = None
    turn: np.ndarray | None = None
    retouch: Retouch | None = None

    def window(self, place: int, source: tuple[int, int], size: tuple[int, int]) -> Window | None:
        """What is cut out of the picture at `place`, which has the size `source`; None = all of it."""
        if self.windows is not None:
            return self.windows[place]
        if self.crop is not None:
            return resized_window(self.crop[place], source, size)
        return None if self.scale is None else scaled_window(self.scale[place], size)


def draw_augmentation(augment: Augment, size: tuple[int, int], draws: Draws) -> Drawn:
    """Draw the changes of the pictures that `draws` stands for: a pure function of (seed, view, index).

    **Source:** window and area ranges of `resized` as torchvision's RandomResizedCrop; erasing: Zhong et al.,
    "Random Erasing Data Augmentation", arXiv 1708.04896, area 0.02 to 0.33 and aspect 0.3 to 3.3.
    """
    height, width = size
    shift = crop = flip = policy_seed = erase = scale = crop_seed = turn = None
    if augment.crop == "shift":
        down, right = round(augment.padding * height), round(augment.padding * width)
        shift = np.stack(
            [draws.integers(Stream.SHIFT_DOWN, -down, down + 1), draws.integers(Stream.SHIFT_RIGHT, -right, right + 1)],
            axis=1,
        )
    elif augment.crop == "resized":
        low, high = augment.scale
        aspect = math.log(4 / 3)
        crop = np.stack(
            [
                low + (high - low) * draws.uniform(Stream.CROP_AREA),
                aspect * (2 * draws.uniform(Stream.CROP_RATIO) - 1),
                draws.uniform(Stream.CROP_DOWN),
                draws.uniform(Stream.CROP_RIGHT),
            ],
            axis=1,
        )
    elif augment.crop == "scaled":
        low, high = augment.zoom
        factor = low + (high - low) * draws.uniform(Stream.SCALE)
        scale = np.stack([factor, draws.uniform(Stream.CROP_DOWN), draws.uniform(Stream.CROP_RIGHT)], axis=1)
    elif augment.crop == "ssd":
        crop_seed = draws.words(Stream.SSD_CROP)
    elif augment.crop == "turned":
        low, high = augment.zoom
        moved = [draws.uniform(stream) * 2 - 1 for stream in (Stream.TURN, Stream.CROP_DOWN, Stream.CROP_RIGHT)]
        sides = (augment.turn, augment.padding * height, augment.padding * width)
        degrees, *moves = (most * part for most, part in zip(sides, moved, strict=True))
        turn = np.stack([degrees, low + (high - low) * draws.uniform(Stream.SCALE), *moves], axis=1)
    if augment.flip:
        flip = draws.uniform(Stream.FLIP) < 0.5
    if augment.policy:
        policy_seed = draws.words(Stream.POLICY) >> np.uint64(1)
    if augment.erase > 0:
        area = (0.02 + 0.31 * draws.uniform(Stream.ERASE_AREA)) * height * width
        aspect_root = np.exp(np.log(3.3) * (draws.uniform(Stream.ERASE_RATIO) - 0.5))
        tall = np.clip(np.rint(np.sqrt(area) * aspect_root), 1, height).astype(np.int64)
        wide = np.clip(np.rint(np.sqrt(area) / aspect_root), 1, width).astype(np.int64)
        top = draws.integers(Stream.ERASE_DOWN, 0, height - tall + 1)
        left = draws.integers(Stream.ERASE_RIGHT, 0, width - wide + 1)
        hit = (draws.uniform(Stream.ERASE) < augment.erase).astype(np.int64)
        erase = np.stack([top, left, top + tall * hit, left + wide * hit], axis=1)
    words = (Stream.GAMMA, Stream.BLUR, Stream.NOISE, Stream.NOISE_SEED)
    retouch = draw_retouch(augment.gamma, augment.blur, augment.noise, draws, words)
    return Drawn(shift, crop, flip, policy_seed, erase, scale, crop_seed, turn=turn, retouch=retouch)


def apply_augmentation(
    pictures: Sequence[np.ndarray], drawn: Drawn, augment: Augment, size: tuple[int, int]
) -> np.ndarray:
    """[N, H, W, 3] uint8 of N pictures, changed; they have `size`, but for `resized`, `ssd` and `turned` may have any.

    A row-wise copy of whole RGB pixels beats one gather over the batch by two to four times, at 32 as at 224 pixels.
    """
    out = np.zeros((len(pictures), *size, 3), np.uint8)
    for place, picture in enumerate(pictures):
        mirrored = drawn.flip is not None and bool(drawn.flip[place])
        window = drawn.window(place, picture.shape[:2], size)
        if window is not None:
            picture = cut_window(picture, window, size)
        elif drawn.turn is not None:
            picture = warp(picture, _turned(drawn.turn[place], picture.shape[:2], size), size)
        down, right = (0, 0) if drawn.shift is None else drawn.shift[place].tolist()
        _copy_shifted(out[place], np.ascontiguousarray(picture), down, right, mirrored)
        if drawn.policy_seed is not None and augment.policy is not None:
            out[place] = apply_policy(out[place], augment.policy, int(drawn.policy_seed[place]))
        if drawn.retouch is not None:
            out[place] = apply_retouch(out[place], drawn.retouch, place)
        if drawn.erase is not None:
            top, left, bottom, right = drawn.erase[place].tolist()
            if bottom > top:  # with the picture's mean colour: an edge that carries no brightness of its own
                out[place, top:bottom, left:right] = np.rint(out[place].mean(axis=(0, 1)))
    return out


def augmentation_affine(drawn: Drawn, place: int, source: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Where `apply_augmentation` puts the points of the picture at `place`: [2, 3], as `placement` has it.

    Args:
        drawn: the changes.
        place: which picture of the batch.
        source: its (height, width).
        size: (height, width) of the output.
    """
    window = drawn.window(place, source, size)
    affine = np.eye(2, 3) if window is None else window_affine(window, size)
    if drawn.turn is not None:
        affine = _turned(drawn.turn[place], source, size)
    if drawn.shift is not None:
        down, right = drawn.shift[place].tolist()
        affine = combine(affine, np.array([[1.0, 0.0, -right], [0.0, 1.0, -down]]))
    if drawn.flip is not None and bool(drawn.flip[place]):
        affine = combine(affine, np.array([[-1.0, 0.0, size[1]], [0.0, 1.0, 0.0]]))
    return affine


def _turned(turn: np.ndarray, source: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The map of a turned picture of `size` that stands in the middle of one of the size `source`."""
    down, right = (source[0] - size[0]) / 2, (source[1] - size[1]) / 2
    return combine(np.array([[1.0, 0.0, -right], [0.0, 1.0, -down]]), turned_affine(turn, size))


_PIXEL = np.dtype("V3")  # an RGB pixel as one item: copies are then pixel-wise, also mirrored ones


def _copy_shifted(out: np.ndarray, picture: np.ndarray, down: int, right: int, mirrored: bool) -> None:
    """Copy the window that lies (down, right) of the picture, mirrored if so; what is outside the picture stays
    black.
    """
    height, width = out.shape[:2]
    source = picture.view(_PIXEL)[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right), 0]
    if mirrored:
        source, right = source[:, ::-1], -right
    out.view(_PIXEL)[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right), 0] = source
