"""Small networks and real batches for what holds for every method; a module of its own, since spawned processes import
it.
"""

import torch

from limbeck.data import Augment, Loader, open_data
from limbeck.distill import distillation, teacher_role
from limbeck.models import create_model

SAMPLES = 48


def make_objective(method, *, seed=0):
    torch.manual_seed(0)  # a ready teacher is the same in every process; what trains is drawn anew
    teacher = create_model("cifar_resnet14", num_classes=10, input_size=16)
    torch.manual_seed(seed)
    student = create_model("cifar_resnet8", num_classes=10, input_size=16)
    teacher = None if teacher_role(method) == "none" else teacher
    return distillation(method, student=student, teacher=teacher, num_samples=SAMPLES, epochs=2)


def make_loader(objective, *, rank=0, world=1):
    digits = open_data("digits", image_size=16, validation=0, limit=SAMPLES).train
    augment = Augment(crop="shift", flip=False)
    return Loader(
        digits, batch_size=16 // world, augment=augment, seed=0, rank=rank, world=world, needs=objective.needs()
    )
