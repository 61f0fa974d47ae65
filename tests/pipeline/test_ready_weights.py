"""A teacher whose weights are there already, as a checkpoint or in a library, is taken as it is, or refused in one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from small_run import small_recipe

from limbeck.errors import InputError
from limbeck.models import create_model, load_network
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.train import load_ready
from limbeck.recipe import Recipe, TrainedModel


def checkpoint(path: Path, *, classes: int) -> dict:
    """One in the form of the literature: weights beside an epoch and the arguments of the training."""
    torch.manual_seed(0)
    state = create_model("cifar_resnet8", num_classes=classes, input_size=16).state_dict()
    torch.save({"epoch": 240, "opt": argparse.Namespace(model="resnet8"), "model": state}, path)
    return state


def recipe_with(weights: str, model: str = "cifar_resnet8") -> Recipe:
    recipe = small_recipe(search=None)
    teacher = recipe.teacher.model_copy(update={"model": model, "width_multiplier": 1.0, "weights": weights})
    return recipe.model_copy(update={"teacher": teacher})


def test_a_checkpoint_is_the_teacher_untrained(tmp_path: Path) -> None:
    state = checkpoint(tmp_path / "resnet8.pth", classes=10)
    run_recipe(recipe_with(str(tmp_path / "resnet8.pth")), tmp_path / "run", until="train")
    network = load_network(tmp_path / "run" / "stages" / "train" / "teacher")
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not (tmp_path / "run" / "stages" / "train" / "teacher" / "fit").exists()


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("resnet8.pth", "does not know the data's 10 classes .*fc"),
        ("nowhere.pth", "no such file"),
        ("timm:resnet8", "pretrained takes the path"),
    ],
)
def test_weights_that_do_not_serve_are_told_before_any_stage(weights: str, told: str, tmp_path: Path) -> None:
    checkpoint(tmp_path / "resnet8.pth", classes=100)
    given = weights if ":" in weights else str(tmp_path / weights)
    with pytest.raises(InputError, match=rf"^teacher\.weights: .*{told}") as caught:
        run_recipe(recipe_with(given), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_library_network_teaches_the_classes_that_it_knows(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights as if downloaded: its own fresh ones, kept on disk, where it may have 10 classes or 1000."""
    import timm
    from torchvision.models import ResNet18_Weights

    torch.manual_seed(1)
    kept = create_model(f"{library}:resnet18", num_classes=1000, input_size=32)
    state = kept.module.state_dict()
    if library == "torchvision":
        monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda self, **options: state)
    else:
        torch.save(state, tmp_path / "resnet18.pth")
        build = timm.create_model

        def without_download(name: str, *, pretrained: bool = False, **options: object) -> torch.nn.Module:
            overlay = {"file": str(tmp_path / "resnet18.pth")} if pretrained else {}
            return build(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **options)

        monkeypatch.setattr(timm, "create_model", without_download)
    name = f"{library}:resnet18"
    context = Context(recipe_with(name, name), RunFolder(tmp_path / "run"))
    with pytest.raises(InputError, match=r"teacher\.weights: .* does not know the data's 10 classes \(module\.fc"):
        load_ready(context.recipe.teacher, context, where="teacher.weights")

    monkeypatch.setattr(Context, "num_classes", 1000)
    ready = load_ready(TrainedModel(model=name, weights=name, input_size=32), context, where="teacher.weights")
    assert all(torch.equal(value, state[name]) for name, value in ready.module.state_dict().items())
    assert ready.filled.filled == ready.filled.total == kept.params()
