"""Tiny pictures with masks or boxes, and recipes of whole runs on them that take seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limbeck.recipe import Recipe, parse_recipe

FAKE = "limbeck.testing:FakeDevice,base_ms=0.1,ms_per_million_macs=0.2"
SIZE = (32, 48)
COLOURS = np.array([[40, 90, 60], [220, 60, 50], [60, 70, 230]], np.uint8)


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int, int, int]]]:
    """A picture with one or two rectangles, its mask (0 ground, 1 red, 2 blue; a void edge), and class, x1, y1, x2, y2."""
    draw = np.random.default_rng(seed)
    mask = np.zeros(SIZE, np.uint8)
    boxes = []
    for shape in range(1 + seed % 2):
        label = 1 + (seed + shape) % 2
        height, width = draw.integers(10, 18, 2).tolist()
        top = int(draw.integers(0, SIZE[0] - height))
        left = int(24 * shape + draw.integers(0, 24 - min(width, 23)))
        right, bottom = min(left + width, SIZE[1]), top + height
        mask[top:bottom, left:right] = label
        boxes.append((label - 1, left, top, right, bottom))
    noise = draw.integers(-25, 26, (*SIZE, 3))
    picture = np.clip(COLOURS[mask].astype(int) + noise, 0, 255).astype(np.uint8)
    mask[:, 0] = 255
    return picture, mask, boxes


def masks_folder(root: Path, counts: dict[str, int]) -> Path:
    """Pictures and masks in folders, split by split."""
    seed = 0
    for split, count in counts.items():
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
        for _ in range(count):
            picture, mask, _ = scene(seed)
            Image.fromarray(picture).save(root / split / "images" / f"{seed:03d}.png")
            Image.fromarray(mask).save(root / split / "masks" / f"{seed:03d}.png")
            seed += 1
    (root / "classes.txt").write_text("ground\nred\nblue\n")
    return root


def boxes_folder(root: Path, counts: dict[str, int]) -> Path:
    """The same pictures as COCO has them: folders of pictures, and one file of boxes per split."""
    seed = 0
    (root / "annotations").mkdir(parents=True)
    for split, count in counts.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        (root / split).mkdir()
        for _ in range(count):
            picture, _, boxes = scene(seed)
            Image.fromarray(picture).save(root / split / f"{seed:03d}.png")
            images.append({"id": seed, "file_name": f"{seed:03d}.png", "height": SIZE[0], "width": SIZE[1]})
            for label, left, top, right, bottom in boxes:
                box = [left, top, right - left, bottom - top]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": seed, "category_id": label + 1, "bbox": box, "iscrowd": 0}
                    | {"area": box[2] * box[3]}
                )
            seed += 1
        tree = {"images": images, "annotations": annotations}
        tree["categories"] = [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(tree))
    return root


def run_quickly(recipe: Recipe, folder: Path) -> None:
    """A whole run whose deliverables are traced as probes are, in a tenth of the time, to a graph of the same operators."""
    from limbeck.export import onnx
    from limbeck.pipeline.run import run_students

    whole = onnx._export
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "_export", lambda *args, **options: whole(*args, **(options | {"quick": True})))
        run_students(recipe, folder)


def places_recipe(
    task: str, data: dict[str, Any], student: str, teacher: str, *, method: str = "kd", **export: Any
) -> Recipe:
    """A whole run of two epochs; `export` changes that section."""
    training = {"epochs": 2, "threads": 1, "batch_size": 8, "learning_rate": 0.05}
    tree = {
        "name": task,
        "task": task,
        "data": {"image_size": list(SIZE), **data},
        "augment": {"crop": "none"},
        "teacher": {"model": teacher, "width_multiplier": 0.35, "train": training},
        "student": {"model": student, "width_multiplier": 0.35},
        "train": training,
        "budget": {"target": FAKE},
        "distill": {"method": method},
        "baselines": {"plain": False},
        "export": {"calibration_pictures": 8, "max_int8_drop": 1.0, **export},
        "measure": {"warmup": 1, "runs": 20},
    }
    return parse_recipe(tree, where="test")
