"""A whole run on made signals: what is told by SNR, what the files say afterwards, and recordings that are annotated."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places_run import run_quickly
from radio_run import CLASSES, SNRS, radio_recipe

import limbeck
from limbeck.calibrate import expected_calibration_error, softmax
from limbeck.data.radio import make_signals, read_sigmf
from limbeck.data.radio.radioml_2018 import RML2018_CLASSES
from limbeck.deployed import as_frames
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pipeline.context import open_splits
from limbeck.pipeline.predict import predict_files, save_predictions
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.use import _judged_signals, evaluate_model, measure_anything

TEST = 81  # nine of each class and SNR


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("radio")


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    run_quickly(radio_recipe(home), home / "run")
    return home / "run"


@pytest.fixture(scope="module")
def unseen(home: Path) -> Path:
    """Frames that no training saw, in another order of classes."""
    made = make_signals("radioml2016_published", frames_per_cell=5, seed=7, classes=CLASSES[::-1], snrs=SNRS, length=64)
    np.savez(home / "unseen.npz", X=made.X, y=made.y, snr=made.snr, classes=np.array(made.classes))
    return home / "unseen.npz"


def student_of(run: Path) -> dict:
    return next(m for m in read_json(run / "report.json")["models"] if m["name"] == "student")


def test_accuracy_and_calibration_are_told_at_every_snr(run: Path, home: Path) -> None:
    student, test = student_of(run), open_splits(radio_recipe(home).data).test
    with np.load(run / "stages/distill/student/predictions.npz") as kept:
        logits = kept["test"]
    temperature = student["reliability"]["temperature"] or 1.0
    said = softmax(logits, temperature)
    assert [point["snr"] for point in student["per_snr"]] == list(SNRS)
    for point in student["per_snr"]:
        here = test.snr == point["snr"]
        assert point["n"] == here.sum() == TEST // 3
        assert point["accuracy"] == pytest.approx((logits[here].argmax(1) == test.labels[here]).mean())
        assert point["ece"] == pytest.approx(expected_calibration_error(said[here], test.labels[here], bins=15))
    by_snr = {point["snr"]: point["accuracy"] for point in student["per_snr"]}
    assert student["metrics"]["top1"] == pytest.approx(np.mean(list(by_snr.values())))
    assert student["metrics"]["low_snr_accuracy"] == pytest.approx(by_snr[-4])
    assert student["metrics"]["high_snr_accuracy"] == pytest.approx((by_snr[0] + by_snr[18]) / 2)
    assert student["metrics"]["best_snr_accuracy"] == pytest.approx(max(by_snr.values()))
    assert by_snr[student["metrics"]["best_snr_db"]] == pytest.approx(max(by_snr.values()))
    assert set(student["per_class"]["values"]) == set(CLASSES)


def test_files_are_held_to_the_network_at_every_snr(run: Path) -> None:
    report = read_json(run / "report.json")
    gates = [gate for gate in report["parity"] if "by_snr" in gate]
    assert [gate["model"] for gate in gates] == ["teacher", "student", "student_int8"]
    assert all(gate["passed"] for gate in report["parity"])
    student = {point["snr"]: point["accuracy"] for point in student_of(run)["per_snr"]}
    for gate in gates[1:]:
        assert [one["snr"] for one in gate["by_snr"]] == list(SNRS)
        assert sum(one["n"] for one in gate["by_snr"]) == TEST
        for one in gate["by_snr"]:
            assert one["reference"] == pytest.approx(student[one["snr"]])
            assert abs(one["accuracy"] - one["reference"]) <= one["changed"] / one["n"] + 1e-9


def test_confusions_and_mistakes_are_shown(run: Path) -> None:
    report = read_json(run / "report.json")
    matrices = report["signals"]["matrices"]
    assert [one["snr"] for one in matrices] == [0, 18]
    by_snr = {point["snr"]: point for point in student_of(run)["per_snr"]}
    for one in matrices:
        counts = np.array(one["counts"])
        assert counts.sum(1).tolist() == [9] * 3
        assert counts.trace() / counts.sum() == pytest.approx(by_snr[one["snr"]]["accuracy"])
    page = (run / "report.html").read_text()
    assert 0 < len(report["examples"]) <= 6
    assert page.count("data:image/jpeg") == len(report["examples"])
    assert "Accuracy by SNR" in page
    assert "constellation" in page


def test_frames_are_called_frames(run: Path) -> None:
    report, page = read_json(run / "report.json"), (run / "report.html").read_text()
    hidden = r'<(style|script)\b.*?</\1>|class="[^"]*"|data:image/[^"]*|<section id="provenance">.*?</section>'
    shown = re.sub(hidden, "", page, flags=re.DOTALL)
    told = [one["text"] for one in report["verdicts"] + report["parity"]] + report["warnings"]
    assert report["samples"] == "frames"
    assert f"{TEST} test frames" in shown
    assert f"on {TEST} frames (tolerance" in shown
    assert not [text for text in [*told, shown] if "picture" in text.lower()]


def test_the_file_takes_raw_frames_of_any_power(run: Path, home: Path) -> None:
    model, test = limbeck.load(run), open_splits(radio_recipe(home).data).test
    assert model.artifact.input_shape == (2, 64)
    assert model.artifact.input_dtype == "float32"
    assert model.metadata["task"] == "modulation"
    assert model.metadata["reader"] == {"name": "radio"}
    assert limbeck.load(run, precision="int8").metadata["reader"] == {"name": "radio"}
    frames = test.samples(np.arange(20))
    with np.load(run / "stages/distill/student/predictions.npz") as kept:
        expected = softmax(kept["test"][:20], student_of(run)["reliability"]["temperature"] or 1.0)
    said = model.predict(frames)
    np.testing.assert_allclose(said.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(1e3 * frames).probabilities, expected, atol=1e-4)
    np.testing.assert_allclose(model.predict(frames[:, 0] + 1j * frames[:, 1]).probabilities, expected, atol=1e-5)
    assert model.predict(frames[0]).labels == said.labels[:1]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.ones((3, 64, 2), np.float32), r"takes frames \[N, 2, 64\], got \[3, 64, 2\]; swap its last two axes"),
        (np.ones((3, 2, 128), np.float32), r"got \[3, 2, 128\]$"),
        (np.ones((3, 2, 64), np.int16), "int16"),
        (np.stack([np.ones((2, 64)), np.zeros((2, 64))]), "frame 1 is all zeros"),
        (np.full((1, 2, 64), np.nan), "frame 0 holds a value that is not finite"),
    ],
)
def test_frames_of_another_form_are_refused(frames: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_frames(frames, 64)


def test_other_frames_are_judged_by_the_names_of_their_classes(run: Path, unseen: Path, home: Path) -> None:
    figures = evaluate_model(str(run), str(unseen))
    rows = predict_files(str(run), [unseen])
    with np.load(unseen) as made:
        truth = made["classes"][made["y"]]
    assert figures["frames"] == len(rows) == 45
    assert figures["top1"] == pytest.approx(
        np.mean([row["label"] == name for row, name in zip(rows, truth, strict=True)])
    )
    assert {"low_snr_accuracy", "high_snr_accuracy"} < set(figures)
    assert [row["frame"] for row in rows] == list(range(45))
    np.savez(home / "short.npz", X=np.ones((4, 2, 32), np.float32), y=np.zeros(4, int), classes=["BPSK"])
    with pytest.raises(InputError, match="its frames have 32 samples; the model takes 64"):
        evaluate_model(str(run), str(home / "short.npz"))


def test_radioml_2018_is_judged_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    monkeypatch.chdir(tmp_path)  # where it is converted to
    X = np.random.default_rng(0).standard_normal((48, 16, 2)).astype(np.float32)
    with h5py.File("gold.hdf5", "w") as file:
        file["X"], file["Z"] = X, np.tile([[0], [2]], (24, 1))
        file["Y"] = np.repeat(np.eye(24, dtype=np.int64), 2, 0)
    names = RML2018_CLASSES[::-1]
    deployed = SimpleNamespace(path=tmp_path / "m.onnx", input_size=(1, 16), class_names=names, metadata={})
    frames = _judged_signals("m.onnx", deployed, "gold.hdf5")
    assert [names[label] for label in frames.labels] == list(np.repeat(RML2018_CLASSES, 2))
    np.testing.assert_array_equal(frames.samples([5]), X[5:6].transpose(0, 2, 1))


def recording(folder: Path, frames: np.ndarray, *, rest: int = 10) -> Path:
    """Frames one after the other and a rest, as SigMF, with an annotation of somebody else's."""
    folder.mkdir(exist_ok=True)
    samples = np.concatenate([(frames[:, 0] + 1j * frames[:, 1]).reshape(-1), np.ones(rest)]).astype(np.complex64)
    samples.tofile(folder / "air.sigmf-data")
    theirs = {"core:sample_start": 2, "core:sample_count": 5, "core:label": "burst", "core:generator": "by hand"}
    meta = {
        "global": {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": 1e6},
        "captures": [{"core:sample_start": 0}],
        "annotations": [theirs],
    }
    (folder / "air.sigmf-meta").write_text(json.dumps(meta))
    return folder / "air.sigmf-meta"


def test_a_recording_is_annotated_frame_by_frame(run: Path, unseen: Path, tmp_path: Path) -> None:
    with np.load(unseen) as made:
        frames = made["X"][::5]
    meta = recording(tmp_path / "air", frames)
    before = meta.read_bytes()
    rows = predict_files(str(run), [meta])
    said = limbeck.load(run).predict(frames)
    assert [row["label"] for row in rows] == said.labels
    assert [(row["sample_start"], row["sample_count"]) for row in rows] == [(64 * i, 64) for i in range(9)]
    save_predictions(rows, tmp_path / "air" / "said.sigmf-meta")
    tree = read_json(tmp_path / "air" / "said.sigmf-meta")
    ours = [one for one in tree["annotations"] if one["core:generator"].startswith("limbeck")]
    assert [one["core:label"] for one in ours] == said.labels
    np.testing.assert_allclose([one["limbeck:confidence"] for one in ours], said.confidence, atol=1e-5)
    assert [one["core:label"] for one in tree["annotations"]].count("burst") == 1
    starts = [one["core:sample_start"] for one in tree["annotations"]]
    assert starts == sorted(starts)
    assert tree["global"]["core:dataset"] == "air.sigmf-data"
    read = read_sigmf(tmp_path / "air" / "said.sigmf-meta", frame_length=64, classes=sorted(set(said.labels)))
    np.testing.assert_allclose(read.X, frames, rtol=1e-6)  # what is written is a recording with labels again
    assert [read.classes[label] for label in read.y] == said.labels
    assert meta.read_bytes() == before

    with pytest.raises(InputError, match=r"air.sigmf-meta: exists; .* --overwrite"):
        predict_files(str(run), [meta], output=meta)
    save_predictions(rows, meta, overwrite=True)
    save_predictions(predict_files(str(run), [meta], output=meta, overwrite=True), meta, overwrite=True)
    assert len(read_json(meta)["annotations"]) == 10  # ours once, theirs still there
    save_predictions(rows, tmp_path / "rows.json")
    assert read_json(tmp_path / "rows.json") == rows


def test_a_silent_frame_is_left_out_and_a_short_recording_is_told(
    run: Path, unseen: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with np.load(unseen) as made:
        frames = made["X"][:3].copy()
    frames[1] = 0
    rows = predict_files(str(run), [recording(tmp_path / "air", frames)])
    assert [row["sample_start"] for row in rows] == [0, 128]
    assert "1 of 3 frames are all zeros" in capsys.readouterr().err
    with pytest.raises(InputError, match="10 samples are less than one frame of 64"):
        predict_files(str(run), [recording(tmp_path / "short", frames[:0])])
    with pytest.raises(InputError, match="SigMF recordings end in"):
        predict_files(str(run), [tmp_path / "photo.png"])
    np.save(tmp_path / "frames.npy", np.ones((2, 2, 32), np.float32))
    with pytest.raises(InputError, match=r"frames.npy, from frame 0: signals: the model takes frames \[N, 2, 64\]"):
        predict_files(str(run), [tmp_path / "frames.npy"])


def test_a_network_is_timed_by_its_name() -> None:
    record = measure_anything("kd_cnn", target="onnxruntime,threads=1", runs=20, size=None)
    assert record["artifact"] == "kd_cnn at 1 x 128, random weights"
    assert record["latency_ms"]["median"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {"model": "mobilenet_v3_small"}}, "student: takes pictures; take a network for signals"),
        ({"task": "classification"}, r'"classification": learns from one class per picture, and data.name = "radio"'),
        ({"data": {"name": "digits"}}, r'"modulation": learns from one class per frame of a signal'),
        ({"augment": {"flip": True}}, "augment.flip = True: is for pictures"),
        ({"baselines": {"off_the_shelf": "auto"}}, "ready networks take pictures"),
        ({"export": {"nms": "outside"}}, 'export.nms: not for task = "modulation"'),
    ],
)
def test_what_modulation_has_not_is_told_before_any_work(
    home: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_recipe(radio_recipe(home, **changes), tmp_path / "run")


@pytest.mark.parametrize(
    "distill",
    [
        {"method": "skd", "options": {"lowest_snr": -8}},
        {"terms": [{"loss": "skd", "options": {"lowest_snr": -8}}]},
    ],
)
def test_an_snr_that_the_data_does_not_tell_is_missed_before_any_work(tmp_path: Path, distill: dict) -> None:
    X = np.random.default_rng(0).standard_normal((60, 2, 64)).astype(np.float32)
    np.savez(tmp_path / "frames.npz", X=X, y=np.repeat([0, 1], 30), classes=["a", "b"])
    data = {"name": "signals", "path": str(tmp_path / "frames.npz"), "test": 0.2}
    with pytest.raises(InputError, match=r"distill: term 'skd'.*lowest_snr needs the SNR.*the data tells none"):
        run_recipe(radio_recipe(tmp_path, data=data, distill=distill), tmp_path / "run")
    assert not (tmp_path / "run/stages").exists()
