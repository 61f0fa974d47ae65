"""The shipped recipes of segmentation: whole headers, the published networks, graphs that stand, a run in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from places_run import FAKE, SIZE, masks_folder
from recipe_headers import check_header

from limbeck.distill import distillation
from limbeck.pipeline.context import create_for
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.start import list_recipes, open_recipe, recipe_notes
from limbeck.types import Batch

CLASSES = {"camvid": 11, "cityscapes": 19}
SHIPPED = [name for name in list_recipes() if name.partition("/")[0] in CLASSES]
TABLE_7 = {  # parameters of rows 5 to 8 and 11 of MobileNetV3's Table 7, as its networks have them at 19 classes
    "cityscapes/raspp_mobilenet_v3_large_whole": (3_600_963, "3.60M"),
    "cityscapes/raspp_mobilenet_v3_large": (1_762_435, "1.76M"),
    "cityscapes/lraspp_mobilenet_v3_large_256": (1_632_894, "1.63M"),
    "cityscapes/lraspp_mobilenet_v3_large": (1_507_198, "1.51M"),
    "cityscapes/lraspp_mobilenet_v3_small": (468_830, "0.47M"),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_header_says_everything_and_its_command_is_that_recipe(name: str) -> None:
    check_header(name, task="segmentation", figure=r"\d\.\d+ mIoU")


def test_the_rows_of_table_7_have_its_parameters() -> None:
    assert set(TABLE_7) == {name for name in SHIPPED if name.startswith("cityscapes/")}
    for name, (parameters, published) in TABLE_7.items():
        recipe, _ = open_recipe(name)
        assert recipe.data.image_size == (1024, 2048)
        with torch.device("meta"):
            network = create_for(recipe.student, num_classes=19, picture_size=(1024, 2048), where="student")
        assert sum(weight.numel() for weight in network.parameters()) == parameters
        assert f"{published} parameters" in recipe_notes(name)["published"]


def test_rows_side_by_side_differ_in_their_network_alone() -> None:
    ours, theirs = (
        open_recipe(f"camvid/{name}")[0].resolved() for name in ("lraspp_mobilenet_v3_large", "raspp_mobilenet_v2")
    )
    assert {key for key in ours if ours[key] != theirs[key]} == {"name", "student"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_graph_stands_on_a_probe_batch(name: str) -> None:
    recipe, _ = open_recipe(name)
    classes, size = CLASSES[name.partition("/")[0]], (64, 96)
    networks = [
        create_for(model, num_classes=classes, picture_size=size, where="model")
        for model in (recipe.student, *recipe.teachers.values())
    ]
    assert networks[0].eval()(torch.zeros(1, 3, *size)).shape == (1, classes, *size)
    if recipe.distill is not None:
        example = Batch(torch.arange(2), torch.rand(2, 3, *size), torch.zeros(2, *size, dtype=torch.long))
        graph = distillation(
            recipe.distill.method, student=networks[0], teacher=networks[1], example=example, **recipe.distill.options
        )
        assert torch.isfinite(graph(example, torch.tensor(0.0))["loss"])


@pytest.mark.slow  # three trainings and their files
def test_the_quick_recipe_runs_in_miniature(tmp_path: Path) -> None:
    """As written but for its size: other pictures, an epoch each, a device with known latencies."""
    torch.set_num_threads(1)
    scenes = masks_folder(tmp_path / "scenes", {"train": 16, "val": 8, "test": 6})
    short = {"epochs": 1, "threads": 1, "device": "cpu"}
    changes = {f"{section}.{key}": value for section in ("train", "teacher.train") for key, value in short.items()}
    changes |= {"data.path": str(scenes), "data.image_size": list(SIZE), "budget": {"target": FAKE}}
    changes |= {"student.width_multiplier": 0.35, "teacher.width_multiplier": 0.35, "measure": {"runs": 20}}
    changes |= {"export.calibration_pictures": 8, "export.max_int8_drop": 1.0}
    recipe, _ = open_recipe("camvid/quick", changes)
    report = run_recipe(recipe, tmp_path / "run")
    assert {"student", "plain", "teacher"} <= {model["name"] for model in report["models"]}
    assert all(model["primary"]["name"] == "miou" for model in report["models"])
