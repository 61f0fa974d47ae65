"""Exported models on other data: figures that hold, classes matched by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limbeck
from limbeck.data import open_data
from limbeck.data.folder import read_unlabelled
from limbeck.errors import InputError
from limbeck.pipeline.predict import find_pictures, predict_files, predictions_csv
from limbeck.pipeline.use import evaluate_model, match_classes, measure_anything, measurement_text


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders `7` and `2` with real digits: in an order that is not the model's."""
    root = tmp_path_factory.mktemp("scans")
    test = open_data("digits", image_size=16, limit=200, validation=0.2).test
    for index in range(len(test)):
        label = str(test.labels[index])
        if label in ("2", "7"):
            (root / label).mkdir(exist_ok=True)
            Image.fromarray(test.picture(index)).save(root / label / f"{index:04d}.png")
    return root


def test_evaluation_agrees_with_prediction(finished_run: Path, scans: Path) -> None:
    figures = evaluate_model(str(finished_run), str(scans))
    rows = predict_files(str(finished_run), [scans])
    assert figures["pictures"] == len(rows)
    right = np.mean([Path(row["file"]).parent.name == row["label"] for row in rows])
    assert figures["top1"] == pytest.approx(right)
    truth = [row["probabilities"][Path(row["file"]).parent.name] for row in rows]
    assert figures["nll"] == pytest.approx(-np.mean(np.log(truth)), rel=1e-3)


def test_classes_are_matched_by_name(finished_run: Path) -> None:
    deployed = limbeck.load(finished_run)
    assert match_classes(("7", "2"), deployed, where="x").tolist() == [7, 2]
    with pytest.raises(InputError, match="does not know the class cat"):
        match_classes(("7", "cat"), deployed, where="x")


def test_a_row_per_picture(finished_run: Path, scans: Path) -> None:
    rows = predict_files(str(finished_run), [scans / "7"])
    assert [row["file"] for row in rows] == [str(path) for path in find_pictures([scans / "7"])]
    for row in rows:
        assert row["confidence"] == max(row["probabilities"].values()) == row["probabilities"][row["label"]]
    head, *lines = predictions_csv(rows).splitlines()
    assert head == "file,label,confidence," + ",".join(str(digit) for digit in range(10))
    assert len(lines) == len(rows)


def test_a_folder_s_pictures_are_those_that_a_reader_of_data_finds(tmp_path: Path) -> None:
    for name in ("in/b.png", "in/._b.png", "in/a/z.jpg", "in/.hidden/y.png", "in/named.png/x.PNG", "far/w.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "in" / "notes.txt").touch()
    found = find_pictures([tmp_path / "in"])
    inside = ("a/z.jpg", "b.png", "linked/w.png", "named.png/x.PNG")
    assert found == [tmp_path / "in" / name for name in inside]
    assert {str(path) for path in found} == set(read_unlabelled(str(tmp_path / "in")).pictures)
    assert find_pictures([tmp_path / "in" / "._b.png"]) == [tmp_path / "in" / "._b.png"]  # as it was named


def test_an_output_that_is_a_folder_is_told_before_the_work(finished_run: Path, scans: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder; -o takes the CSV"):
        predict_files(str(finished_run), [scans], output=tmp_path)


def test_a_model_by_name_is_exported_and_timed() -> None:
    target = "limbeck.testing:FakeDevice,base_ms=0.1,ms_per_million_macs=0.2"
    record = measure_anything("mobilenet_v3_small", target=target, runs=20, size=32)
    assert record["latency_ms"]["median"] == pytest.approx(0.1 + 0.2 * record["macs"] / 1e6)
    assert "32 x 32, random weights" in record["artifact"]
    assert record["per_second"] == pytest.approx(1000 / record["latency_ms"]["median"])
    assert f"; {1000 / record['latency_ms']['median']:,.0f} per second" in measurement_text(record)
