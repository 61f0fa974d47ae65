"""Search and adaptation of networks for signals, which are tables too: what comes out takes raw frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from places_run import run_quickly
from radio_run import CLASSES, SNRS, radio_recipe

import limbeck
from limbeck.files import read_json
from limbeck.models import load_network

TRAINING = {"epochs": 1, "threads": 1, "batch_size": 32, "optimizer": "adamw", "learning_rate": 4e-3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two candidates around KD-MobileNet, the better one made narrower by a step; 108 frames."""
    home = tmp_path_factory.mktemp("searched")
    options = {"frames_per_cell": 12, "classes": list(CLASSES), "snrs": list(SNRS), "length": 64}
    recipe = radio_recipe(
        home,
        data={"name": "radio", "path": str(home), "options": options, "test": 0.25, "validation": 0.2},
        teacher={"model": "kd_cnn", "train": TRAINING},
        student={"model": "kd_mobilenet"},
        train=TRAINING,
        search={"trials": 2, "batch": 2, "proxy": {"epochs": 1}},
        adapt={"share": 0.9, "delta": 0.05, "steps": 1, "divisor": 64, "min_width": 128, "tune": {"limit": 32}},
        export={"int8": "off"},
    )
    run_quickly(recipe, home / "run")
    return home / "run"


def test_candidates_and_steps_are_networks_for_signals(run: Path) -> None:
    report = read_json(run / "report.json")
    assert [trial["state"] for trial in report["search"]["trials"]] == ["complete"] * 2
    assert report["search"]["trials"][1]["macs"] < report["search"]["trials"][0]["macs"]
    before, after = report["adapt"]["iterates"]
    assert before["what"] == "the seed"
    assert after["latency_ms"] < before["latency_ms"]
    assert after["macs"] < before["macs"]


def test_what_is_delivered_is_the_adapted_network_and_takes_frames(run: Path) -> None:
    student, adapted = (
        load_network(run / "stages/distill/student"),
        read_json(run / "report.json")["adapt"]["iterates"][-1],
    )
    assert student.sample_shape == (2, 64)
    assert (student.params(), student.macs()) == (adapted["params"], adapted["macs"])
    model, frames = limbeck.load(run), np.random.default_rng(0).standard_normal((5, 2, 64)).astype(np.float32)
    assert model.artifact.input_shape == (2, 64)
    said = model.predict(frames)
    with torch.no_grad():
        expected = student.eval()(torch.from_numpy(frames))
    assert said.probabilities.argmax(1).tolist() == expected.argmax(1).tolist()
    assert set(said.labels) <= set(CLASSES)
