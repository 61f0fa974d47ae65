"""Recipes of whole runs on a tiny set of made signals; they take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from places_run import FAKE

from limbeck.recipe import Recipe, parse_recipe

__all__ = ["CLASSES", "SNRS", "radio_recipe"]

CLASSES, SNRS = ("BPSK", "QPSK", "WBFM"), (-4.0, 0.0, 18.0)
TRAINING = {"epochs": 2, "threads": 1, "batch_size": 32, "optimizer": "adamw", "learning_rate": 4e-3}


def radio_recipe(home: Path, **changes: Any) -> Recipe:
    """A whole run of two epochs on 324 frames of 64 samples; `changes` replace sections."""
    options = {"frames_per_cell": 36, "classes": list(CLASSES), "snrs": list(SNRS), "length": 64}
    tree = {
        "name": "radio",
        "task": "modulation",
        "data": {"name": "radio", "path": str(home), "options": options, "test": 0.25, "validation": 0.2},
        "augment": {"rotate": "any"},
        "teacher": {"model": "clst_s", "train": TRAINING},
        "student": {"model": "kd_cnn"},
        "train": TRAINING,
        "budget": {"target": FAKE},
        "distill": {"method": "skd"},
        "baselines": {"plain": False},
        "export": {"calibration_pictures": 32, "max_int8_drop": 1.0},
        "measure": {"warmup": 1, "runs": 20},
    }
    return parse_recipe({**tree, **changes}, where="test")
