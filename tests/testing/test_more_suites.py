"""The suites of readers, spaces, exporters and distillations, each with parts that break one rule."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.data import DATA, RawData, RawSplit
from limbeck.models.table import Head, Row, Table
from limbeck.search import Space
from limbeck.testing import FakeDevice, check_distillation, check_exporter, check_reader, check_space, make_artifact
from limbeck.types import Batch


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def pixels(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def test_our_digits_conform():
    check_reader(DATA["digits"])


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (lambda: {"train": pixels(3)}, "must return a RawData"),
        (lambda: RawData({"test": RawSplit(pixels(3), [0, 1, 0])}), "no train split"),
        (
            lambda: RawData({"train": RawSplit(pixels(2), [0, 1]), "val": RawSplit(pixels(2), [0, 1])}),
            "'val' is no split",
        ),
        (lambda: RawData({"train": RawSplit(pixels(3), [0, 1])}), "3 pictures but 2 labels"),
        (lambda: RawData({"train": RawSplit(pixels(3))}), "there are no labels"),
        (lambda: RawData({"train": RawSplit([], [])}), "there are no pictures"),
        (lambda: RawData({"train": RawSplit(pixels(2), [0, 2])}, class_names=["a", "b"]), r"label 2 .* not in 0 .. 1"),
        (
            lambda: RawData({"train": RawSplit(pixels(2), ["a", "c"])}, class_names=["a", "b"]),
            "'c' .* is no class name",
        ),
        (lambda: RawData({"train": RawSplit(pixels(2, seed=None), [0, 1])}), "differs from call to call"),
    ],
)
def test_broken_readers_are_caught(reader, message):
    with pytest.raises(AssertionError, match=message):
        check_reader(reader)


def table(width=8, num_classes=3, name="t"):
    rows = (Row("separable", width, stride=2),)
    return Table(name, Row("conv", 8, stride=2), rows, Head(), num_classes=num_classes, input_size=(16, 16))


def space(make, **choices):
    choices = choices or {"width": (8, 16)}
    return Space("s", choices, make, reference={name: ids[0] for name, ids in choices.items()})


def drain(point):
    return table(point.pop("width"))


def test_a_plain_space_conforms():
    check_space(space(lambda point: table(point["width"])), num_classes=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda point: table(8), "changes nothing"),
        (lambda point: table(point["width"], num_classes=4), "gives 4 classes"),
        (lambda point: table(point["width"]).to_json(), "must give a Table or a torch module"),
        (drain, "changed the point"),
        (lambda point: table(8 * int(torch.randint(1, 100, ()))), "built twice"),
    ],
)
def test_broken_spaces_are_caught(make, message):
    with pytest.raises(AssertionError, match=message):
        check_space(space(make), num_classes=3)


class Copying:
    """An exporter that hands over a ready file: what it describes can be bent, what it says is wrong."""

    def __init__(self, **bent):
        self.bent = bent

    def __call__(self, network, path, *, preprocess, **options):
        artifact = make_artifact(path, image_size=32, num_classes=3, input_dtype=preprocess)
        return replace(artifact, **self.bent)


def littering(network, path, **options):
    artifact = Copying()(network, path, **options)
    (Path(path).parent / "scratch.bin").write_bytes(b"x")
    return artifact


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (Copying(), "from the network's"),
        (Copying(size_bytes=3), "size_bytes"),
        (Copying(input_dtype="float32"), "input_dtype"),
        (Copying(input_shape=(3, 8, 8)), "input_shape"),
        (Copying(path="elsewhere.onnx"), "was to write"),
        (littering, "scratch.bin"),
        (lambda network, path, **options: path, "must return an Artifact"),
    ],
)
def test_broken_exporters_are_caught(export, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        check_exporter(export, FakeDevice(), tmp_path)


class Teaching(torch.nn.Module):
    """A student pulled to a teacher."""

    def __init__(self, student, teacher, scale=1.0, term=0.0):
        super().__init__()
        self.student, self.scale, self.term = student, scale, term
        self.teacher = [teacher]

    def forward(self, batch, progress):
        loss = (self.student(batch.inputs) - self.teacher[0](batch.inputs).detach()).square().mean() * self.scale
        return {"loss": loss, "term": loss.detach() + self.term}

    def after_step(self):
        return None

    def deployable(self):
        return self.student

    def learners(self):
        return {"student": self.student}


class Listing(Teaching):
    def forward(self, batch, progress):
        return {"total": super().forward(batch, progress)["loss"]}


class Deploying(Teaching):
    def deployable(self):
        return self.teacher[0]


class Tutored(Teaching):
    def forward(self, batch, progress):
        loss = (self.student(batch.inputs) - self.teacher[0](batch.inputs)).square().mean()
        return {"loss": loss}


class Drilling(Teaching):
    def after_step(self):
        with torch.no_grad():
            next(self.teacher[0].parameters()).add_(1)


def linear(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()


BATCH = Batch(torch.arange(4), torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0]))


def test_a_plain_objective_conforms_and_is_left_as_it_was():
    student, teacher = linear(0), linear(1)
    before = student[1].weight.detach().clone()
    check_distillation(Teaching(student, teacher), BATCH, teacher=teacher)
    assert torch.equal(student[1].weight, before)
    assert student[1].weight.grad is None


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Listing, {}, "no 'loss'"),
        (Teaching, {"scale": torch.ones(2)}, "must be a scalar"),
        (Teaching, {"term": float("nan")}, "'term' is not finite"),
        (Teaching, {"scale": 0.0}, "no gradient reaches the learner 'student'"),
        (Deploying, {}, "none of the learners"),
        (Tutored, {}, "gradient reaches the teacher"),
        (Drilling, {}, "teacher's .* changed"),
    ],
)
def test_broken_objectives_are_caught(kind, options, message):
    student, teacher = linear(0), linear(1)
    with pytest.raises(AssertionError, match=message):
        check_distillation(kind(student, teacher, **options), BATCH, teacher=teacher)
