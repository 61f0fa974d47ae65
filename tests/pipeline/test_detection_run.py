"""A whole run on pictures with boxes: what is kept, judged, proven, shown, and what its files say afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places_run import FAKE, boxes_folder, places_recipe, run_quickly

import limbeck
from limbeck.deployed import read_artifact
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.measure import open_device
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.predict import predict_files, predictions_csv
from limbeck.pipeline.problems import Case
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.use import evaluate_model

COUNTS = {"train": 16, "val": 8, "test": 6}
NETWORKS = ("ssdlite_mobilenet_v3_small", "ssdlite_mobilenet_v2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return {"name": "coco", "path": str(boxes_folder(tmp_path_factory.mktemp("scenes") / "coco", COUNTS))}


@pytest.fixture(scope="module")
def run(data: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_quickly(places_recipe("detection", data, *NETWORKS, method="mgd"), folder)
    return folder


def test_every_stage_leaves_what_it_should(run: Path) -> None:
    report = read_json(run / "report.json")
    student = next(m for m in report["models"] if m["name"] == "student")
    assert student["primary"]["name"] == "map"
    assert {"map50", "map75", "mar_100"} <= set(student["metrics"])
    assert set(student["per_class"]["values"]) == {"red", "blue"}
    precisions = [value for value in student["per_class"]["values"].values() if value is not None]
    assert student["primary"]["value"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert student["ece"] is None
    assert "not applied to detection" in student["reliability"]["reason"]
    assert len(report["parity"]) == 5  # tensors and mAP of two models, int8 of one
    assert all(gate["passed"] for gate in report["parity"])
    assert report["paired"]["student_vs_teacher"]["n"] == COUNTS["test"]
    page = (run / "report.html").read_text()
    assert "data:image/jpeg" in page
    assert "Confidence was not calibrated: not applied to detection" in page


def test_a_finished_run_is_not_done_again(run: Path, data: dict) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("stages/**/report.json")}
    run_recipe(places_recipe("detection", data, *NETWORKS, method="mgd"), run)
    assert {path: path.stat().st_mtime_ns for path in run.glob("stages/**/report.json")} == before


def test_the_file_gives_the_same_figures_on_the_same_pictures(run: Path, data: dict) -> None:
    student = next(m for m in read_json(run / "report.json")["models"] if m["name"] == "student")
    figures = evaluate_model(str(run), data["path"])
    assert figures["pictures"] == COUNTS["test"]
    for name in ("map", "map50", "mar_100"):
        assert figures[name] == pytest.approx(student["metrics"][name], abs=2e-3)


def test_found_boxes_are_in_pixels_of_the_picture_that_was_given(run: Path, data: dict) -> None:
    path = Path(data["path"]) / "test/024.png"
    picture = np.asarray(Image.open(path))
    model = limbeck.load(run)
    with np.load(run / "stages/distill/student/predictions.npz") as kept:
        expected = kept["test/boxes"][0]
    expected = expected[expected[:, 4] > 0]
    found = model.predict(picture)
    assert found.boxes[0].shape == (len(expected), 4)
    np.testing.assert_allclose(found.scores[0], expected[:, 4], atol=1e-3)
    far = np.abs(found.boxes[0][:, None] - expected[:, :4] * [48, 32, 48, 32]).max(2)
    assert far.min(0).max() < 0.05  # each is there; such as tie may stand in another order

    twice = np.repeat(np.repeat(picture, 2, 0), 2, 1)
    beside = np.concatenate([np.zeros((64, 24, 3), np.uint8), twice, np.zeros((64, 24, 3), np.uint8)], 1)
    shifted = model.predict(beside).boxes[0]  # fitted by cropping the borders away again
    assert shifted[:, 0].min() >= 24 - 1e-3
    assert shifted[:, 2].max() <= 24 + 96 + 1e-3
    rows = predict_files(str(run), [path])
    assert set(rows[0]) == {"file", "label", "score", "x1", "y1", "x2", "y2"}
    assert predictions_csv(rows).splitlines()[0] == "file,label,score,x1,y1,x2,y2"
    assert predictions_csv([]).splitlines() == ["file,label,score,x1,y1,x2,y2"]


def test_boxes_chosen_outside_are_those_chosen_inside(run: Path, data: dict, tmp_path: Path) -> None:
    """`export.nms = "outside"`: the graph before the choice, whose boxes are chosen by whoever reads them."""
    recipe = places_recipe("detection", data, *NETWORKS, method="mgd", nms="outside")
    context = Context(recipe, RunFolder(run))
    case = Case(
        open_device(FAKE),
        context.load("distill/student"),
        context.predictions("distill/student").test,
        context.splits.test,
        1.0,
        recipe.export,
    )
    graph = read_artifact(run / "stages/export/student_graph.onnx")
    assert context.problem.finish(graph, tmp_path / "model.onnx", recipe.export) == graph
    gates, said = context.problem.prove(graph, graph, case)
    assert [(gate["kind"], gate["passed"]) for gate in gates] == [("tensor", True), ("metric", True)]
    assert said["boxes"].shape == (COUNTS["test"], 100, 6)
    inside, outside = limbeck.load(run), limbeck.load(graph.path)
    assert (inside.metadata["output"], outside.metadata["output"]) == ("chosen_boxes", "boxes")
    before, after = (model.predict(Path(data["path"]) / "test/025.png") for model in (inside, outside))
    assert np.abs(after.boxes[0][:, None] - before.boxes[0]).max(2).min(0).max() < 0.05
    np.testing.assert_allclose(after.scores[0], before.scores[0], atol=1e-4)
    figures = evaluate_model(graph.path, data["path"])
    assert figures["map"] == pytest.approx(evaluate_model(str(run), data["path"])["map"], abs=2e-3)


def test_the_wrong_kind_of_data_or_network_is_told_before_any_work(data: dict, tmp_path: Path) -> None:
    recipe = places_recipe("segmentation", data, "lraspp_mobilenet_v3_small", "raspp_mobilenet_v2")
    with pytest.raises(InputError, match="learns from a class of every pixel"):
        run_recipe(recipe, tmp_path / "run")
    recipe = places_recipe("detection", data, "mobilenet_v3_small", "ssdlite_mobilenet_v2", method="mgd")
    with pytest.raises(InputError, match="student: is no detector"):
        run_recipe(recipe, tmp_path / "run")
