"""Distillation without a recipe: data, two networks, a method, and the loop that a kill cannot hurt.

Run it again with the same --folder after a Ctrl-C: it goes on. Run: python examples/distill_in_python.py
"""

from __future__ import annotations

import argparse
import tempfile

from torch import nn

from limbeck.data import Augment, Loader, open_data
from limbeck.distill import distillation
from limbeck.models import create_model
from limbeck.tasks import Classification
from limbeck.train import Supervised, TrainSettings, fit, predict_logits


def main(folder: str, *, epochs: int = 6, limit: int | None = None) -> dict[str, float]:
    splits = open_data("digits", image_size=16, validation=0.2, limit=limit)
    task = Classification(len(splits.class_names))
    settings = TrainSettings(epochs=epochs, learning_rate=0.1, batch_size=64)
    batches = Loader(splits.train, batch_size=64, augment=Augment(flip=False), seed=0)

    def figures(network: nn.Module, pictures=splits.validation) -> dict[str, float]:
        batches = Loader(pictures, batch_size=256, augment=None, shuffle=False, drop_last=False)
        return task.figures(*predict_logits(network, batches.epoch(0)))

    options = {"num_classes": len(splits.class_names), "input_size": 16}
    teacher = create_model("mobilenet_v2", width_multiplier=0.5, **options)
    fit(
        Supervised(teacher, task.criterion),
        batches,
        settings,
        folder=f"{folder}/teacher",
        seed=0,
        evaluate=figures,
        name="teacher",
    )

    student = create_model("mobilenet_v3_small", width_multiplier=0.5, **options)
    objective = distillation("nkd", student=student, teacher=teacher, criterion=task.criterion)
    fit(objective, batches, settings, folder=f"{folder}/student", seed=0, evaluate=figures)  # best epoch on validation
    return {name: figures(net, splits.test)["top1"] for name, net in {"teacher": teacher, "student": student}.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", default=None, help="of checkpoints and logs; default: a temporary one")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--limit", type=int, default=None, help="training pictures used")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name, top1 in main(given.folder or scratch, epochs=given.epochs, limit=given.limit).items():
            print(f"{name}: {top1:.3f} of the test pictures right")
