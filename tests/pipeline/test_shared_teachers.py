"""Trained teachers that other runs take over: which are the same, and where they say what they know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_run import small_recipe

from limbeck.models import create_model, save_network
from limbeck.pipeline import folder as folder_module
from limbeck.pipeline import train as train_module
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.train import keep_trained


def trained(folder: Path) -> dict[str, Any]:
    """A training's stand-in."""
    save_network(create_model("cifar_resnet8", num_classes=10, input_size=16), folder)
    return {"origin": "trained"}


def context(path: Path, **changes: Any) -> Context:
    return Context(small_recipe(search=None, data__limit=20, **changes), RunFolder(path))


def origin(run: Context, inputs: dict[str, Any]) -> str:
    teacher = run.recipe.teacher
    assert teacher is not None
    return keep_trained(run, "train/teacher", teacher, inputs, trained).result["origin"]


def test_a_teacher_of_another_format_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert origin(context(tmp_path / "a"), {"epochs": 1}) == "trained"
    assert origin(context(tmp_path / "b"), {"epochs": 1}) == "reused"
    assert origin(context(tmp_path / "c"), {"epochs": 2}) == "trained"
    for module in (folder_module, train_module):
        monkeypatch.setattr(module, "FORMAT", 999)
    assert origin(context(tmp_path / "d"), {"epochs": 1}) == "trained"


def test_outputs_are_made_on_the_device_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a teacher that is taken over or given, and of a network that trains along, as of one that is trained."""
    asked: list[str] = []
    whole = Context.predict

    def predict(self: Context, network: Any, device: str = "auto") -> Any:
        asked.append(device)
        return whole(self, network, device)

    monkeypatch.setattr(Context, "predict", predict)
    on_cpu = {"epochs": 1, "threads": 1, "device": "cpu"}
    assert origin(context(tmp_path / "a", teacher__train=on_cpu), {}) == "trained"
    assert origin(context(tmp_path / "b", teacher__train=on_cpu), {}) == "reused"
    weights = str(tmp_path / "a" / "stages" / "train" / "teacher")
    assert origin(context(tmp_path / "c", teacher__train=on_cpu, teacher__weights=weights), {}).startswith("given")
    alone = {"train": on_cpu, "baselines": {"plain": False}, "distill__method": "dml", "search": None}
    run_recipe(small_recipe(data__limit=60, **alone), tmp_path / "d", until="distill")
    assert asked == ["cpu"] * 4  # reused, given, the peer, the student
