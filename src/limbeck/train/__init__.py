"""The one training loop and what it stands on: optimizers, schedules, checkpoints, devices. No teacher, no recipe."""

from limbeck.train.checkpoint import load_checkpoint, save_checkpoint
from limbeck.train.evaluate import evaluate_network, evaluating, network_outputs, predict_logits
from limbeck.train.loop import fit
from limbeck.train.memory import find_batch_size, largest_batch
from limbeck.train.objective import Supervised
from limbeck.train.runtime import World, choose_device, choose_precision, join_world
from limbeck.train.settings import TrainSettings
from limbeck.train.standing import FitReport

__all__ = [
    "FitReport",
    "Supervised",
    "TrainSettings",
    "World",
    "choose_device",
    "choose_precision",
    "evaluate_network",
    "evaluating",
    "find_batch_size",
    "fit",
    "join_world",
    "largest_batch",
    "load_checkpoint",
    "network_outputs",
    "predict_logits",
    "save_checkpoint",
]
