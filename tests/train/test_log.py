from __future__ import annotations

import json
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from train_toys import ToyBatches, accuracy, settings, supervised

from limbeck.train import fit, loop
from limbeck.train.log import TrainingLog, finite


def read(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    log = TrainingLog(tmp_path, tensorboard=False)
    log.write("step", {"step": 1, "loss": 2.0})
    length = log.settle()
    log.write("step", {"step": 2, "loss": 1.0})
    log.close()
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"kind": "step", "st')  # torn by a kill
    log = TrainingLog(tmp_path, length=length, step=1, tensorboard=False)
    log.write("step", {"step": 2, "loss": float("nan")})
    log.close()
    assert read(tmp_path) == [
        {"kind": "step", "step": 1, "loss": 2.0},
        {"kind": "step", "step": 2, "loss": None},
    ]


def test_finite_reaches_inside():
    assert finite({"a": [1.0, float("inf"), {"b": float("nan")}], "c": "x"}) == {
        "a": [1.0, None, {"b": None}],
        "c": "x",
    }


def test_a_training_logs_steps_and_epochs_and_tensorboard_has_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_STEPS", 4)
    report = fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1, evaluate=accuracy)
    lines = read(tmp_path)
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("step", 4),
        ("epoch", 6),
        ("step", 8),
        ("step", 12),
        ("epoch", 12),
        ("step", 16),
        ("epoch", 18),
    ]
    assert [{"kind": "epoch", **record} for record in report.history] == [x for x in lines if x["kind"] == "epoch"]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("epoch/validation/top1")}
    expected = {line["step"]: line["validation"]["top1"] for line in lines if line["kind"] == "epoch"}
    assert shown == pytest.approx(expected)
    assert [event.step for event in events.Scalars("step/loss")] == [4, 8, 12, 16]


def test_mean_of_the_terms_is_over_every_batch(tmp_path, monkeypatch):
    seen = []
    make = supervised()
    forward = make.forward

    def watched(batch, progress):
        terms = forward(batch, progress)
        seen.append(terms["loss"].item())
        return terms

    monkeypatch.setattr(make, "forward", watched)
    monkeypatch.setattr(loop, "LOG_STEPS", 4)
    report = fit(make, ToyBatches(), settings(epochs=2), folder=tmp_path, seed=1)
    assert report.history[0]["train"]["loss"] == pytest.approx(sum(seen[:6]) / 6)
    assert report.history[1]["train"]["loss"] == pytest.approx(sum(seen[6:]) / 6)


def test_without_tensorboard_training_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    fit(supervised(), ToyBatches(), settings(), folder=tmp_path, seed=1)
    assert "no TensorBoard events are written" in capsys.readouterr().err
    assert not (tmp_path / "tensorboard").exists()
    assert len(read(tmp_path)) == 3
