"""Tiny faces of five points, and recipes of whole runs on them that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from limbeck.recipe import Recipe, parse_recipe

FAKE = "limbeck.testing:FakeDevice,base_ms=0.1,ms_per_million_macs=0.2"
SIDE = 48
SHAPE = np.array([[-9.0, -6], [9, -6], [0, 1], [-6, 8], [6, 8]])  # eyes, nose, corners of the mouth
COLOURS = [(40, 60, 200), (40, 60, 200), (210, 120, 40), (200, 30, 60), (200, 30, 60)]
OPTIONS = {
    "crop": "gt_box",
    "pad": 0.3,
    "mirrored": [[0, 1], [3, 4]],
    "normalizers": {"inter_ocular": [0, 1], "inter_pupil": [[0, 3], [1, 4]]},
}


def face(seed: int) -> tuple[Image.Image, np.ndarray]:
    """A picture with five dots, and where they are, [5, 2] in pixels."""
    draw = np.random.default_rng(seed)
    turn, scale = draw.normal(0, 0.15), draw.uniform(0.8, 1.1)
    wide = np.array([draw.uniform(0.85, 1.15), 1.0])
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = scale * (SHAPE * wide) @ spin + SIDE / 2 + draw.uniform(-5, 5, 2)
    image = Image.fromarray(draw.integers(150, 190, (SIDE, SIDE, 3)).astype(np.uint8))
    canvas = ImageDraw.Draw(image)
    for (x, y), colour in zip(points.tolist(), COLOURS, strict=True):
        canvas.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=colour)
    return image, points


def faces_folder(root: Path, counts: dict[str, int]) -> Path:
    """Faces with a `.pts` file each, split by split, in two folders that are the parts of the set."""
    seed = 0
    for split, count in counts.items():
        for _ in range(count):
            image, points = face(seed)
            folder = root / split / ("studio" if seed % 2 else "street")
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{seed:03d}.png")
            lines = "\n".join(f"{x + 0.5:.4f} {y + 0.5:.4f}" for x, y in points.tolist())
            (folder / f"{seed:03d}.pts").write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}\n}}\n")
            seed += 1
    return root


def faces_tree(data: Path, **changes: Any) -> dict[str, Any]:
    """A whole run of two teachers and a student; `changes` replace sections."""
    training = {"epochs": 2, "threads": 1, "batch_size": 16, "learning_rate": 0.02}
    teacher = {"model": "mobilenet_v2", "width_multiplier": 0.35}
    return {
        "name": "faces",
        "task": "landmarks",
        "data": {"name": "pts", "path": str(data), "image_size": 32, "options": OPTIONS},
        "augment": {"crop": "turned", "turn": 10, "zoom": [0.95, 1.05], "padding": 0.02, "flip": True},
        "teacher": {
            **teacher,
            "train": {**training, "loss": "landmark_l2"},
            "more": [{**teacher, "train": {**training, "loss": "landmark_l2", "soft_targets": 0.9}}],
        },
        "student": {"model": "mobilenet_v3_small", "width_multiplier": 0.35},
        "train": training,
        "distill": {"method": "two_teacher"},
        "budget": {"target": FAKE},
        "export": {"calibration_pictures": 8, "max_int8_drop": 1.0},
        "measure": {"warmup": 1, "runs": 20},
        **changes,
    }


def faces_recipe(data: Path, **changes: Any) -> Recipe:
    """The same as a recipe."""
    return parse_recipe(faces_tree(data, **changes), where="test")
