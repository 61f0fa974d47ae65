"""A whole run on pictures with masks: what is kept, judged, proven, shown, and what its files say afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places_run import FAKE, masks_folder, places_recipe, run_quickly

import limbeck
from limbeck.deployed import ClassMaps, read_artifact
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.measure import open_device
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.predict import predict_files
from limbeck.pipeline.problems import Case
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.use import evaluate_model

NETWORKS = ("lraspp_mobilenet_v3_small", "raspp_mobilenet_v2")
COUNTS = {"train": 16, "val": 8, "test": 6}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return masks_folder(tmp_path_factory.mktemp("scenes"), COUNTS)


@pytest.fixture(scope="module")
def run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    data = {"name": "masks", "path": str(scenes)}
    run_quickly(places_recipe("segmentation", data, *NETWORKS), folder)
    return folder


def test_every_stage_leaves_what_it_should(run: Path) -> None:
    report = read_json(run / "report.json")
    student, teacher = ({m["name"]: m for m in report["models"]}[name] for name in ("student", "teacher"))
    assert student["primary"]["name"] == "miou"
    assert set(student["per_class"]["values"]) == {"ground", "red", "blue"}
    ious = [iou for iou in student["per_class"]["values"].values() if iou is not None]
    assert student["primary"]["value"] == pytest.approx(np.mean(ious))
    assert student["reliability"]["counted"] == "pixels"
    assert teacher["per_class"]["name"] == "IoU"
    assert len(report["parity"]) == 5  # tensors and decisions of two models, int8 of one
    assert all(gate["passed"] for gate in report["parity"])
    assert report["paired"]["student_vs_teacher"]["n"] == COUNTS["test"]
    assert len(report["examples"]) == COUNTS["test"]
    page = (run / "report.html").read_text()
    assert "Classes" in page
    assert page.count("data:image/jpeg") == COUNTS["test"]


def test_kept_confusions_agree_with_the_pictures(run: Path, scenes: Path) -> None:
    """Every labelled pixel is counted once, by its true class."""
    with np.load(run / "stages/distill/student/predictions.npz") as kept:
        confusion, logits, target = (kept[f"test/{name}"] for name in ("confusion", "logits", "target"))
    masks = [np.asarray(Image.open(path)) for path in sorted((scenes / "test/masks").iterdir())]
    for one, mask in zip(confusion, masks, strict=True):
        assert one.sum(1).tolist() == [int((mask == label).sum()) for label in range(3)]
    assert logits.shape == (COUNTS["test"], 256, 3)
    assert (target >= 0).all()


def test_a_finished_run_is_not_done_again(run: Path, scenes: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.glob("stages/**/report.json")}
    data = {"name": "masks", "path": str(scenes)}
    run_recipe(places_recipe("segmentation", data, *NETWORKS), run)
    assert {path: path.stat().st_mtime_ns for path in run.glob("stages/**/report.json")} == before


def test_the_file_gives_the_same_figures_on_the_same_pictures(run: Path, scenes: Path) -> None:
    report = read_json(run / "report.json")
    student = next(m for m in report["models"] if m["name"] == "student")
    figures = evaluate_model(str(run), str(scenes))
    assert figures["pictures"] == COUNTS["test"]
    assert figures["miou"] == pytest.approx(student["metrics"]["miou"], abs=1e-3)
    assert figures["ece"] == pytest.approx(student["metrics"]["ece"], abs=1e-3)


def test_predicted_maps_are_in_the_picture_s_own_size(
    run: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.asarray(Image.open(scenes / "test/images/024.png"))
    model = limbeck.load(run)
    wide = np.asarray(Image.fromarray(picture).resize((144, 64)))
    found = model.predict([picture, wide])
    assert [one.shape for one in found.maps] == [(32, 48), (64, 144)]
    assert (found.maps[0] < 3).all()
    assert (found.maps[1][:, :24] == 255).all()  # cropped away on the left
    assert (found.maps[1][:, 30:100] < 3).all()
    np.testing.assert_allclose(found.shares().sum(1), 1)

    counted, shares = [], ClassMaps.shares
    monkeypatch.setattr(ClassMaps, "shares", lambda self: counted.append(len(self)) or shares(self))
    rows = predict_files(str(run), [scenes / "test/images"], output=tmp_path / "maps")
    assert sum(counted) == COUNTS["test"]  # each map's pixels once
    assert list(rows[0]["shares"].values()) == found.shares()[0].round(6).tolist()
    assert [Path(row["file"]).stem for row in rows] == [f"{n:03d}" for n in range(24, 30)]
    written = Image.open(tmp_path / "maps/024.png")
    assert written.mode == "P"
    assert written.text["class 1"] == "red"
    np.testing.assert_array_equal(np.asarray(written), found.maps[0])


def test_a_file_of_classes_says_what_the_one_of_probabilities_says(run: Path, scenes: Path, tmp_path: Path) -> None:
    """`export.output = "classes"`: bytes per pixel, made of the proven file and held to it."""
    data = {"name": "masks", "path": str(scenes)}
    recipe = places_recipe("segmentation", data, *NETWORKS, output="classes")
    context = Context(recipe, RunFolder(run))
    case = Case(
        open_device(FAKE),
        context.load("distill/student"),
        context.predictions("distill/student").test,
        context.splits.test,
        context.folder.need("calibrate").result["models"]["student"]["temperature"],
        recipe.export,
    )
    graph = read_artifact(run / "export/model.onnx")
    artifact = context.problem.finish(graph, tmp_path / "classes.onnx", recipe.export)
    gates, _ = context.problem.prove(graph, artifact, case)
    assert [(gate["kind"], gate["passed"]) for gate in gates] == [("tensor", True), ("metric", True), ("metric", True)]
    whole, classes = limbeck.load(run), limbeck.load(artifact.path)
    assert classes.metadata["output"] == "classes"
    picture = scenes / "test/images/025.png"
    np.testing.assert_array_equal(classes.predict(picture).maps[0], whole.predict(picture).maps[0])
    figures = evaluate_model(artifact.path, str(scenes))
    assert figures["miou"] == pytest.approx(evaluate_model(str(run), str(scenes))["miou"], abs=1e-6)
    assert "ece" not in figures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {"model": "mobilenet_v3_small"}}, "segmentation needs logits"),
        ({"search": {"trials": 2}}, 'search: not for task = "segmentation"'),
        ({"baselines": {"off_the_shelf": "auto"}}, "ready networks are classifiers"),
        ({"export": {"nms": "outside"}}, 'export.nms: not for task = "segmentation"'),
    ],
)
def test_what_segmentation_has_not_is_told_before_any_work(
    scenes: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    recipe = places_recipe("segmentation", {"name": "masks", "path": str(scenes)}, *NETWORKS)
    tree = json.loads(recipe.model_dump_json())
    changed = type(recipe).model_validate(
        {**tree, **{key: {**(tree[key] or {}), **value} for key, value in changes.items()}}
    )
    with pytest.raises(InputError, match=message):
        run_recipe(changed, tmp_path / "run")
