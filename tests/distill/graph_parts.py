"""Stand-in networks, batches, and parts written outside the package, as their authors would."""

import torch
from torch import nn

from limbeck.distill import Distillation, Graph, Learner, Memory, Term
from limbeck.losses import kd
from limbeck.types import Batch, Outputs


class TinyNetwork(nn.Module):
    """Two convolution stages and a classifier, with the surface of a Limbeck network."""

    stage_names = ("stage1", "stage2")

    def __init__(self, num_classes=5, width=6, side=8):
        super().__init__()
        self.num_classes, self.input_size = num_classes, (side, side)
        self.first = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.classifier = nn.Linear(2 * width, num_classes)
        self.plain_passes = self.observed_passes = 0

    def _run(self, inputs):
        first = self.first(inputs)
        second = self.second(first)
        return self.classifier(second.mean((2, 3))), {"stage1": first, "stage2": second}

    def forward(self, inputs):
        self.plain_passes += 1
        return self._run(inputs)[0]

    def observe(self, inputs, stages=()):
        self.observed_passes += 1
        out, found = self._run(inputs)
        return Outputs(out, {name: found[name] for name in stages})


def make_net(seed=0, **options):
    torch.manual_seed(seed)
    return TinyNetwork(**options)


def make_batch(n=6, classes=5, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (n,), generator=generator)
    inputs = torch.rand(n, 3, 8, 8, generator=generator)
    further = {name: torch.rand(n, 3, 8, 8, generator=generator) for name in ("view2", "view3", "same_class")}
    return Batch(torch.arange(n), inputs, target, **{"further": further, **options})


def now(value=0.0):
    return torch.tensor(value)


class Hint(nn.Module):
    """Feature matching with a projector built from the probed shapes."""

    def __init__(self, student_shape, teacher_shape, *, power=2):
        super().__init__()
        self.project = nn.Conv2d(student_shape[0], teacher_shape[0], 1)
        self.power = power

    def forward(self, student, teacher):
        return (self.project(student) - teacher.detach()).abs().pow(self.power).mean()


class Bank(nn.Module):
    """A loss with memory per sample, written in after_step only."""

    needs = ("class_pairs",)

    def __init__(self, student_shape, num_samples):
        super().__init__()
        self.register_buffer("seen", torch.zeros(num_samples))
        self.waiting = []

    def forward(self, student, teacher, *, index, progress):
        if self.training:
            self.waiting.append(index)
        return kd(student, teacher) * (1 + progress)

    def after_step(self):
        for index in self.waiting:
            self.seen[index] += 1
        self.waiting.clear()


def two_teachers(student, tough, tolerant, *, share=0.5):
    return share * kd(student, tough) + (1 - share) * kd(student, tolerant)


def self_memory(student, *, num_samples, weight=1.0):
    """Outside method: the student learns from what it said of each sample before."""
    sources = {"student": Learner(student), "before": Memory(num_samples, student.num_classes)}
    return Graph(sources, [Term("task"), Term("kd", teacher="before", weight=weight)])


def one_peer(student, peer):
    """Outside method with a single second network that trains along."""
    return Graph({"student": Learner(student), "peer": Learner(peer)}, [Term("task"), Term("task", student="peer")])


def ready_made(student, teacher, *, criterion, example):
    return Distillation({"student": Learner(student)}, [Term("cross_entropy")], criterion=criterion, example=example)


def not_a_method(student):
    return [student]
