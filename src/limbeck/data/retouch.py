"""Random changes that move nothing: brightness by an exponent, blur, noise.

What does not live here: changes of place (`augment`, `placement`), policies that draw among many changes (`policies`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from limbeck.data.draws import Draws
from limbeck.errors import InputError

__all__ = ["Retouch", "apply_retouch", "check_retouching", "draw_retouch"]


@dataclass(frozen=True)
class Retouch:
    """The changes drawn for N pictures; None = that change is off.

    Attributes:
        gamma: [N] exponent of brightness in [0, 1].
        blur: [N] standard deviation in pixels.
        noise: [N] standard deviation, in [0, 1] of the full range.
        noise_seed: [N] seed of the noise.
    """

    gamma: np.ndarray | None
    blur: np.ndarray | None
    noise: np.ndarray | None
    noise_seed: np.ndarray | None


def check_retouching(gamma: tuple[float, float] | None, blur: float, noise: float) -> None:
    """Check the ranges.

    Raises:
        InputError: an exponent that is not above 0, a range the wrong way round, or a negative deviation.
    """
    if gamma is not None and not 0 < gamma[0] <= gamma[1]:
        raise InputError(f"augment.gamma = {list(gamma)}: expected a range of exponents above 0, such as [0.5, 2]")
    if blur < 0 or not 0 <= noise <= 1:
        raise InputError(f"augment: blur must not be negative and noise lie in [0, 1], got {blur} and {noise}")


def draw_retouch(
    gamma: tuple[float, float] | None, blur: float, noise: float, draws: Draws, streams: Sequence[int]
) -> Retouch | None:
    """Draw the changes of the pictures that `draws` stands for; None where all are off.

    Args:
        gamma: range of the exponent.
        blur: greatest standard deviation in pixels.
        noise: greatest standard deviation.
        draws: of the pictures.
        streams: what the random numbers of exponent, blur, noise and its seed are drawn from.
    """
    if gamma is None and not blur and not noise:
        return None
    exponent = None
    if gamma is not None:
        low, high = np.log(gamma)
        exponent = np.exp(low + (high - low) * draws.uniform(streams[0]))
    return Retouch(
        exponent,
        blur * draws.uniform(streams[1]) if blur else None,
        noise * draws.uniform(streams[2]) if noise else None,
        draws.words(streams[3]) if noise else None,
    )


def apply_retouch(picture: np.ndarray, drawn: Retouch, place: int) -> np.ndarray:
    """[H, W, 3] uint8 of the picture at `place`, changed: brightness, then blur, then noise."""
    if drawn.gamma is not None:
        table = np.rint(255 * (np.arange(256) / 255) ** float(drawn.gamma[place]))
        picture = table.astype(np.uint8)[picture]
    if drawn.blur is not None:
        picture = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(float(drawn.blur[place]))))
    if drawn.noise is not None and drawn.noise_seed is not None:
        generator = np.random.default_rng(int(drawn.noise_seed[place]))
        noise = generator.standard_normal(picture.shape, np.float32) * np.float32(255 * drawn.noise[place])
        picture = np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)
    return picture
