"""The shipped recipes that reproduce published rows: whole headers, names that exist, the protocols as published.

What does not live here: runs of recipes in miniature (`test_package`), the methods and networks themselves.
"""

from __future__ import annotations

import re
import shlex
from functools import cache

import pytest
import torch

from limbeck.distill import Distillation, distillation
from limbeck.models import Network
from limbeck.pipeline.context import create_for
from limbeck.pipeline.distill import check_graph, role_of_teacher
from limbeck.pipeline.start import list_recipes, open_recipe, parse_changes, recipe_header, recipe_notes, recipe_text
from limbeck.recipe import Model, Recipe
from limbeck.types import Batch

FOLDERS = {"cifar100": (100, 32), "cifar10": (10, 32), "tiny_imagenet": (200, 64), "imagenet": (1000, 224)}
FIELDS = ["command", "protocol", "time", "hardware", "published", "ours", "differs", "mind"]
SHIPPED = [name for name in list_recipes() if name.partition("/")[0] in FOLDERS]
ROWS = [name for name in SHIPPED if recipe_notes(name)]


def folder_of(name: str) -> str:
    return name.partition("/")[0]


@cache
def recipe_of(name: str) -> Recipe:
    return open_recipe(name)[0]


def network_of(model: Model, folder: str, device: str) -> Network:
    """A network of a recipe with fresh weights; on `meta` its layers only, which takes no time."""
    classes, side = FOLDERS[folder]
    fields = {key: getattr(model, key) for key in Model.model_fields} | {"pretrained": False}
    with torch.device(device):
        return create_for(Model(**fields), num_classes=classes, picture_size=(side, side), where="model")


# ---- headers


@pytest.mark.parametrize("name", SHIPPED)
def test_a_header_says_everything_in_one_order(name: str) -> None:
    notes = recipe_notes(name)
    if not notes:
        assert name == "tiny_imagenet/ten_classes"  # an example, not a published row
        return
    assert list(notes) in (FIELDS, FIELDS[:-1])
    assert all(text.strip() for text in notes.values())
    assert recipe_header(name).endswith(".")
    lines = recipe_text(name).split("\n\n", 1)[0].splitlines()
    assert all(re.match(r"# (\S|           \S)", line) and len(line) <= 120 for line in lines)
    assert notes["ours"] == "not yet run" or re.search(r"\d+\.\d+ ± \d+\.\d+", notes["ours"])
    assert re.search(r"\d\.\d", notes["published"]) or notes["published"].startswith("none")
    assert "last epoch" in notes["differs"]


@pytest.mark.parametrize("name", ROWS)
def test_the_command_of_a_header_is_that_recipe(name: str) -> None:
    words = shlex.split(recipe_notes(name)["command"])
    assert words == ["limbeck", "run", name, "--set", "data.path=FOLDER"]
    recipe, run = open_recipe(words[2], parse_changes([words[4]]))
    assert recipe.data.path == "FOLDER"
    assert recipe.data.name == folder_of(name)
    assert run.name == name.replace("/", "-")


@pytest.mark.parametrize("name", ROWS)
def test_a_comparison_left_to_another_recipe_is_there(name: str) -> None:
    recipe = recipe_of(name)
    if recipe.distill is None or recipe.baselines.plain:
        return
    (other,) = re.findall(r"^plain = false +# (\S+) is that row$", recipe_text(name), flags=re.MULTILINE)
    plain = recipe_of(other)
    assert plain.distill is None
    assert plain.student == recipe.student
    assert plain.augment == recipe.augment
    if folder_of(name) != "imagenet":  # where each method has a batch size of its own
        assert plain.train == recipe.train


# ---- protocols, as their authors' code has them

STEP = {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "decay_norm_and_bias": True, "schedule": "step"}
STEP |= {"gamma": 0.1, "warmup_epochs": 0, "label_smoothing": 0.0, "clip_norm": None, "accumulate": 1, "ema": 0.0}


def stepped(epochs: int, batch: int, rate: float, decay: float, milestones: tuple, **more: object) -> dict:
    first = {"epochs": epochs, "batch_size": batch, "learning_rate": rate, "weight_decay": decay}
    return {**STEP, **first, "milestones": milestones, **more}


