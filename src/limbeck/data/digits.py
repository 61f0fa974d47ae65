"""The handwritten digits that ship with scikit-learn: 1797 real scans, ten classes, no network needed."""

from __future__ import annotations

import numpy as np

from limbeck.data.raw import RawData, RawSplit

__all__ = ["read_digits"]


def read_digits() -> RawData:
    """The 8x8 scans as [1797, 8, 8] uint8, white ink on black; shown at 32x32 (bilinear), which convolutional
    networks can halve a few times.

    **Source:** Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits" (test part), UCI repository, 1998;
    via scikit-learn.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # the set counts ink in 17 steps, 0 to 16
    return RawData(
        {"train": RawSplit(pixels, digits.target.astype(np.int64))},
        class_names=[str(name) for name in digits.target_names],
        image_size=(32, 32),
    )
