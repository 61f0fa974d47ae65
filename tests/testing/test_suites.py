"""A conformance suite that lets a broken part pass is worth nothing: each rule is broken once here."""

import numpy as np
import pytest
import torch

from limbeck.tasks import Classification
from limbeck.testing import FakeDevice, check_device, check_network, check_task, make_artifact
from limbeck.types import Outputs


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Shortened(FakeDevice):
    def time(self, artifacts, *, warmup, runs, interleave=True):
        return super().time(artifacts, warmup=warmup, runs=3, interleave=interleave)


class Merged(FakeDevice):
    def time(self, artifacts, *, warmup, runs, interleave=True):
        return list({a.path: s for a, s in zip(artifacts, super().time(artifacts, warmup=warmup, runs=runs))}.values())


class Stuck(FakeDevice):
    def run(self, artifact, inputs):
        return np.tile(super().run(artifact, inputs[:1]), (len(inputs), 1))


class Restless(FakeDevice):
    def run(self, artifact, inputs):
        self.count = getattr(self, "count", 0) + 1
        return super().run(artifact, inputs) + self.count


class Leaking(FakeDevice):
    def run(self, artifact, inputs):
        outputs = super().run(artifact, inputs)
        return outputs - outputs.mean(0)


class Negative(FakeDevice):
    def peak_memory(self, artifact):
        return -1


class Mute:
    def describe(self): ...


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (Shortened(), "12 runs were asked, 3 samples"),
        (Merged(), "one list per artifact"),
        (FakeDevice(latency_ms=0.0), "positive milliseconds"),
        (Stuck(), "different inputs gave the same|must not depend on its batch"),
        (Restless(), "the same outputs again"),
        (Leaking(), "must not depend on its batch"),
        (Negative(), "peak_memory"),
        (Mute(), "lacks a method"),
    ],
)
def test_broken_devices_are_caught(device, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        check_device(device, make_artifact(tmp_path / "a.onnx"))


OUT = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
TARGET = torch.arange(12) % 4
PERFECT = torch.nn.functional.one_hot(TARGET, 4).float() * 9


def test_classification_conforms():
    check_task(Classification(4), OUT, TARGET, perfect=PERFECT)
    check_task(Classification(4, label_smoothing=0.1, class_weights=[1.0, 2.0, 0.5, 1.0]), OUT, TARGET)


class Unnamed(Classification):
    name = None


class Summed(Classification):
    def criterion(self, out, target):
        return torch.nn.functional.cross_entropy(out, target, reduction="none")


class Constant(Classification):
    def criterion(self, out, target):
        return (out * 0).sum()


class Ordered(Classification):
    def criterion(self, out, target):
        return super().criterion(out, target) + out[0].sum()


class Elsewhere(Classification):
    primary = "top_one"


class Reversed(Classification):
    higher_is_better = False


class Kept(Classification):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.kept = super().metric()

    def metric(self):
        return self.kept


class LastBatchOnly(Classification):
    def metric(self):
        outer = super()

        class Metric:
            def update(self, out, target):
                self.inner = outer.metric()
                self.inner.update(out, target)

            def compute(self):
                return self.inner.compute()

        return Metric()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Unnamed, "task.name must be a str"),
        (Summed, "must be a scalar"),
        (Constant, "no gradient"),
        (Ordered, "order of the batch"),
        (Elsewhere, "no 'top_one'"),
        (Reversed, "for a perfect output"),
        (Kept, "fresh accumulator"),
        (LastBatchOnly, "batched"),
    ],
)
def test_broken_tasks_are_caught(task, message):
    with pytest.raises(AssertionError, match=message):
        check_task(task(4), OUT[:11], TARGET[:11], perfect=PERFECT[:11])


class Net(torch.nn.Module):
    """The least that is a network."""

    num_classes, input_size, stage_names = 4, (12, 12), ("features",)

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.linear = torch.nn.Linear(8, 4)

    def observe(self, inputs, stages=()):
        inputs = torch.nn.functional.interpolate(inputs, self.input_size, mode="bilinear")
        features = self.norm(self.conv(inputs))
        return Outputs(self.linear(features.mean((2, 3))), stages=dict.fromkeys(stages, features))

    def forward(self, inputs):
        return self.observe(inputs).out

    def architecture(self):
        return {"kind": "net"}


def test_a_plain_network_conforms_and_is_left_as_it_was():
    network = Net().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_network(network)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


class InPlace(Net):
    def observe(self, inputs, stages=()):
        return super().observe(inputs.mul_(0.5), stages)


class WrongClasses(Net):
    num_classes = 5


class Noisy(Net):
    def observe(self, inputs, stages=()):
        return super().observe(inputs + torch.rand_like(inputs), stages)


class BatchBound(Net):
    def observe(self, inputs, stages=()):
        return super().observe(inputs - inputs.mean(0), stages)


class AllStages(Net):
    def observe(self, inputs, stages=()):
        return super().observe(inputs, self.stage_names)


class OtherLogits(Net):
    def forward(self, inputs):
        return super().forward(inputs) * 2


class Idle(Net):
    def __init__(self):
        super().__init__()
        self.idle = torch.nn.Linear(2, 2)


class Unwritable(Net):
    def architecture(self):
        return {"size": torch.Size, "scale": float("nan")}


class FixedSize(Net):
    def observe(self, inputs, stages=()):
        assert inputs.shape[2:] == (12, 12), "size"
        return super().observe(inputs, stages)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (InPlace, "changed its input"),
        (WrongClasses, r"must be \[2, 5\]"),
        (Noisy, "same input must give the same"),
        (BatchBound, "must not depend on the batch"),
        (AllStages, "no stages"),
        (OtherLogits, "logits of forward"),
        (Idle, "no gradient reaches idle.weight, idle.bias"),
        (Unwritable, "JSON"),
        (FixedSize, "size"),
        (torch.nn.ReLU, "must have 'num_classes'"),
    ],
)
def test_broken_networks_are_caught(network, message):
    with pytest.raises((AssertionError, TypeError, ValueError), match=message):
        check_network(network())
