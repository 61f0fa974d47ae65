"""Progressive self-distillation: the vectors, a slow reference for its gradient, and how its weight rises."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import cross_entropy, ps_kd
from limbeck.testing.losses import check_loss

VECTORS = json.loads((Path(__file__).parent / "distillation_vectors.json").read_text())["cases"]
HALF = torch.tensor(0.5)


@pytest.mark.parametrize("name", ["A", "B"])
def test_value_and_gradient(name):
    inputs = VECTORS[name]["inputs"]
    student, before = (torch.tensor(inputs[key], dtype=torch.float64, requires_grad=True) for key in ("zs", "zt"))
    target = torch.tensor(inputs["y"])
    value = ps_kd(student, before, target=target, progress=HALF)  # 0.8 half way is 0.4
    assert value.item() == pytest.approx(VECTORS[name]["values"]["pskd_alpha0.4_prev_softmax_teacher"], abs=1e-10)
    value.backward()
    ours, theirs = (np.exp(x - x.max(1, keepdims=True)) for x in (student.detach().numpy(), before.detach().numpy()))
    ours, theirs = ours / ours.sum(1, keepdims=True), theirs / theirs.sum(1, keepdims=True)
    soft = 0.6 * np.eye(ours.shape[1])[inputs["y"]] + 0.4 * theirs
    assert np.abs(student.grad.numpy() - (ours - soft) / len(soft)).max() < 1e-10
    assert before.grad is None


def test_the_weight_rises_by_steps_or_once_an_epoch():
    torch.manual_seed(0)
    student, before = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    target = torch.tensor([0, 3, 1, 4])
    label = cross_entropy(student, target=target)
    whole = ps_kd(student, before, target=target, progress=torch.tensor(1.0), alpha=1.0)

    def share(progress, **options):
        value = ps_kd(student, before, target=target, progress=torch.tensor(progress), alpha=1.0, **options)
        return ((value - label) / (whole - label)).item()

    assert [share(p) for p in (0.0, 0.25, 0.9)] == pytest.approx([0.0, 0.25, 0.9], abs=1e-6)
    for epochs, steps in ((3, 7), (7, 1), (300, 391)):
        for epoch in {0, 1, epochs // 2, epochs - 1}:
            for step in {0, steps - 1}:
                progress = (epoch * steps + step) / (epochs * steps)
                assert share(progress, epochs=epochs) == pytest.approx((epoch + 1) / epochs, abs=1e-6)


def test_label_rows_weigh_as_their_classes_do():
    torch.manual_seed(0)
    student, before, rows = torch.randn(3, 4), torch.randn(3, 4), torch.eye(4)[[2, 0, 3]]
    hard = ps_kd(student, before, target=rows.argmax(1), progress=HALF)
    assert torch.allclose(ps_kd(student, before, target=rows, progress=HALF), hard)
    other = ps_kd(student, before, target=rows.roll(1, 1), progress=HALF)
    mixed = ps_kd(student, before, target=0.3 * rows + 0.7 * rows.roll(1, 1), progress=HALF)
    assert torch.allclose(mixed, 0.3 * hard + 0.7 * other)


def test_the_rules_of_losses():
    check_loss(ps_kd)
    check_loss(ps_kd, options={"epochs": 4})


@pytest.mark.parametrize("options", [{"alpha": 1.5}, {"alpha": -0.1}, {"epochs": 0}])
def test_wrong_options(options):
    with pytest.raises(InputError, match=r"ps_kd: (alpha|epochs) must"):
        ps_kd(torch.zeros(2, 3), torch.zeros(2, 3), target=torch.tensor([0, 1]), progress=HALF, **options)
