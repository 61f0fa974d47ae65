"""Small networks and real batches for what holds for every method; a module of its own, since spawned processes import
it.
"""

import numpy as np
import torch

from limbeck.data import Augment, Loader, RawData, RawSplit, open_data
from limbeck.data.raw import BoxAnnotation, PointAnnotation
from limbeck.distill import distillation, teacher_role
from limbeck.models import create_model
from limbeck.models.heads import DetectionNetwork
from limbeck.tasks import open_task

SAMPLES = 48


def task_of(method):
    """The kind of networks that a method is for."""
    return {"odkd": "detection", "two_teacher": "landmarks"}.get(method, "classification")


def make_network(method, *, is_teacher=False):
    if task_of(method) == "detection":
        width = 0.5 if is_teacher else 0.35
        return create_model("ssdlite_mobilenet_v3_small", num_classes=1, width_multiplier=width, input_size=64)
    return create_model("cifar_resnet14" if is_teacher else "cifar_resnet8", num_classes=10, input_size=16)


def make_objective(method, *, seed=0):
    torch.manual_seed(0)  # a ready teacher is the same in every process; what trains is drawn anew
    teacher = make_network(method, is_teacher=True)
    if task_of(method) == "landmarks":
        teacher = [teacher, make_network(method, is_teacher=True)]
    torch.manual_seed(seed)
    student = make_network(method)
    teacher = None if teacher_role(method) == "none" else teacher
    options = {"criterion": open_task("detection", num_classes=1).criterion} if task_of(method) == "detection" else {}
    if task_of(method) == "landmarks":
        options = {"example": next(points().epoch(0))}
    return distillation(method, student=student, teacher=teacher, num_samples=SAMPLES, epochs=2, **options)


def make_loader(objective, *, rank=0, world=1):
    if objective.sources.keys() == {"student", "tough", "tolerant"}:
        return points(rank=rank, world=world)
    is_detector = isinstance(objective.deployable(), DetectionNetwork)
    name, side = ("every_method_parts:read_squares", 64) if is_detector else ("digits", 16)
    samples = open_data(name, image_size=side, validation=0, limit=SAMPLES).train
    augment = Augment(crop="shift", flip=False)
    return Loader(
        samples, batch_size=16 // world, augment=augment, seed=0, rank=rank, world=world, needs=objective.needs()
    )


def points(*, rank=0, world=1):
    """Batches of pictures with five points each, which is what ten outputs say."""
    samples = open_data("every_method_parts:read_corners", image_size=16, validation=0).train
    augment = Augment(crop="shift", flip=False)
    return Loader(samples, batch_size=16 // world, augment=augment, seed=0, rank=rank, world=world)


def read_corners():
    """Pictures of noise with five points each."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (SAMPLES + 4, 16, 16, 3)).astype(np.uint8)
    annotations = [PointAnnotation(rng.uniform(2, 14, (5, 2)).astype(np.float32)) for _ in pictures]
    train, test = slice(0, SAMPLES), slice(SAMPLES, None)
    splits = {
        split: RawSplit(pictures[rows], annotations=annotations[rows])
        for split, rows in {"train": train, "test": test}.items()
    }
    return RawData(splits, class_names=list("abcde"), kind="points")


def read_squares():
    """Pictures of one bright square each."""
    rng = np.random.default_rng(0)
    pictures, annotations = [], []
    for _ in range(SAMPLES + 4):
        picture, (x, y) = np.zeros((64, 64, 3), np.uint8), rng.integers(8, 32, 2)
        picture[y : y + 24, x : x + 24] = 255
        pictures.append(picture)
        box = np.array([[x, y, x + 24, y + 24]], np.float32)
        annotations.append(BoxAnnotation(box, np.zeros(1, np.int64), np.zeros(1, bool)))
    train, test = slice(0, SAMPLES), slice(SAMPLES, None)
    splits = {
        split: RawSplit(pictures[rows], annotations=annotations[rows])
        for split, rows in {"train": train, "test": test}.items()
    }
    return RawData(splits, class_names=["square"], kind="boxes")
