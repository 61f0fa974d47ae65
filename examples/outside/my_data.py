"""A data set of your own: drawn shapes. In a recipe: `[data] name = "my_data:read_shapes"`, `options = {count = 600}`.

A reader returns the pictures and labels as it finds them; Limbeck looks at them, splits them and reports what is wrong.
It is handed those fields of `[data]` that its signature names (`path`, `seed`, ...), and `data.options`.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from limbeck.data import RawData, RawSplit

SHAPES = ("circle", "square", "triangle")


def read_shapes(*, count: int = 600, side: int = 32, seed: int = 0) -> RawData:
    """`count` pictures of one shape each: place, size, colours and noise are drawn from `seed`."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(SHAPES)
    pictures = np.stack([draw_shape(SHAPES[label], side, generator) for label in labels])
    return RawData({"train": RawSplit(pictures, labels)}, class_names=SHAPES, image_size=(side, side))


def draw_shape(shape: str, side: int, generator: np.random.Generator) -> np.ndarray:
    """[side, side, 3] uint8."""
    ground, ink = generator.integers(0, 110, 3), generator.integers(145, 256, 3)
    picture = Image.new("RGB", (side, side), tuple(int(value) for value in ground))
    radius = generator.uniform(0.2, 0.4) * side
    x, y = generator.uniform(radius, side - radius, 2)
    pen, colour = ImageDraw.Draw(picture), tuple(int(value) for value in ink)
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        pen.regular_polygon((x, y, radius), n_sides=4 if shape == "square" else 3, fill=colour)
    noisy = np.asarray(picture) + generator.normal(0, 12, (side, side, 3))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
