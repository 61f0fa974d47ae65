"""A whole run on faces of five points: two teachers, what is kept, judged, proven and shown, and what its files say."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from places_run import run_quickly
from points_run import SIDE, face, faces_folder, faces_recipe, faces_tree
from small_run import small_recipe

import limbeck
from limbeck.data.shape_model import ShapeModel
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pictures import fit_window, padded_window
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.predict import predict_files, predictions_csv, read_boxes
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.use import evaluate_model
from limbeck.recipe import parse_recipe

COUNTS = {"train": 48, "val": 40, "test": 12}
ORDER = ["teacher1", "teacher2", "plain", "student", "student_int8"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faces_folder(tmp_path_factory.mktemp("faces"), COUNTS)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_quickly(faces_recipe(data), folder)
    return folder


def truth_of(context: Context) -> np.ndarray:
    test = context.splits.test
    return np.stack([test.targets.changed(i, test.picture_affine(i), test.image_size) for i in range(len(test))])


def test_every_stage_leaves_what_it_should(run: Path, data: Path) -> None:
    report = read_json(run / "report.json")
    assert [model["name"] for model in report["models"]] == ORDER  # no mean of teachers that are told apart
    student = next(model for model in report["models"] if model["name"] == "student")
    assert student["primary"]["name"] == "nme"
    assert not student["primary"]["higher_is_better"]
    context = Context(faces_recipe(data), RunFolder(run))
    with np.load(run / "stages/distill/student/predictions.npz") as kept:
        points = kept["test/points"]
    truth = truth_of(context)
    eyes = np.linalg.norm(truth[:, 0] - truth[:, 1], axis=1)
    errors = np.linalg.norm(points - truth, axis=2).mean(1) / eyes
    assert student["primary"]["value"] == pytest.approx(errors.mean(), rel=1e-5)
    assert student["metrics"]["failure_rate_10"] == pytest.approx((errors > 0.1).mean())
    found = student["points"]
    assert found["normalizers"] == {"nme": "inter-ocular", "nme_inter_pupil": "inter-pupil"}
    names = [Path(context.splits.test.source(i)).parent.name for i in range(len(errors))]
    for part in ("street", "studio"):
        mask = np.array(names) == part
        assert found["by_subset"][part]["nme"] == pytest.approx(errors[mask].mean(), rel=1e-5)
        assert found["by_subset"][part]["count"] == mask.sum()
    shares = np.interp(0.1, found["ced"]["error"], found["ced"]["share"])
    assert shares == pytest.approx((errors <= 0.1).mean())
    assert len(report["parity"]) == 9  # tensors and NME of four models, int8 of one
    assert all(gate["passed"] for gate in report["parity"])
    paired = report["paired"]["student_vs_teacher2"]
    assert paired["n"] == COUNTS["test"]
    assert paired["low"] <= paired["difference"] <= paired["high"]


def test_error_bars_hold_what_they_promise_on_validation(run: Path, data: Path) -> None:
    """Radii are the 37th of 40 distances of each point, ceil(41 * 0.9), and lie in the file."""
    context = Context(faces_recipe(data), RunFolder(run))
    validation = context.splits.validation
    truth = np.stack(
        [validation.targets.changed(i, validation.picture_affine(i), validation.image_size) for i in range(40)]
    )
    with np.load(run / "stages/distill/student/predictions.npz") as kept:
        distances = np.linalg.norm(kept["validation/points"] - truth, axis=2)
    student = next(m for m in read_json(run / "report.json")["models"] if m["name"] == "student")
    bars = student["points"]["bars"]
    np.testing.assert_allclose(bars["radii"], np.sort(distances, axis=0)[36], rtol=1e-5)
    np.testing.assert_allclose(limbeck.load(run).metadata["error_bars"]["radii"], bars["radii"], atol=1e-5)
    with np.load(run / "stages/distill/student/predictions.npz") as kept:
        held = np.linalg.norm(kept["test/points"] - truth_of(context), axis=2) <= bars["radii"]
    assert bars["found"] == pytest.approx(held.mean())


def test_the_tolerant_teacher_keeps_its_shape_model(run: Path) -> None:
    model = ShapeModel.load(run / "stages/train/teacher2/shape_model.safetensors")
    assert (model.variance, model.points, model.shapes) == (0.9, 5, 4 * COUNTS["train"])
    assert not (run / "stages/train/teacher1/shape_model.safetensors").exists()
    told = {model["name"]: model["shape_model"] for model in read_json(run / "report.json")["models"][:4]}
    assert [name for name, one in told.items() if one] == ["teacher2"]
    np.testing.assert_allclose(told["teacher2"]["mean"], model.mean.reshape(-1, 2), atol=1e-5)
    np.testing.assert_allclose(told["teacher2"]["first"][0]["high"], model.varied(0, (3.0,))[0], atol=1e-5)
    shared = list((run.parent / ".teachers").glob("*/shape_model.safetensors"))
    assert len(shared) == 1  # what reuses the teacher has it too


def test_a_finished_run_is_not_done_again(run: Path, data: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("stages/**/report.json")}
    run_recipe(faces_recipe(data), run)
    assert {path: path.stat().st_mtime_ns for path in run.glob("stages/**/report.json")} == before


def test_the_page_shows_faces_curves_and_shapes(run: Path) -> None:
    page = (run / "report.html").read_text()
    for words in ("Cumulative error distribution", "Boxes that are not exact", "Parts of the set", "Shape model"):
        assert words in page
    assert page.count("data:image/jpeg") == 8 + 4
    assert "NME, inter-pupil" in page
    jitter = read_json(run / "report.json")["jitter"]
    assert [one["shift"] for one in jitter] == [0.0, 0.025, 0.05, 0.075, 0.1]
    student = next(m for m in read_json(run / "report.json")["models"] if m["name"] == "student")
    assert jitter[0]["nme"] == pytest.approx(student["primary"]["value"], rel=1e-4)
    assert jitter[-1]["nme"] > jitter[0]["nme"]


def test_the_file_gives_the_same_figures_on_the_same_pictures(run: Path, data: Path) -> None:
    figures = evaluate_model(str(run), str(data))
    student = next(m for m in read_json(run / "report.json")["models"] if m["name"] == "student")
    assert figures["pictures"] == COUNTS["test"]
    for name in ("nme", "nme_inter_pupil", "auc_10"):
        assert figures[name] == pytest.approx(student["metrics"][name], abs=1e-4)


def test_a_file_alone_cuts_and_divides_as_its_run_did(run: Path, data: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    shutil.copy(limbeck.load(run).path, alone)
    assert evaluate_model(str(alone), str(data)) == {**evaluate_model(str(run), str(data)), "model": str(alone)}


def test_points_come_back_into_the_picture_by_its_box(run: Path, tmp_path: Path) -> None:
    """The graph takes a crop of bytes; with the box of the true points it sees what training would have shown it."""
    model = limbeck.load(run)
    assert model.artifact.input_shape == (32, 32, 3)
    image, points = face(900)
    wide = np.pad(np.asarray(image), ((10, 0), (30, 0), (0, 0)), mode="edge")
    moved = points + np.array([30, 10])
    box = (*moved.min(0), *moved.max(0))
    found = model.predict(wide, boxes=box)
    window = padded_window(box, pad=0.3)
    crop = fit_window(wide, window, (32, 32))
    expected = model.predict(crop).points[0] / 32 * (window[2] - window[0]) + window[:2]
    np.testing.assert_allclose(found.points[0], expected, atol=1e-3)
    for file in ("model.onnx", "model_int8.onnx"):  # the file itself, as device code runs it
        path = run / "export" / file
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        told = limbeck.load(path).predict(wide, boxes=box).points
        feed = {"pictures": crop[None], "window": np.array([window], np.float32)}
        np.testing.assert_allclose(session.run(["points"], feed)[0], told, atol=1e-3)
    side = window[2] - window[0]
    np.testing.assert_allclose(found.radii[0], side * np.array(model.metadata["error_bars"]["radii"]), rtol=1e-4)
    assert found.coverage == 0.9
    assert np.abs(found.points[0] - moved).max() < SIDE / 2
    with pytest.raises(InputError, match="2 for 1 pictures"):
        model.predict([wide], boxes=[box, box])
    with pytest.raises(InputError, match=r"box 0: .* holds no pixel"):
        model.predict(wide, boxes=(5, 5, 5, 9))

    Image.fromarray(wide).save(tmp_path / "one.png")
    shutil.copy(tmp_path / "one.png", tmp_path / "other.png")
    (tmp_path / "boxes.csv").write_text("name,x1,y1,x2,y2\n" + "one.png," + ",".join(f"{edge:.6f}" for edge in box))
    rows = predict_files(str(run), [tmp_path / "one.png", tmp_path / "other.png"], boxes=tmp_path / "boxes.csv")
    assert [Path(row["file"]).name for row in rows] == ["one.png"]
    told = next(iter(csv.DictReader(predictions_csv(rows).splitlines())))
    assert list(told)[:3] == ["file", "x0", "y0"]
    assert float(told["x3"]) == pytest.approx(float(found.points[0, 3, 0]), abs=2e-3)
    assert float(told["r4"]) == pytest.approx(float(found.radii[0, 4]), abs=2e-3)


def test_boxes_that_cannot_be_read_are_told(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "boxes.csv"
    file.write_text("name,x1,y1,x2,y2\na.png,1,2,three,4\n")
    with pytest.raises(InputError, match=r"boxes.csv, line 2: expected the columns"):
        read_boxes(file)
    for box in ("9,2,3,40", "1,2,nan,4", "1,2,inf,4"):
        file.write_text(f"name,x1,y1,x2,y2\nb.png,1,2,30,40\na.png,{box}\n")
        with pytest.raises(
            InputError, match=r"boxes\.csv, line 3: the box of a\.png is .*; expected x1 < x2 and y1 < y2"
        ):
            read_boxes(file)
    file.write_text("name,x1,y1,x2,y2\nb.png,1,2,30,40\n", encoding="utf-8-sig")  # as spreadsheets write it
    assert [(box.name, box.edges) for box in read_boxes(file)] == [("b.png", (1.0, 2.0, 30.0, 40.0))]
    face(1)[0].save(tmp_path / "a.png")
    with pytest.raises(InputError, match="has no box of any of these pictures"):
        predict_files(str(run), [tmp_path / "a.png"], boxes=file)
    face(2)[0].save(tmp_path / "b.png")
    file.write_text("name,x1,y1,x2,y2\na.png,1,2,30,40\nb.png,500,500,600,600\n")
    capsys.readouterr()
    (row,) = predict_files(str(run), [tmp_path / "a.png", tmp_path / "b.png"], boxes=file)  # one slip stops no batch
    assert Path(row["file"]).name == "a.png"
    assert re.search(
        r"left out: .*boxes\.csv, line 3: .*b\.png: the box 500, .* does not show", capsys.readouterr().err
    )
    with pytest.raises(InputError, match="none of the pictures could be read, or none shows its box"):
        predict_files(str(run), [tmp_path / "b.png"], boxes=file)
    predict_files(str(run), [tmp_path / "a.png"])
    assert "without --boxes each picture is taken for a crop" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"search": {}, "distill": None}, "search: not for task"),
        ({"distill": {"method": "kd"}}, "distill.method = 'kd': teaches classes"),
        ({"distill": {"method": "two_teacher", "options": {"use": "tuff"}}}, "unknown use 'tuff'"),
        ({"train": {"soft_targets": 0.9}}, "train.soft_targets: a student that is distilled"),
        ({"train": {"label_smoothing": 0.1}}, "label_smoothing: not for task"),
        ({"train": {"loss": "wingg"}}, "unknown loss 'wingg'"),
        ({"student": {"model": "lraspp_mobilenet_v3_small"}}, "student: landmarks: needs a network"),
    ],
)
def test_what_points_do_not_have_is_told_before_any_work(data: Path, tmp_path: Path, changes: dict, told: str) -> None:
    torch.set_num_threads(1)
    with pytest.raises(InputError, match=told):
        run_recipe(parse_recipe(faces_tree(data, **changes), where="test"), tmp_path / "run")


def test_one_teacher_is_too_few_and_shares_are_of_no_use(data: Path, tmp_path: Path) -> None:
    tree = faces_tree(data)
    more = tree["teacher"].pop("more")
    with pytest.raises(InputError, match="needs two ready teachers, the tough one first; got 1"):
        run_recipe(parse_recipe(tree, where="test"), tmp_path / "run")
    tree["teacher"]["more"] = [{**more[0], "share": 2.0}]
    with pytest.raises(InputError, match="tells its teachers apart"):
        run_recipe(parse_recipe(tree, where="test"), tmp_path / "run")


def test_losses_and_soft_targets_are_of_landmarks_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.loss: not for task"):
        run_recipe(small_recipe(train__loss="wing"), tmp_path / "run")
    with pytest.raises(InputError, match=r"teacher\.train\.soft_targets: not for task"):
        run_recipe(small_recipe(teacher__train__soft_targets=0.9), tmp_path / "run")
