"""Weighted soft labels: the vectors, a slow reference for the gradient, and the weight at its limits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import wsld
from limbeck.testing.losses import check_loss

VECTORS = json.loads((Path(__file__).parent / "distillation_vectors.json").read_text())["cases"]


def log_softmax(logits):
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def reference(student, teacher, target, temperature):
    """Value and gradient, sample by sample."""
    value, gradient = 0.0, np.zeros_like(student)
    for row, label in enumerate(target):
        ours, theirs = student[row : row + 1], teacher[row : row + 1]
        weight = 1 - np.exp(-log_softmax(ours)[0, label] / (log_softmax(theirs)[0, label] - 1e-7))
        soft = np.exp(log_softmax(theirs / temperature)[0])
        value -= weight * temperature**2 * (soft * log_softmax(ours / temperature)[0]).sum() / len(target)
        slope = np.exp(log_softmax(ours / temperature)[0]) - soft
        gradient[row] = weight * temperature * slope / len(target)
    return value, gradient


@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("temperature", [2.0, 4.0])
def test_value_and_gradient(name, temperature):
    inputs = VECTORS[name]["inputs"]
    student, teacher = (torch.tensor(inputs[key], dtype=torch.float64, requires_grad=True) for key in ("zs", "zt"))
    value = wsld(student, teacher, target=torch.tensor(inputs["y"]), temperature=temperature)
    if temperature == 2.0:
        assert abs(2.5 * value.item() - VECTORS[name]["values"]["wsld_T2_a2.5"]) < 1e-10
    expected, gradient = reference(student.detach().numpy(), teacher.detach().numpy(), inputs["y"], temperature)
    assert abs(value.item() - expected) < 1e-12
    value.backward()
    assert np.abs(student.grad.numpy() - gradient).max() < 1e-12
    assert teacher.grad is None


def test_a_teacher_without_error_counts_fully_and_a_student_without_error_not_at_all():
    sure, unsure = torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([[1.0, 2.0, 0.0]], requires_grad=True)
    target = torch.tensor([0])
    value = wsld(unsure, sure, target=target)
    assert torch.allclose(value, -4 * (unsure / 2).log_softmax(1)[0, 0])
    value.backward()
    assert torch.isfinite(unsure.grad).all()
    assert wsld(sure, unsure, target=target) == 0
    assert wsld(sure, sure, target=target) == 0


def test_label_rows():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    target = torch.tensor([1, 4, 0, 2])
    rows = torch.eye(5)[target]
    hard = wsld(student, teacher, target=target)
    assert torch.allclose(wsld(student, teacher, target=rows), hard)
    assert not torch.allclose(wsld(student, teacher, target=0.6 * rows + 0.4 * rows.roll(1, 1)), hard)


def test_the_rules_of_losses():
    check_loss(wsld)
    check_loss(wsld, options={"temperature": 4.0}, classes=100)


def test_wrong_input():
    with pytest.raises(InputError, match=r"wsld: temperature must be positive, not 0\.0"):
        wsld(torch.zeros(2, 3), torch.zeros(2, 3), target=torch.tensor([0, 1]), temperature=0.0)
    with pytest.raises(InputError, match="wsld: target holds class 3"):
        wsld(torch.zeros(2, 3), torch.zeros(2, 3), target=torch.tensor([0, 3]))
