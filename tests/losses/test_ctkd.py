"""Curriculum temperature: value and both gradients against a slow reference, and how the reversal rises."""

import math

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import Ctkd, kd, loss_options
from limbeck.testing.losses import check_loss


def reference(student, teacher, theta):
    """tau^2 KL(teacher || student) at tau = 1 + 20 sigmoid(theta)."""
    tau = 1 + 20 / (1 + np.exp(-theta))
    ours, theirs = (np.exp(x / tau) / np.exp(x / tau).sum(1, keepdims=True) for x in (student, teacher))
    return tau**2 * (theirs * np.log(theirs / ours)).sum(1).mean()


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return [(8 * torch.randn(4, 6, dtype=torch.float64)).requires_grad_() for _ in range(2)]


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2, 0.25, 0.4, 1.0])
def test_value_and_gradients(logits, progress):
    student, teacher = logits
    loss = Ctkd(ramp=0.25).double()
    value = loss(student, teacher, progress=torch.tensor(progress))
    arrays = [x.detach().numpy() for x in (student, teacher)]
    assert abs(value.item() - reference(*arrays, 1.0)) < 1e-12
    value.backward()
    slope = (reference(*arrays, 1 + 1e-6) - reference(*arrays, 1 - 1e-6)) / 2e-6
    factor = (1 - math.cos(math.pi * min(progress / 0.25, 1))) / 2
    assert loss.theta.grad.item() == pytest.approx(-factor * slope, rel=1e-5, abs=1e-12)
    assert abs(slope) > 0.01
    plain = torch.autograd.grad(kd(student, teacher, temperature=15.621171572600098), student)[0]
    assert torch.allclose(student.grad, plain, atol=1e-12)  # the student's gradient is not reversed
    assert teacher.grad is None


def test_training_makes_it_harder(logits):
    student, teacher = (x.detach() for x in logits)
    loss = Ctkd().double()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1)
    found = []
    for _ in range(3):
        value = loss(student, teacher, progress=torch.tensor(1.0))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        found.append(value.item())
    assert found[0] < found[1] < found[2]


def test_without_a_ramp_the_reversal_is_whole_at_once(logits):
    losses = [Ctkd(ramp=0.0).double(), Ctkd(ramp=0.5).double()]
    for loss, progress in zip(losses, (0.0, 0.5), strict=True):
        loss(*logits, progress=torch.tensor(progress)).backward()
    assert losses[0].theta.grad == losses[1].theta.grad != 0


def test_the_rules_of_losses():
    check_loss(Ctkd(), zero_at_match=True)
    check_loss(Ctkd(lowest=2.0, span=0.0, theta=-3.0), classes=100)
    assert loss_options(Ctkd) == {"lowest": 1.0, "span": 20.0, "ramp": 10 / 240, "theta": 1.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lowest": 0.0}, "ctkd: needs lowest > 0 and span >= 0, not 0.0 and 20.0"),
        ({"span": -1.0}, "ctkd: needs lowest"),
        ({"ramp": 1.5}, r"ctkd: ramp must lie in \[0, 1\], not 1.5"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        Ctkd(**options)
