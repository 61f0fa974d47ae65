"""The shipped recipes that reproduce published rows: whole headers, names that exist, the protocols as published.

What does not live here: runs of the other recipes in miniature (`test_package`), the methods and networks themselves.
"""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import torch
from small_run import FAKE, run_to_report

from limbeck.distill import Distillation, distillation
from limbeck.models import MODELS, family_table
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


STAIRCASE = {"optimizer": "rmsprop_tf", "momentum": 0.9, "epsilon": 1e-3, "weight_decay": 1e-5, "ema": 0.9999}
STAIRCASE |= {"decay_norm_and_bias": False, "schedule": "exponential", "warmup_epochs": 0, "label_smoothing": 0.0}


def staircase(epochs: int, batch: int, rate: float, gamma: float, every: float, **more: object) -> dict:
    first = {"epochs": epochs, "batch_size": batch, "learning_rate": rate, "gamma": gamma, "decay_epochs": every}
    return {**STAIRCASE, "accumulate": 1, "clip_norm": None, **first, **more}


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
    ("imagenet", "the"): stepped(100, 256, 0.1, 1e-4, (30, 60, 90)),
    ("imagenet", "torchdistill's"): stepped(100, 256, 0.1, 1e-4, (30, 60, 90)),
    ("imagenet", "MnasNet's"): staircase(350, 4096, 0.256, 0.97, 2.4, warmup_epochs=5, label_smoothing=0.1),
    ("imagenet", "MobileNetV3's"): staircase(600, 4096, 0.1, 0.99, 3.0, warmup_epochs=5),
    ("imagenet", "MobileNetV2's"): staircase(420, 768, 0.36, 0.98, 2.5, epsilon=1.0, weight_decay=4e-5)
    | {"label_smoothing": 0.1},
    ("imagenet", "timm's"): staircase(600, 1024, 0.064, 0.973, 2.4, warmup_epochs=3, label_smoothing=0.1),
    ("imagenet", "torchvision's"): staircase(600, 1024, 0.064, 0.973, 2.0, optimizer="rmsprop", epsilon=0.0316)
    | {"decay_norm_and_bias": True, "ema": 0.0},
}
TRANSFORMERS = {"optimizer": "adamw", "epochs": 300, "batch_size": 1024, "learning_rate": 1e-3, "weight_decay": 0.05}
TRANSFORMERS |= {"decay_norm_and_bias": False, "schedule": "cosine", "warmup_epochs": 20, "final_rate": 0.01}
TRANSFORMERS |= {"milestones": (), "clip_norm": 5.0, "label_smoothing": 0.1}
# What a row has apart from its folder's protocol, as published or as its header says.
APART = {
    "imagenet/crd_resnet34_resnet18": {"batch_size": 256, "learning_rate": 0.1},
    "imagenet/reviewkd_resnet34_resnet18": {"batch_size": 256, "learning_rate": 0.1},
    "imagenet/nkd_resnet50_mobilenet_v1": {"clip_norm": 5.0},
    "imagenet/uskd_mobilenet_v2": {"epochs": 300, "learning_rate": 0.045, "weight_decay": 4e-5}
    | {"schedule": "exponential", "gamma": 0.98, "decay_epochs": 1.0, "milestones": ()},
    "imagenet/uskd_shufflenet_v2": {"epochs": 300, "batch_size": 1024, "learning_rate": 0.5, "weight_decay": 4e-5}
    | {"decay_norm_and_bias": False, "schedule": "cosine", "warmup_epochs": 4, "milestones": ()},
    "imagenet/uskd_regnetx_016": {"batch_size": 1024, "learning_rate": 0.8, "weight_decay": 5e-5}
    | {"nesterov": True, "schedule": "cosine", "warmup_epochs": 5, "milestones": ()},
    "imagenet/mobilenet_v2_torchvision": {"epochs": 300, "batch_size": 256, "optimizer": "sgd", "learning_rate": 0.045}
    | {"epsilon": None, "gamma": 0.98, "decay_epochs": 1.0, "weight_decay": 4e-5},
    "imagenet/uskd_deit_tiny": TRANSFORMERS,
    "imagenet/uskd_swin_tiny": TRANSFORMERS,
    "imagenet/nkd_deit3_small_deit_tiny": TRANSFORMERS,
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
        known = PROTOCOLS[folder, who] | APART.get(name, {})
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


# ---- the families for the edge: network, augmentation, and a training in miniature

TENSORFLOW = {"bn_eps": 1e-3, "bn_momentum": 0.01, "padding": "same", "drop_path": 0.0, "dropout": 0.2}
EDGE: dict[
    str, tuple[str, dict, str | None]
] = {  # family, what its table must say, policy; each with what is published
    "mnasnet_a1_paper": ("mnasnet_a1", TENSORFLOW, None),
    "mnasnet_b1_paper": ("mnasnet_b1", TENSORFLOW, None),
    "mnasnet_small_paper": ("mnasnet_small", TENSORFLOW | {"dropout": 0.0}, None),
    "mobilenet_v2_paper": ("mobilenet_v2", TENSORFLOW | {"bn_momentum": 0.003}, None),
    "mobilenet_v2_torchvision": ("mobilenet_v2", {"bn_eps": 1e-5, "bn_momentum": 0.1, "dropout": 0.2}, None),
    "mobilenet_v3_large_paper": ("mobilenet_v3_large", TENSORFLOW, None),
    "mobilenet_v3_large_timm": (
        "mobilenet_v3_large",
        {"bn_eps": 1e-5, "bn_momentum": 0.1, "padding": "symmetric", "drop_path": 0.1875, "dropout": 0.2},
        "timm:rand-m9-mstd0.5",
    ),
    "mobilenet_v3_large_torchvision": ("mobilenet_v3_large", TENSORFLOW | {"padding": "symmetric"}, "imagenet"),
    "mobilenet_v3_small_paper": ("mobilenet_v3_small", TENSORFLOW, None),
    "mobilenet_v3_small_torchvision": ("mobilenet_v3_small", TENSORFLOW | {"padding": "symmetric"}, "imagenet"),
}


def test_every_family_for_the_edge_has_its_rows() -> None:
    found = {name for name in ROWS if name.startswith(("imagenet/mnasnet", "imagenet/mobilenet"))}
    assert found == {f"imagenet/{name}" for name in EDGE}


@pytest.mark.parametrize("name", EDGE)
def test_an_edge_row_trains_the_network_of_its_source(name: str) -> None:
    family, says, policy = EDGE[name]
    recipe = recipe_of(f"imagenet/{name}")
    table = family_table(recipe.student.model, **recipe.student.options)
    assert {key: getattr(table, key) for key in says} == says
    assert table.params() == MODELS[family]().params()
    assert (recipe.augment.auto_augment, recipe.augment.erase) == (policy, 0.2 if policy else 0.0)
    assert (recipe.augment.rand_augment, recipe.augment.mixup, recipe.augment.cutmix) == (None, 0, 0)


@pytest.mark.parametrize("name", EDGE)
def test_an_edge_row_runs_in_miniature(name: str, tmp_path: Path) -> None:
    """As written but for its size and its pictures; the stages behind the training are those of every run."""
    torch.set_num_threads(1)
    tiny = {"train.epochs": 1, "train.batch_size": 20, "train.threads": 1, "train.device": "cpu"}
    digits = {"data": {"name": "digits", "image_size": 16, "limit": 50, "validation": 0.2}, "budget": {"target": FAKE}}
    whole = recipe_of(f"imagenet/{name}")
    narrow = {} if whole.student.model.endswith("_100") else {"student.width_multiplier": 0.35}
    recipe, _ = open_recipe(f"imagenet/{name}", {**tiny, **digits, **narrow})
    assert recipe.train.optimizer == whole.train.optimizer
    assert recipe.augment == whole.augment
    report = run_to_report(recipe, tmp_path / "run")
    record = json.loads((tmp_path / "run/stages/train/student/report.json").read_text())
    assert record["result"]["fit"]["history"][-1]["step"] == 2
    assert {"student"} <= {model["name"] for model in report["models"]}


# ---- names and graphs

COMPUTE = ("crd", "fitnet", "one", "reviewkd", "rkd", "sp", "zipf_ls")  # methods whose probe needs numbers, not shapes

EXITS = {  # channels of the maps from which the authors' configurations take the weak logits of USKD
    "cifar100/uskd_resnet18": [256],
    "imagenet/uskd_resnet18": [256],
    "imagenet/uskd_resnet50": [1024],
    "imagenet/uskd_mobilenet_v1": [512],
    "imagenet/uskd_mobilenet_v2": [320],
    "imagenet/uskd_shufflenet_v2": [464],
    "imagenet/uskd_regnetx_016": [408],
    "imagenet/uskd_deit_tiny": [192],
    "imagenet/uskd_swin_tiny": [384],
}


def graph_of(name: str) -> Distillation | None:
    """The networks of a recipe with fresh weights, joined on a probe batch: on `meta` where shapes say all, which is quick."""
    recipe = recipe_of(name)
    classes, side = FOLDERS[folder_of(name)]
    method = recipe.distill.method if recipe.distill else None
    torch.manual_seed(0)
    with torch.device("cpu" if method in COMPUTE else "meta"):
        student, *teachers = (
            create_for(
                Model(**{key: getattr(model, key) for key in Model.model_fields} | {"pretrained": False}),
                num_classes=classes,
                picture_size=(side, side),
                where="model",
            )
            for model in (recipe.student, *recipe.teachers.values())
        )
        if recipe.distill is None or method is None:
            return None
        example = Batch(torch.arange(2), torch.rand(2, 3, side, side), torch.tensor([0, classes - 1]))
        shared = {"example": example, "num_samples": 50, "epochs": recipe.train.epochs}
        return distillation(method, student=student, teacher=teachers, **shared, **recipe.distill.options)


@pytest.mark.parametrize("name", ROWS)
def test_names_exist_and_a_graph_stands_on_a_probe_batch(name: str) -> None:
    recipe = recipe_of(name)
    check_graph(recipe)
    graph = graph_of(name)
    assert (graph is None) == (recipe.distill is None)
    if graph is not None:
        assert ("peer" in graph.learners()) == (role_of_teacher(recipe) == "trained")
        assert [head.linear.in_features for head in graph.sources["student"].exits] == EXITS.get(name, [])
