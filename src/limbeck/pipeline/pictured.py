"""Pictures as text that a page can hold. What is pictured is the problems' to say."""

from __future__ import annotations

import base64
import colorsys
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["FOUND", "TRUE", "data_uri", "draw_boxes", "draw_points", "legend_of", "line_colours", "side_by_side"]

TRUE, FOUND = (90, 230, 120), (255, 70, 200)
"""Colours of true and of found points, as R, G and B: apart from skin, and from each other without red and green."""


def data_uri(picture: np.ndarray, *, side: int = 96) -> str:
    """[H, W, 3] uint8 -> a PNG data URI of about `side` pixels; small pictures are enlarged without smoothing."""
    return _encoded(_resized(picture, side), "PNG")


def draw_boxes(picture: np.ndarray, boxes: np.ndarray, colours: np.ndarray, *, side: int = 260) -> np.ndarray:
    """[H, W, 3] uint8: a picture of about `side` pixels at its larger side with the outlines of boxes on it.

    Args:
        picture: [h, w, 3] uint8.
        boxes: [M, 4] x1, y1, x2, y2 as shares of the picture.
        colours: [M, 3] uint8.
        side: in pixels.
    """
    image = _resized(picture, side, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    corners = boxes * np.array([image.width - 1, image.height - 1] * 2)
    for corner, colour in zip(corners.tolist(), colours.tolist(), strict=True):
        draw.rectangle(corner, outline=tuple(colour), width=2)
    return np.asarray(image)


def draw_points(picture: np.ndarray, true: np.ndarray, found: np.ndarray, *, side: int = 440) -> np.ndarray:
    """[H, W, 3] uint8: a picture of about `side` pixels with true points, found ones, and a line from each to its own.

    Args:
        picture: [h, w, 3] uint8.
        true: [L, 2] as shares of the picture; those with a NaN are not drawn.
        found: [L, 2] likewise.
        side: in pixels.
    """
    image = _resized(picture, side, Image.Resampling.BICUBIC)
    draw, unit = ImageDraw.Draw(image), np.array(image.size)
    known = ~np.isnan(true).any(1)
    for truth, guess in zip((true * unit)[known].tolist(), (found * unit)[known].tolist(), strict=True):
        draw.line([*truth, *guess], fill=(255, 255, 255), width=1)
    radius = max(2.0, side / 130)
    for points, colour in ((true[known], TRUE), (found, FOUND)):
        for x, y in (points * unit).tolist():
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline=(20, 20, 20))
    return np.asarray(image)


def legend_of(names: Sequence[str], colours: np.ndarray) -> list[dict[str, str]]:
    """A name and a patch of its colour each; `colours` may be more than the names."""
    return [
        {"name": name, "image": data_uri(np.full((4, 4, 3), colour), side=12)}
        for name, colour in zip(names, colours, strict=False)
    ]


def line_colours(count: int) -> np.ndarray:
    """[count, 3] uint8 bright colours, as far from each other in hue as so many can be."""
    hues = np.arange(count) / max(1, count)
    return np.array([[round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.75, 1.0)] for hue in hues], np.uint8)


def side_by_side(parts: Sequence[np.ndarray], *, side: int = 260, gap: int = 4) -> str:
    """Pictures of one size, each [H, W, 3] uint8, in a row: a JPEG data URI, each about `side` pixels at its larger side."""
    images = [_resized(part, side) for part in parts]
    width, height = images[0].size
    row = Image.new("RGB", (len(images) * width + (len(images) - 1) * gap, height), "white")
    for place, image in enumerate(images):
        row.paste(image, (place * (width + gap), 0))
    return _encoded(row, "JPEG", quality=88)


def _resized(picture: np.ndarray, side: int, resampling: Image.Resampling | None = None) -> Image.Image:
    """About `side` pixels at its larger side; without `resampling` a smaller picture is enlarged without smoothing."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if resampling is None:
        resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return image.resize(size, resampling)


def _encoded(image: Image.Image, form: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=form, optimize=True, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(buffer.getvalue()).decode()
