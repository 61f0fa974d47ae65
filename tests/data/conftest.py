"""Small pictures made on the spot."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)


def _noise(seed, height=12, width=10):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def noise():
    """Seed -> a picture of its own, [12, 10, 3] uint8."""
    return _noise


@pytest.fixture
def png():
    """Seed -> the bytes of a PNG file."""

    def make(seed, **size):
        buffer = io.BytesIO()
        Image.fromarray(_noise(seed, **size)).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def write_classes(png):
    """Write `count` pictures for each class below a folder; each picture differs from all others."""
    made = iter(range(10**6))

    def write(root, classes, count, below=""):
        for name in classes:
            folder = root / name / below
            folder.mkdir(parents=True, exist_ok=True)
            for place in range(count):
                (folder / f"{place:03}.png").write_bytes(png(next(made)))
        return root

    return write
