"""Recordings through an exported model: read as its own were, block by block, and annotated so that they open again."""

from __future__ import annotations

import contextlib
import json
import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from radio_run import radio_recipe
from scipy.signal import resample_poly

import limbeck
from limbeck.data.radio import read_sigmf
from limbeck.data.radio.sigmf import open_recording
from limbeck.deployed import DeployedModel
from limbeck.errors import InputError
from limbeck.export import export_onnx
from limbeck.files import read_json
from limbeck.models import create_model
from limbeck.pipeline import predict_signals as rooms
from limbeck.pipeline.predict import predict_files, save_predictions
from limbeck.pipeline.predict_signals import predict_signals
from limbeck.pipeline.problems import open_problem
from limbeck.pipeline.recordings import find_reading
from limbeck.pipeline.use import _judged_signals
from limbeck.tasks import open_task

CLASSES = ("BPSK", "QPSK", "WBFM")
READ = {"label": "mod", "hop": 32, "sample_rate": 1e6, "snr": None, "channel": 1, "classes": None}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for frames of 64 samples that says no more of its data than files always did."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    export_onnx(
        create_model("kd_cnn", num_classes=3, input_size=(1, 64)),
        path,
        sample_size=(1, 64),
        class_names=CLASSES,
        metadata={"task": "modulation"},
    )
    return path


def knowing(model: Path, **options: Any) -> DeployedModel:
    """The model of a run on recordings that were read with these options."""
    return limbeck.load(model, metadata={"reader": {"name": "sigmf", "options": {**READ, **options}}})


def drawn(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 2)).astype(np.float32).view(np.complex64)[:, 0]


