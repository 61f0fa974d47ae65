"""The shipped recipes of detection: whole headers, the published networks, graphs that stand, a run in miniature."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from places_run import FAKE, SIZE, boxes_folder
from recipe_headers import check_header
from torch import nn

from limbeck.distill import distillation
from limbeck.pipeline.context import create_for
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.start import list_recipes, open_recipe, recipe_notes
from limbeck.types import Batch

CLASSES = {"bccd": 3, "coco": 80}
SHIPPED = [name for name in list_recipes() if name.partition("/")[0] in CLASSES]
TABLE_6 = {  # at 90 classes: parameters with norms, without, and as the table has them
    "coco/ssdlite_mobilenet_v2": (4_500_543, 4_449_791, "4.3M"),
    "coco/ssdlite_mnasnet_a1": (4_912_181, 4_861_669, "4.88M"),
    "coco/ssdlite_mobilenet_v3_large_whole": (None, 4_967_000, "4.97M"),
    "coco/ssdlite_mobilenet_v3_large": (None, 3_215_000, "3.22M"),
    "coco/ssdlite_mobilenet_v3_small_whole": (2_518_271, 2_493_487, "2.49M"),
    "coco/ssdlite_mobilenet_v3_small": (1_785_743, 1_765_279, "1.77M"),
    "coco/ssdlite_mobilenet_v3_large_torchvision": (3_440_060, None, "3,440,060"),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_header_says_everything_and_its_command_is_that_recipe(name: str) -> None:
    check_header(name, task="detection", figure=r"\d\.\d mAP")


def test_the_rows_of_table_6_have_its_parameters() -> None:
    assert set(TABLE_6) == {name for name in SHIPPED if name.startswith("coco/")}
    for name, (whole, without_norms, published) in TABLE_6.items():
        recipe, _ = open_recipe(name)
        with torch.device("meta"):
            network = create_for(recipe.student, num_classes=90, picture_size=(320, 320), where="student")
        count = sum(weight.numel() for weight in network.parameters())
        norms = [value for part in network.modules() if isinstance(part, nn.BatchNorm2d) for value in part.parameters()]
        assert whole is None or count == whole
        assert without_norms is None or abs(count - sum(value.numel() for value in norms) - without_norms) < 1000
        assert f"{published} parameters" in recipe_notes(name)["published"]


def test_rows_side_by_side_differ_in_their_network_alone() -> None:
    for folder, other in (("bccd", set()), ("coco", {"train"})):
        rows = [name for name in SHIPPED if name.startswith(f"{folder}/ssdlite") and not name.endswith("torchvision")]
        assert len(rows) == {"bccd": 3, "coco": 6}[folder]
        first = open_recipe(rows[0])[0].resolved()
        for name in rows[1:]:
            own = open_recipe(name)[0].resolved()
            assert {key for key in own if own[key] != first[key]} <= {"name", "student"} | other
            assert {k: v for k, v in own["train"].items() if k != "epochs"} == {
                k: v for k, v in first["train"].items() if k != "epochs"
            }


@pytest.mark.parametrize("name", ["bccd/quick", "coco/ssdlite_mobilenet_v3_small"])
def test_a_graph_stands_on_a_probe_batch(name: str) -> None:
    recipe, _ = open_recipe(name)
    classes, size = CLASSES[name.partition("/")[0]], (64, 96)
    networks = [
        create_for(model, num_classes=classes, picture_size=size, where="model")
        for model in (recipe.student, *recipe.teachers.values())
    ]
    assert networks[0].eval()(torch.zeros(1, 3, *size)).class_logits.shape[::2] == (1, classes + 1)
    if recipe.distill is not None:
        target = torch.tensor([[[0.0, 0.1, 0.1, 0.6, 0.7]], [[-1.0, 0, 0, 0, 0]]])
        example = Batch(torch.arange(2), torch.rand(2, 3, *size), target)
        graph = distillation(
            recipe.distill.method, student=networks[0], teacher=networks[1], example=example, **recipe.distill.options
        )
        assert torch.isfinite(graph(example, torch.tensor(0.0))["loss"])


@pytest.mark.slow  # three trainings and their files
def test_the_quick_recipe_runs_in_miniature(tmp_path: Path) -> None:
    """As written but for its size: other pictures, an epoch each, a device with known latencies."""
    torch.set_num_threads(1)
    scenes = boxes_folder(tmp_path / "scenes", {"train": 16, "val": 8})
    short = {"epochs": 1, "threads": 1, "device": "cpu"}
    changes = {f"{section}.{key}": value for section in ("train", "teacher.train") for key, value in short.items()}
    changes |= {
        "data.path": str(scenes),
        "data.name": "coco",
        "data.image_size": list(SIZE),
        "budget": {"target": FAKE},
    }
    changes |= {"student.width_multiplier": 0.35, "teacher.width_multiplier": 0.35, "measure": {"runs": 20}}
    changes |= {"export.calibration_pictures": 8, "export.max_int8_drop": 1.0}
    recipe, _ = open_recipe("bccd/quick", changes)
    report = run_recipe(recipe, tmp_path / "run")
    assert {"student", "plain", "teacher"} <= {model["name"] for model in report["models"]}
    assert all(model["primary"]["name"] == "map" for model in report["models"])