PROTOCOLS = {
    ("cifar100", "CRD's"): stepped(240, 64, 0.05, 5e-4, (150, 180, 210)),
    ("cifar100", "cls_KD's"): stepped(200, 128, 0.1, 5e-4, (60, 120, 160), gamma=0.2),
    ("cifar100", "not"): stepped(200, 128, 0.1, 5e-4, (60, 120, 160), gamma=0.2),
    ("cifar100", "Tf-KD's"): stepped(200, 128, 0.1, 5e-4, (60, 120, 160), gamma=0.2, warmup_epochs=1),
    ("cifar100", "PS-KD's"): stepped(300, 128, 0.1, 5e-4, (150, 225)),
    ("cifar100", "ONE's"): stepped(300, 128, 0.1, 5e-4, (150, 225)),
    ("cifar100", "CS-KD's"): stepped(200, 128, 0.1, 1e-4, (100, 150)),
    # SwitOKD counts epochs from 1 to 299 (199) and lowers the rate as one begins
    ("cifar100", "SwitOKD's"): stepped(299, 128, 0.01, 5e-4, (139, 199, 249)),
    ("cifar10", "SwitOKD's"): stepped(299, 128, 0.1, 5e-4, (99, 149, 199)),
    ("tiny_imagenet", "SwitOKD's"): stepped(199, 128, 0.01, 5e-4, (99, 139, 179)),
    ("imagenet", "SwitOKD's"): stepped(120, 512, 0.1, 1e-4, (30, 60, 90)),
    ("imagenet", "mdistiller's"): stepped(100, 512, 0.2, 1e-4, (30, 60, 90)),
    ("imagenet", "cls_KD's"): stepped(100, 256, 0.1, 1e-4, (30, 60, 90)),
}
DEVIATIONS = {  # by recipe, and by network: what differs from the folder's protocol, as published
    "cifar100/label_smoothing_resnet18": {"label_smoothing": 0.1},
    "imagenet/nkd_resnet50_mobilenet_v1": {"clip_norm": 5.0},
}
SLOW = ("cifar_mobilenet_v2_half", "cifar_shufflenet_v1")


@pytest.mark.parametrize("name", ROWS)
def test_the_training_is_the_protocol_that_the_header_names(name: str) -> None:
    recipe, folder, told = recipe_of(name), folder_of(name), recipe_notes(name)["protocol"]
    who = told.split()[0].rstrip(":,")
    trainings = {recipe.student.model: recipe.train}
    if recipe.teacher is not None and recipe.teacher.weights is None and role_of_teacher(recipe) != "trained":
        trainings[recipe.teacher.model] = recipe.teacher.train
    for network, train in trainings.items():
        known = PROTOCOLS[folder, who] | DEVIATIONS.get(name, {})
        if who == "CRD's" and network in SLOW:
            known["learning_rate"] = 0.01
        if (folder, who, network) == ("cifar100", "SwitOKD's", "cifar_wrn_16_2"):
            known["learning_rate"] = 0.1  # each network by its own rate where they train apart
        assert {key: getattr(train, key) for key in known} == known
        assert f"{train.epochs} epochs of {train.batch_size} pictures" in told
    assert recipe.data.validation == 0, "the published protocols train on every training picture"
    assert recipe.augment.flip
    side = FOLDERS[folder][1]
    if folder == "imagenet":
        assert (recipe.augment.crop, recipe.augment.scale, recipe.data.image_size) == ("resized", (0.08, 1.0), side)
    else:
        assert (recipe.augment.crop, recipe.augment.padding * side) == ("shift", 4)


# ---- names


@pytest.mark.parametrize("name", ROWS)
def test_every_name_in_a_recipe_exists(name: str) -> None:
    recipe = recipe_of(name)
    check_graph(recipe)
    student = network_of(recipe.student, folder_of(name), "meta")
    for teacher in recipe.teachers.values():
        network_of(teacher, folder_of(name), "meta")
    exit_stage = recipe.distill.options.get("exit_stage") if recipe.distill else None
    if exit_stage and not recipe.student.model.startswith("torchvision:"):  # whose stages take a pass to find
        assert exit_stage in (*student.stage_names, *student.further_stage_names())


def one_per_method() -> list[str]:
    """A recipe of each method and folder, of small networks where there is a choice; ImageNet's without a teacher."""
    chosen: dict[tuple[str, str | None], str] = {}
    for name in sorted(ROWS, key=lambda name: (not name.endswith("_resnet56_resnet20"), name)):
        recipe = recipe_of(name)
        if recipe.distill is None or (folder_of(name) == "imagenet" and recipe.teacher is not None):
            continue
        chosen.setdefault((folder_of(name), recipe.distill.method), name)
    return sorted(chosen.values())


def graph_of(name: str) -> Distillation:
    recipe, folder = recipe_of(name), folder_of(name)
    assert recipe.distill is not None
    torch.manual_seed(0)
    classes, side = FOLDERS[folder]
    example = Batch(torch.arange(2), torch.rand(2, 3, side, side), torch.tensor([0, classes - 1]))
    return distillation(
        str(recipe.distill.method),
        student=network_of(recipe.student, folder, "cpu"),
        teacher=[network_of(teacher, folder, "cpu") for teacher in recipe.teachers.values()],
        example=example,
        num_samples=50,
        epochs=recipe.train.epochs,
        **recipe.distill.options,
    )


@pytest.mark.parametrize("name", one_per_method())
def test_a_graph_stands_on_a_probe_batch(name: str) -> None:
    graph = graph_of(name)
    assert sum(parameter.requires_grad for parameter in graph.deployable().parameters()) > 0
    assert ("peer" in graph.learners()) == (role_of_teacher(recipe_of(name)) == "trained")