def record(
    folder: Path, name: str, channels: list[np.ndarray], *, rate: float | None = 1e6, offset: int = 0, **facts: Any
) -> Path:
    """A recording of one or several interleaved channels; `facts` are of the whole of it, keys after `core:`."""
    folder.mkdir(exist_ok=True, parents=True)
    np.stack(channels, 1).tofile(folder / f"{name}.sigmf-data")
    told = {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:num_channels": len(channels)}
    told |= {} if rate is None else {"core:sample_rate": rate}
    told |= {"core:offset": offset} if offset else {}
    told |= {f"core:{key}": value for key, value in facts.items()}
    meta = {"global": told, "captures": [{"core:sample_start": offset}], "annotations": []}
    (folder / f"{name}.sigmf-meta").write_text(json.dumps(meta))
    return folder / f"{name}.sigmf-meta"


def labels_of(deployed: DeployedModel, samples: np.ndarray) -> list[str]:
    frames = samples[: len(samples) // 64 * 64].reshape(-1, 64)
    return deployed.predict(frames).labels


def test_a_file_says_how_recordings_are_to_be_read(tmp_path: Path) -> None:
    data = {"name": "sigmf", "path": "air", "options": {"frame_length": 64, "channel": 1, "sample_rate": 1e6}}
    recipe = radio_recipe(tmp_path, data=data)
    problem = open_problem("modulation", open_task("modulation", num_classes=3, image_size=(1, 64)), CLASSES)
    options = {"label": "core:label", "hop": None, "sample_rate": 1e6, "snr": None, "channel": 1, "classes": None}
    assert problem.facts(recipe) == {"reader": {"name": "sigmf", "options": options}}
    assert problem.facts(radio_recipe(tmp_path)) == {"reader": {"name": "radio"}}


def test_what_is_unknown_is_found_in_the_runs_recipe_or_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert find_reading("m.onnx", knowing(model)) == READ
    (tmp_path / "recipe.json").write_text(
        json.dumps({"data": {"name": "sigmf", "options": {"frame_length": 64, "hop": 8}}})
    )
    assert find_reading(str(tmp_path), limbeck.load(model)) == {"hop": 8}
    assert capsys.readouterr().err == ""
    told = "model.onnx: does not say at what sample rate its frames were taken; recordings are read as they are"
    for known in ({}, {"reader": {"name": "radio"}}):
        assert find_reading(str(model), limbeck.load(model, metadata=known)) == {}
        assert told in " ".join(capsys.readouterr().err.split())


def test_recordings_are_read_at_the_rate_and_of_the_channel_of_the_training(model: Path, tmp_path: Path) -> None:
    deployed, channels = knowing(model), [drawn(1300, 1), drawn(1300, 2)]
    meta = record(tmp_path, "air", channels, rate=2e6)
    rows = predict_signals(deployed, [meta], model=str(model))
    assert [row["label"] for row in rows] == labels_of(deployed, resample_poly(channels[1], 1, 2))
    assert [row["sample_start"] for row in rows] == [128 * number for number in range(10)]
    np.testing.assert_allclose(
        [list(row["probabilities"].values()) for row in rows],
        deployed.predict(resample_poly(channels[1], 1, 2)[:640].astype(np.complex64).reshape(10, 64)).probabilities,
        atol=1e-5,
    )
    alone = record(tmp_path, "alone", channels[:1])
    with pytest.raises(InputError, match=r"alone.sigmf-meta: has 1 channel, and the model was trained on channel 1"):
        predict_signals(deployed, [meta, alone], model=str(model))


def test_a_recording_is_evaluated_as_the_file_says(model: Path, tmp_path: Path) -> None:
    channels = [drawn(1300, 1), drawn(1300, 2)]
    meta = record(tmp_path, "air", channels, rate=2e6)
    tree = read_json(meta)
    tree["annotations"] = [{"core:sample_start": 0, "core:sample_count": 1300, "mod": "QPSK"}]
    meta.write_text(json.dumps(tree))
    frames = _judged_signals(str(model), knowing(model), str(meta))
    expected = resample_poly(channels[1], 1, 2)
    assert len(frames) == (650 - 64) // 32 + 1
    assert [CLASSES[label] for label in frames.labels] == ["QPSK"] * len(frames)
    found = frames.samples([3])[0]
    np.testing.assert_allclose(found[0] + 1j * found[1], expected[96:160], atol=1e-6)


@pytest.mark.parametrize("rate", [1e6, 1.5e6])
def test_blocks_change_nothing(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    deployed = knowing(model, channel=0)
    meta = record(tmp_path, "air", [drawn(64 * 30)], rate=rate)
    whole = predict_signals(deployed, [meta], model=str(model))
    monkeypatch.setattr(rooms, "BLOCK", 64 * 7)
    parts = predict_signals(deployed, [meta], model=str(model))
    assert [(row["sample_start"], row["label"]) for row in parts] == [
        (row["sample_start"], row["label"]) for row in whole
    ]
    assert len(parts) == (30 if rate == 1e6 else 20)
    for one, other in zip(parts, whole, strict=True):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-5)


def test_memory_does_not_grow_with_the_recording(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    samples = np.zeros(1_000_000, np.complex64)
    samples[-64:] = drawn(64)
    meta, deployed = record(tmp_path, "air", [samples]), knowing(model, channel=0)
    monkeypatch.setattr(rooms, "BLOCK", 1 << 14)
    predict_signals(deployed, [meta], model=str(model))
    tracemalloc.start()
    (row,) = predict_signals(deployed, [meta], model=str(model))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row["sample_start"] == 1_000_000 - 64
    assert peak < samples.nbytes / 8
    assert "15624 of 15625 frames are all zeros" in " ".join(capsys.readouterr().err.split())


def test_annotations_count_as_the_recording_does(model: Path, tmp_path: Path) -> None:
    samples = drawn(200)
    meta = record(tmp_path / "air", "air", [samples], offset=1000)
    rows = predict_files(str(model), [meta])
    assert [(row["sample_start"], row["sample_count"]) for row in rows] == [(1000 + 64 * i, 64) for i in range(3)]
    save_predictions(rows, meta, overwrite=True)
    assert [one.start for one in open_recording(meta).spans] == [0, 64, 128]
    read = read_sigmf(meta, frame_length=64)
    np.testing.assert_array_equal(read.X[:, 0].ravel(), samples[:192].real)


def test_annotated_recordings_open_in_another_folder(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for name in "ab":
        record(tmp_path / "air", name, [drawn(200, ord(name))])
    output = tmp_path / "said"
    save_predictions(rows := predict_files(str(model), [tmp_path / "air"], output=output), output)
    assert "the data of 2 recordings is linked beside the metadata" in " ".join(capsys.readouterr().err.split())
    for name in "ab":
        assert len(open_recording(output / f"{name}.sigmf-meta").spans) == 3
        assert (output / f"{name}.sigmf-data").samefile(tmp_path / "air" / f"{name}.sigmf-data")
    save_predictions(
        predict_files(str(model), [tmp_path / "air"], output=output, overwrite=True), output, overwrite=True
    )
    assert len(read_sigmf(output, frame_length=64)) == 6
    assert len(rows) == 6
    other = tmp_path / "other" / "said.sigmf-meta"
    save_predictions(rows[:3], other)
    assert (other.parent / "a.sigmf-data").samefile(tmp_path / "air" / "a.sigmf-data")
    assert len(open_recording(other).spans) == 3


def test_other_data_is_neither_replaced_nor_described(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    meta = record(tmp_path / "air", "a", [drawn(200)])
    rows = predict_files(str(model), [meta])
    theirs = tmp_path / "said" / "a.sigmf-data"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    for refused in (
        lambda: predict_files(str(model), [meta], output=theirs.parent, overwrite=True),
        lambda: save_predictions(rows, theirs.parent, overwrite=True),
    ):
        with pytest.raises(InputError, match=r"another a.sigmf-data lies beside it; choose another -o"):
            refused()
    assert theirs.read_bytes() == b"theirs"
    assert len(list(theirs.parent.iterdir())) == 1

    def fail(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", fail)
    save_predictions(rows, tmp_path / "far")
    told = "a.sigmf-meta: opens only with a.sigmf-data beside it, which could not be linked there (Invalid cross-device"
    assert told in " ".join(capsys.readouterr().err.split())
    assert len(read_json(tmp_path / "far" / "a.sigmf-meta")["annotations"]) == 3


def test_recordings_shorter_than_a_frame_are_left_out(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    record(tmp_path / "air", "a", [drawn(10)])
    record(tmp_path / "air", "b", [drawn(70)])
    rows = predict_files(str(model), [tmp_path / "air"])
    assert [Path(row["file"]).name for row in rows] == ["b.sigmf-meta"]
    assert "a.sigmf-meta: 10 samples are less than one frame of 64" in " ".join(capsys.readouterr().err.split())
    record(tmp_path / "air", "b", [drawn(63)])
    with pytest.raises(InputError, match=r"a.sigmf-meta: 10 samples are .* of 64; all 2 recordings are too short"):
        predict_files(str(model), [tmp_path / "air"])
    record(tmp_path / "silent", "c", [np.zeros(70, np.complex64)])
    with pytest.raises(InputError, match=r"silent: no frame with finite samples and any power"):
        predict_files(str(model), [tmp_path / "silent"])


def test_damaged_sets_of_frames_are_told_in_a_line(model: Path, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", X=np.random.default_rng(0).standard_normal((40, 2, 64)).astype(np.float32))
    np.save(tmp_path / "x.npy", np.ones((40, 2, 64), np.float32))
    draw = np.random.default_rng(1)
    whole = {path: path.read_bytes() for path in (tmp_path / "x.npz", tmp_path / "x.npy")}
    for path, content in whole.items():
        for number in range(200):
            damaged = bytearray(content)
            if number % 2:
                damaged = damaged[: draw.integers(len(damaged))]
            else:
                damaged[draw.choice([draw.integers(200), draw.integers(len(damaged) - 200, len(damaged))])] ^= 0x55
            path.write_bytes(bytes(damaged))
            with contextlib.suppress(InputError):  # not all that is changed is noticed
                rooms._read_frames(path, 64)
    (tmp_path / "x.npz").write_bytes(whole[tmp_path / "x.npz"][:-50])
    with pytest.raises(InputError, match=r"x.npz: damaged, or no file of plain arrays \(.*zip") as caught:
        predict_files(str(model), [tmp_path / "x.npz"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("extensions", [None, "core", {"name": "a"}, ["a"]])
def test_metadata_that_cannot_be_written_again_is_refused_before_the_work(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, extensions: Any
) -> None:
    meta = record(tmp_path, "a", [drawn(70)], extensions=extensions)
    assert len(predict_files(str(model), [meta], output=tmp_path / "rows.csv")) == 1
    monkeypatch.setattr(rooms, "_answers", SimpleNamespace())  # nothing may be asked of the model
    for output in (tmp_path / "said.sigmf-meta", tmp_path / "folder"):
        with pytest.raises(InputError, match=r"a.sigmf-meta: core:extensions must be a list of objects"):
            predict_files(str(model), [meta], output=output)


def test_frames_cannot_be_annotated_and_names_must_differ(tmp_path: Path, model: Path) -> None:
    np.save(tmp_path / "x.npy", drawn(128))
    for name in ("one", "two"):
        record(tmp_path / name, "a", [drawn(70)])
    for paths, output, told in (
        (["x.npy"], "said.sigmf-meta", r"x.npy: is no recording"),
        (["one", "x.npy"], "folder", r"x.npy: is no recording"),
        (["one", "two"], "folder", "recordings of equal names would overwrite each other"),
        (["one", "two"], "said.sigmf-meta", "one file for 2 recordings; give a folder"),
    ):
        with pytest.raises(InputError, match=told):
            predict_files(str(model), [tmp_path / path for path in paths], output=tmp_path / output)
    assert len(predict_files(str(model), [tmp_path / "one", tmp_path / "one" / "a.sigmf-data"])) == 1
