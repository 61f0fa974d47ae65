"""Parts from outside the package, one of each kind, named in recipes and run end to end: each must really be used."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_run import FAKE, small_recipe

import limbeck
from limbeck.errors import InputError
from limbeck.models import create_model, load_network, save_network
from limbeck.pipeline import resolve as resolve_module
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.predict import predict_files
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


MODULES = {
    "space": "outside.my_module_space:residual",
    "options": {"widths": [4, 6]},
    "trials": 3,
    "batch": 3,
    "proxy": {"epochs": 1},
}


def test_a_space_of_modules_from_search_to_predictions(tmp_path: Path) -> None:
    """Its candidates inherit by name, the best is retrained, taught by its stages, exported, and loaded again from its point."""
    create = importlib.import_module("limbeck.search").open_space
    seed = create(MODULES["space"], reference="-", num_classes=3, picture_size=16, widths=[6])
    network = seed.network(seed.reference)
    network.normalise_by([0.3] * 3, [0.2] * 3)
    save_network(network, tmp_path / "seed")
    recipe = small_recipe(
        **shapes(),
        search=MODULES | {"retrain_top": 2, "seed_weights": str(tmp_path / "seed")},
        distill={"method": "fitnet"},
        baselines={"plain": False},
        export={"int8": "off"},
        budget={"target": FAKE},
    )
    report = run_recipe(recipe, tmp_path / "run")
    found = stage(tmp_path / "run", "search")
    assert found["study"]["size"] == 16
    assert [trial["state"] for trial in found["study"]["trials"]] == ["complete"] * 3
    assert all(trial["rows"] is None and trial["macs"] > 0 for trial in found["study"]["trials"])
    assert len(found["study"]["retrained"]) == 2
    student = load_network(tmp_path / "run" / "stages" / "distill" / "student")
    architecture = student.architecture()
    assert (architecture["kind"], architecture["name"]) == ("space", MODULES["space"])
    assert architecture["point"] == found["study"]["best"]["point"]
    assert architecture["mean"] == [0.3] * 3  # came with the seed's weights
    assert [model["params"] for model in report["models"]][1] == student.params()
    picture = tmp_path / "picture.png"
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(picture)
    (told,) = predict_files(str(tmp_path / "run"), [picture])
    with torch.no_grad():
        said = student.eval()(torch.full((1, 3, 16, 16), 90 / 255))[0]
    assert SHAPES[int(said.argmax())] == told["label"]


def test_what_needs_tables_refuses_modules_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "check_latency_table", lambda *given, **more: None)
    (table := tmp_path / "latencies.json").touch()
    told = "search.space 'outside.my_module_space:residual' builds networks that are no tables"
    for changes, start in (
        ({"search": MODULES, "adapt": {"max_latency_ms": 0.2}}, "adapt: "),
        ({"search": MODULES | {"latency": "table", "latency_table": str(table)}}, "search.latency = 'table': "),
    ):
        recipe = small_recipe(**shapes(), **changes, teacher=None, distill=None, budget={"target": FAKE})
        with pytest.raises(InputError, match=start + told) as caught:
            resolve_module.resolve(Context(recipe, RunFolder(tmp_path / "run")))
        assert "\n" not in str(caught.value)


def test_a_seed_that_is_no_like_module_is_left_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(
        create_model("mobilenet_v3_small", num_classes=3, input_size=16, width_multiplier=0.35), tmp_path / "seed"
    )
    section = MODULES | {"trials": 1, "batch": 1, "seed_weights": str(tmp_path / "seed")}
    recipe = small_recipe(**shapes(), search=section, teacher=None, distill=None, budget={"target": FAKE})
    run_recipe(recipe, tmp_path / "run", until="search")
    assert "candidates start fresh: inherit_weights: both networks must be built from tables" in capsys.readouterr().err
