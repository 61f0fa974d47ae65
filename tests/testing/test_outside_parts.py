"""The parts of examples/outside, each by its name `module:attribute`, held to what its room asks of it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.parts import find_part
from limbeck.testing import (
    check_device,
    check_distillation,
    check_exporter,
    check_loss,
    check_network,
    check_reader,
    check_space,
    check_task,
    make_artifact,
)

OUTSIDE = Path(__file__).resolve().parents[2] / "examples" / "outside"


@pytest.fixture(autouse=True)
def _in_their_folder(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.chdir(OUTSIDE)  # outside parts are looked for in the working directory
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def test_loss():
    from limbeck.losses import LOSSES

    loss = find_part("loss", "my_loss:jensen_shannon", LOSSES)
    check_loss(loss, zero_at_match=True)
    check_loss(loss, options={"temperature": 4.0})
    # against certainty on the other class the divergence is log 2, the largest there is
    apart = loss(torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 100.0]]), temperature=1.0)
    assert float(apart) == pytest.approx(np.log(2), abs=1e-4)


def test_device(tmp_path):
    from limbeck.measure import OnnxRuntimeDevice, measure_artifacts, open_device

    device = open_device("my_device:ReferenceDevice,rounds=2")
    artifact = make_artifact(tmp_path / "small.onnx", channels=4, image_size=8)
    check_device(device, artifact)
    inputs = np.random.default_rng(0).random((3, *artifact.input_shape)).astype(np.float32)
    expected = OnnxRuntimeDevice(threads=1).run(artifact, inputs)
    np.testing.assert_allclose(device.run(artifact, inputs), expected, atol=1e-5)
    (measurement,) = measure_artifacts(device, [artifact], warmup=1, runs=20)
    assert measurement.info.runtime == "onnx.reference"
    assert measurement.peak_memory_bytes is None
    assert open_device(measurement.info.target).rounds == 2
    with pytest.raises(InputError, match="unknown option 'round'; did you mean 'rounds'"):
        open_device("my_device:ReferenceDevice,round=2")


def test_data():
    from limbeck.data import DATA, open_data

    check_reader(find_part("data set", "my_data:read_shapes", DATA), count=30)
    splits = open_data("my_data:read_shapes", options={"count": 90, "side": 24}, seed=3)
    assert splits.class_names == ("circle", "square", "triangle")
    assert splits.image_size == (24, 24)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 90
    assert splits.train.picture(0).shape == (24, 24, 3)
    assert not splits.report["leakage"]
    same = open_data("my_data:read_shapes", options={"count": 90, "side": 24}, seed=3)
    other = open_data("my_data:read_shapes", options={"count": 90, "side": 24}, seed=4)
    assert splits.fingerprint == same.fingerprint != other.fingerprint
    with pytest.raises(InputError, match="'sides'"):
        open_data("my_data:read_shapes", options={"sides": 24})


def test_task():
    from limbeck.tasks import open_task

    task = open_task("my_task:OrderedClasses", num_classes=4, class_weights=None, label_smoothing=0.0)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    out = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    check_task(task, out, target, perfect=torch.nn.functional.one_hot(target, 4) * 20.0)
    # certain of a neighbour: a distance of 1; certain of the far end: 3
    near, far = torch.tensor([[0.0, 50.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 0.0, 50.0]])
    first = torch.tensor([0])
    assert float(task.criterion(far, first) - task.criterion(near, first)) == pytest.approx(2.0, abs=1e-4)
    rows = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert torch.isfinite(task.criterion(near, rows))
    metric = task.metric()
    metric.update(torch.cat([near, far]), torch.tensor([0, 0]))
    assert metric.compute()["mean_distance"] == 2.0


def test_space():
    from limbeck.models.network import build

    make = find_part("space", "my_space:separable", {})
    space = make(reference="mobilenet_v2", num_classes=5, picture_size=(32, 32), widths=[8, 16])
    assert space.size == 2 * 2 * 3 * 2
    check_space(space, num_classes=5)
    tables = [
        space.build(space.reference),
        space.build({choice: ids[-1] for choice, ids in space.choices.items()}),
        space.build({choice: ids[0] for choice, ids in space.choices.items()}),
    ]
    assert tables[1].params() > tables[0].params()
    assert tables[2].macs() < tables[0].macs()
    assert build(tables[2]).eval()(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    assert make(reference="other", num_classes=5, picture_size=(32, 32)).fingerprint != space.fingerprint


def test_model(tmp_path):
    from limbeck.models import create_model, load_network, save_network

    network = create_model("my_model:tiny_resnet", num_classes=5, input_size=24, width=8)
    assert network.num_classes == 5
    assert network.input_size == (24, 24)
    check_network(network)
    save_network(network, tmp_path)
    again = load_network(tmp_path)
    pictures = torch.rand(2, 3, 30, 20)
    assert torch.equal(again.eval()(pictures), network.eval()(pictures))


def test_method():
    from limbeck.distill import distillation
    from limbeck.models import create_model
    from limbeck.types import Batch

    student = create_model("my_model:tiny_resnet", num_classes=5, input_size=16, width=4)
    teacher = create_model("my_model:tiny_resnet", num_classes=5, input_size=16, width=8)
    objective = distillation("my_method:fading", student=student, teacher=teacher, temperature=2.0)
    batch = Batch(torch.arange(4), torch.rand(4, 3, 16, 16), torch.arange(4))
    check_distillation(objective, batch, teacher=teacher)
    objective.train()
    start, end = (objective(batch, torch.tensor(progress)) for progress in (0.0, 0.999))
    start["loss"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert any(p.grad.abs().sum() > 0 for p in student.parameters())
    # at the end the labels are all that is left
    plain = torch.nn.functional.cross_entropy(student(batch.inputs), batch.target)
    assert end["loss"].item() == pytest.approx(plain.item(), rel=0.02)
    assert objective.deployable() is student
    with pytest.raises(InputError, match="temperatur"):
        distillation("my_method:fading", student=student, teacher=teacher, temperatur=2.0)


def test_exporter(tmp_path):
    import limbeck
    from limbeck.deployed import read_artifact
    from limbeck.export import export_onnx
    from limbeck.measure import OnnxRuntimeDevice
    from limbeck.models import create_model

    export = find_part("exporter", "my_exporter:export_optimised", {"onnx": export_onnx})
    check_exporter(export, OnnxRuntimeDevice(threads=1), tmp_path)
    network = create_model("my_model:tiny_resnet", num_classes=3, input_size=16, width=4).eval()
    names = ("ant", "bee", "cat")
    artifact = export(network, tmp_path / "model.onnx", sample_size=(16, 16), class_names=names, temperature=2.0)
    assert read_artifact(artifact.path) == artifact
    pictures = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    with torch.no_grad():
        inputs = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        expected = (network(inputs) / 2).softmax(1).numpy()
    np.testing.assert_allclose(OnnxRuntimeDevice(threads=1).run(artifact, pictures), expected, atol=1e-5)
    prediction = limbeck.load(artifact.path).predict(list(pictures))
    assert prediction.labels == [names[row.argmax()] for row in expected]
