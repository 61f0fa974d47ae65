"""A recipe of the whole pipeline that takes seconds; `tests/conftest.py` makes one finished run of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from limbeck.recipe import Recipe, parse_recipe

FAKE = "limbeck.testing:FakeDevice,base_ms=0.1,ms_per_million_macs=0.2"


def small_tree(**changes: object) -> dict:
    """A recipe that takes seconds: few digits, small networks, one or two epochs, a device with known latencies."""
    tree: dict = {
        "name": "small",
        "data": {"name": "digits", "image_size": 16, "limit": 200, "validation": 0.2},
        "augment": {"flip": False},
        "teacher": {"model": "mobilenet_v2", "width_multiplier": 0.25, "train": {"epochs": 1, "threads": 1}},
        "student": {"model": "mobilenet_v3_small", "width_multiplier": 0.35},
        "train": {"epochs": 1, "threads": 1},
        "budget": {"target": FAKE, "max_latency_ms": 2.0},
        "search": {"trials": 2, "batch": 2, "proxy": {"epochs": 1}},
        "distill": {"method": "nkd"},
        "export": {"calibration_pictures": 32, "max_int8_drop": 1.0},
    }
    for dotted, value in changes.items():
        keys = dotted.split("__")
        place = tree
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if value is None:
            place.pop(keys[-1], None)
        else:
            place[keys[-1]] = value
    return tree


def small_recipe(**changes: object) -> Recipe:
    """`small_tree`, checked; `section__field=value` changes a field, None removes it."""
    return parse_recipe(small_tree(**changes), where="test")


@contextlib.contextmanager
def without_files() -> Iterator[None]:
    """Whole runs with stand-ins for `export` and `measure`: tracing takes most of a small run's time."""
    from limbeck.pipeline import run
    from limbeck.pipeline.folder import StageRecord

    exported: list[str] = []

    def export(context: Any, models: dict[str, str], upstream: dict[str, Any]) -> StageRecord:
        artifacts = {name: {"path": f"{name}.onnx"} for name in models}
        exported[:] = models
        return StageRecord("export", "", {}, {"artifacts": artifacts, "parity": [], "int8": None}, 0.0)

    def measure(context: Any, upstream: dict[str, Any]) -> StageRecord:
        timed = {"size_bytes": 1000, "latency_ms": {"median": 1.0, "p90": 1.0, "iqr": 0.0, "n": 20}}
        return StageRecord("measure", "", {}, {"measurements": {name: [timed] for name in exported}}, 0.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "export", export)
        patch.setattr(run, "measure", measure)
        yield


def run_to_report(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """A whole run `without_files`."""
    from limbeck.pipeline.run import run_recipe

    with without_files():
        return run_recipe(recipe, folder)
