"""The `off_the_shelf` baseline: the best ready pretrained network within the budget, fine-tuned as long as the student."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from limbeck.console import say
from limbeck.errors import InputError
from limbeck.files import read_json, write_json
from limbeck.models import Network
from limbeck.pipeline.budget import ceilings_of, time_networks
from limbeck.pipeline.context import Context, create_for
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.train import train_to_end
from limbeck.recipe import Model
from limbeck.train import join_world

__all__ = ["READY_NETWORKS", "train_off_the_shelf"]

# From accurate to fast by their published ImageNet accuracy (timm's results file); `auto` takes the first within the budget.
READY_NETWORKS = (
    "timm:mobilenetv4_conv_medium",
    "timm:mobilenetv3_large_100",
    "timm:mobilenetv4_conv_small",
    "timm:mobilenetv2_100",
    "timm:resnet18",
    "timm:mobilenetv3_small_100",
    "timm:mobilenetv3_small_075",
    "timm:mobilenetv3_small_050",
)


def train_off_the_shelf(context: Context) -> StageRecord:
    """Fine-tune a ready network; with `auto` a machine that can have no weights skips the baseline and says so."""
    asked = context.recipe.baselines.off_the_shelf
    assert asked is not None
    inputs = context.inputs("data", "augment", "train", "budget", "baselines", task=context.recipe.task)

    def work(folder: Path) -> dict[str, Any]:
        kept = folder / "choice.json"
        if context.is_writer and not kept.exists():  # one process times; the others read what it chose
            name, reason = _choose(context) if asked == "auto" else (asked, "")
            write_json(kept, {"model": name, "skipped": reason})
        join_world(context.recipe.train.device)[0].wait()
        choice = read_json(kept)
        if choice["skipped"]:
            say(f"off_the_shelf: skipped ({choice['skipped']})")
            return {"skipped": choice["skipped"]}
        train, seed = context.recipe.train, context.recipe.seed
        torch.manual_seed(seed)  # of the new classifier
        network = _network(context, choice["model"], pretrained=True)
        return {**choice, **train_to_end(context, network, train, folder, seed=seed, name="off_the_shelf")}

    return context.folder.do("train/off_the_shelf", inputs, work, world=context.world, together=True)


def _network(context: Context, name: str, *, pretrained: bool) -> Network:
    """A ready network at the pictures' own size, as the student has it: what is timed is what is fine-tuned."""
    size = context.splits.image_size
    model = Model(model=name, pretrained=pretrained, input_size=size)
    return create_for(model, num_classes=context.num_classes, picture_size=size, where="baselines.off_the_shelf")


def _choose(context: Context) -> tuple[str, str]:
    """Name of the first ready network within the budget whose weights can be had; or why there is none."""
    ceilings = ceilings_of(context)
    for name in READY_NETWORKS:
        fresh = _network(context, name, pretrained=False)
        with tempfile.TemporaryDirectory() as scratch:
            timed = time_networks(context, [fresh], Path(scratch))[0]
        if isinstance(timed, Exception):
            continue
        costs = {name: timed[name] for name in ("latency_ms", "size_bytes", "peak_memory_bytes")}
        if ceilings.violations(**costs, params=fresh.params(), macs=fresh.macs()):
            continue
        try:
            _network(context, name, pretrained=True)
        except InputError as error:
            return "", f"no pretrained weights could be had for {name}: {error}"
        return name, ""
    return "", f"none of the {len(READY_NETWORKS)} ready networks is within the budget"
