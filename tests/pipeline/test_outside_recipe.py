"""Parts from outside the package, one of each kind, named in recipes and run end to end: each must really be used."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import FAKE, small_recipe

import limbeck
from limbeck.pipeline.run import run_recipe

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHAPES = ("circle", "square", "triangle")


@pytest.fixture(autouse=True)
def _in_their_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.set_num_threads(1)
    monkeypatch.chdir(EXAMPLES)  # outside parts are looked for in the working directory
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("outside"):
            del sys.modules[name]


def shapes(**further: Any) -> dict[str, Any]:
    data = {
        "name": "outside.my_data:read_shapes",
        "image_size": 16,
        "validation": 0.2,
        "options": {"count": 150, "side": 16},
    }
    return {"data": data, **further}


def stage(run: Path, name: str) -> dict[str, Any]:
    return json.loads((run / "stages" / name / "report.json").read_text())["result"]


def test_data_task_models_method_exporter_and_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[Path] = []
    monkeypatch.syspath_prepend(str(EXAMPLES))
    exporter = importlib.import_module("outside.my_exporter")
    whole = exporter.export_onnx
    monkeypatch.setattr(
        exporter, "export_onnx", lambda net, path, **more: exported.append(path) or whole(net, path, **more)
    )
    recipe = small_recipe(
        **shapes(),
        task="outside.my_task:OrderedClasses",
        teacher={
            "model": "outside.my_model:tiny_resnet",
            "options": {"width": 6},
            "train": {"epochs": 1, "threads": 1},
        },
        student={"model": "outside.my_model:tiny_resnet", "options": {"width": 4}},
        budget={"target": "outside.my_device:ReferenceDevice,rounds=1", "max_params": 20_000},
        search=None,
        distill={"method": "outside.my_method:fading", "options": {"temperature": 2.0}},
        baselines={"plain": False},
        export={"exporter": "outside.my_exporter:export_optimised", "int8": "off"},
        measure={"warmup": 1, "runs": 20},
    )
    report = run_recipe(recipe, tmp_path / "run")
    teacher, student = report["models"]
    assert report["task"] == "outside.my_task:OrderedClasses"
    assert student["primary"]["name"] == "mean_distance"
    assert not student["primary"]["higher_is_better"]
    assert student["measurements"][0]["runtime"] == "onnx.reference"
    assert student["params"] < teacher["params"]
    deployed = limbeck.load(tmp_path / "run")
    assert tuple(deployed.class_names) == SHAPES
    terms = stage(tmp_path / "run", "distill/student")["fit"]["history"][0]["train"]
    assert {"task", "kd", "labels"} <= set(terms)
    assert [path.stem for path in exported] == ["plain", "plain"]  # for teacher and student, before its optimisation


def test_loss_and_space(tmp_path: Path) -> None:
    terms = [
        {"loss": "task"},
        {"loss": "outside.my_loss:jensen_shannon", "name": "js", "options": {"temperature": 3.0}},
    ]
    recipe = small_recipe(
        **shapes(),
        distill={"terms": terms},
        search={
            "space": "outside.my_space:separable",
            "options": {"widths": [8, 12]},
            "trials": 2,
            "batch": 2,
            "proxy": {"epochs": 1},
        },
        baselines={"plain": False},
        export={"int8": "off"},
        budget={"target": FAKE},
    )
    report = run_recipe(recipe, tmp_path / "run")
    study = stage(tmp_path / "run", "search")["study"]
    assert study["space"] == "separable"
    assert all(set(trial["point"]) == {"input_side", "width", "depth", "kernel_size"} for trial in study["trials"])
    assert {trial["point"]["width"] for trial in study["trials"]} <= {8, 12}
    assert "js" in stage(tmp_path / "run", "distill/student")["fit"]["history"][0]["train"]
    assert [model["name"] for model in report["models"]] == ["teacher", "student"]
