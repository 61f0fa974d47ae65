"""One batch of signals by its number: frames as they lie, turned in phase or moved in time where that is asked for.

What does not live here: order, further views, classmates (`batches`), epochs (`loader`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data.augment import Augment, Stream
from limbeck.data.batches import BatchMaker
from limbeck.data.draws import Draws
from limbeck.errors import InputError
from limbeck.types import Batch

__all__ = ["SNR", "SignalBatches", "change_frames", "check_signal_augment"]

SNR = "snr"
"""What batches carry of each frame in `Batch.further`, in dB."""


class SignalBatches(BatchMaker):
    """Makes any batch of a `SignalSet`: [N, 2, T] float32, of the power that the frames have."""

    def assemble(self, *given: Any, **further: Any) -> Batch:
        """As for pictures, and the SNR of each frame beside it where it is known."""
        batch = super().assemble(*given, **further)
        known: Any = self.pictures
        if known.snr is None:
            return batch
        return replace(batch, further={**batch.further, SNR: torch.from_numpy(known.snr[batch.index.numpy()])})

    def _find(self, index: np.ndarray, pictures: list[np.ndarray] | None = None) -> Any:
        source: Any = self.pictures
        return source.samples(index)

    def _change(self, found: Any, draws: Draws) -> Tensor:
        frames = found if self.augment is None else change_frames(found, self.augment, draws)
        return torch.from_numpy(np.ascontiguousarray(frames))


def change_frames(frames: np.ndarray, augment: Augment, draws: Draws) -> np.ndarray:
    """[N, 2, T] frames, changed: a pure function of (seed, view, index).

    **Source:** rotation by quarters: Huang et al., "Data Augmentation for Deep Learning-Based Radio Modulation
    Classification", IEEE Access 2020, arXiv 1912.03026.
    """
    if augment.crop == "shift":
        most = round(augment.padding * frames.shape[2])
        moved = draws.integers(Stream.SHIFT_RIGHT, -most, most + 1)
        place = (np.arange(frames.shape[2]) - moved[:, None]) % frames.shape[2]
        frames = np.take_along_axis(frames, place[:, None, :], axis=2)
    if augment.rotate == "none":
        return frames
    turn = draws.uniform(Stream.ROTATE)
    angle = 2 * np.pi * (np.floor(4 * turn) / 4 if augment.rotate == "quarter" else turn)
    cosine, sine = (part.astype(np.float32)[:, None] for part in (np.cos(angle), np.sin(angle)))
    real, imaginary = frames[:, 0], frames[:, 1]
    return np.stack([real * cosine - imaginary * sine, real * sine + imaginary * cosine], axis=1)


def check_signal_augment(name: str, augment: Augment | None, *, joins: bool) -> None:
    """Refuse what only pictures know.

    Args:
        name: of the data set.
        augment: how frames are to be changed.
        joins: whether unlabelled samples are to join them.

    Raises:
        InputError: something is asked for that signals do not have.
    """
    if joins:
        raise InputError(f"data '{name}': unlabelled pictures cannot join signals; leave data.unlabelled out")
    if augment is None:
        return
    for field, is_asked, instead in (
        ("crop", augment.crop not in ("none", "shift"), "; of signals it is none or shift"),
        ("flip", augment.flip, ", which would turn a spectrum around; set it to false"),
        ("rand_augment", augment.rand_augment is not None, "; leave it out"),
        ("auto_augment", augment.auto_augment is not None, "; leave it out"),
        ("erase", augment.erase > 0, "; leave it out"),
        ("gamma", augment.gamma is not None, "; leave it out"),
        ("blur", augment.blur > 0, "; leave it out"),
        ("noise", augment.noise > 0, "; leave it out"),
        ("mixup", augment.mixup > 0, "; leave it out"),
        ("cutmix", augment.cutmix > 0, "; leave it out"),
    ):
        if is_asked:
            raise InputError(f"augment.{field} = {getattr(augment, field)!r}: is for pictures{instead}")
