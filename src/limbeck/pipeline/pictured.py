"""Pictures as text that a page can hold. What is pictured is the problems' to say."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

__all__ = ["data_uri"]


def data_uri(picture: np.ndarray, *, side: int = 96) -> str:
    """[H, W, 3] uint8 -> a PNG data URI of about `side` pixels; small pictures are enlarged without smoothing."""
    image = Image.fromarray(picture)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
