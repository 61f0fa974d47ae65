"""Teacher-free distillation and label smoothing in both forms: the vectors, and slow references for the gradients."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import cross_entropy, kd, tf_kd
from limbeck.testing.losses import check_loss

VECTORS = json.loads((Path(__file__).parent / "distillation_vectors.json").read_text())["cases"]


class Case:
    def __init__(self, name):
        inputs = VECTORS[name]["inputs"]
        self.values = VECTORS[name]["values"]
        self.student, self.teacher = (
            torch.tensor(inputs[key], dtype=torch.float64, requires_grad=True) for key in ("zs", "zt")
        )
        self.target = torch.tensor(inputs["y"])
        self.classes = self.student.shape[1]


@pytest.fixture(params=["A", "B"])
def case(request):
    return Case(request.param)


def softmax(values):
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def virtual_teacher(case, temperature, correct=0.99):
    rows = np.full((len(case.target), case.classes), (1 - correct) / (case.classes - 1))
    rows[np.arange(len(rows)), case.target] = correct
    return softmax(rows / temperature)


def test_the_authors_total(case):
    """Their mean is over the classes, too, with a multiplier of 100 against it."""
    total = 0.9 * cross_entropy(case.student, target=case.target)
    total = total + 0.1 * 100 / case.classes * tf_kd(case.student, target=case.target)
    assert abs(total.item() - case.values["tfkd_reg_alpha0.1_T20_mult100"]) < 1e-10


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.3},
        {"temperature": 40.0, "student_temperature": 40.0},
        {"correct": 0.7, "temperature": 1.0},
    ],
)
def test_value_and_gradient(case, options):
    ours_at = options.get("student_temperature", 1.0)
    taught = virtual_teacher(case, options.get("temperature", 20.0), options.get("correct", 0.99))
    ours = softmax(case.student.detach().numpy() / ours_at)
    value = tf_kd(case.student, target=case.target, **options)
    assert abs(value.item() - (taught * np.log(taught / ours)).sum(1).mean()) < 1e-12
    value.backward()
    assert np.abs(case.student.grad.numpy() - (ours - taught) / ours_at / len(ours)).max() < 1e-12


def test_a_sharp_teacher_is_the_label():
    torch.manual_seed(0)
    student, target = torch.randn(4, 5), torch.tensor([1, 4, 0, 2])
    assert torch.allclose(tf_kd(student, target=target, temperature=1e-6), cross_entropy(student, target=target))


def test_zero_at_a_perfect_match(case):
    student = torch.tensor(np.log(virtual_teacher(case, 20.0)))
    assert abs(tf_kd(student, target=case.target).item()) < 1e-14


def test_self_distillation_is_kd_with_the_authors_weights(case):
    total = 0.05 * cross_entropy(case.student, target=case.target)
    total = total + 0.95 * 50 / case.classes * kd(case.student, case.teacher, temperature=6.0)
    assert abs(total.item() - case.values["tfkd_self_alpha0.95_T6_mult50"]) < 1e-10


@pytest.mark.parametrize(("spread", "key"), [("all", "uniform"), ("others", "nontarget")])
def test_label_smoothing(case, spread, key):
    value = cross_entropy(case.student, target=case.target, smoothing=0.1, spread=spread)
    assert abs(value.item() - case.values[f"label_smoothing_{key}_0.1"]) < 1e-10
    value.backward()
    rows = np.full((len(case.target), case.classes), 0.1 / (case.classes - (spread == "others")))
    rows[np.arange(len(rows)), case.target] += 1 - rows.sum(1)
    assert np.abs(case.student.grad.numpy() - (softmax(case.student.detach().numpy()) - rows) / len(rows)).max() < 1e-12


def test_smoothed_label_rows_are_the_mixture_of_the_smoothed_labels():
    torch.manual_seed(0)
    student, first, second = torch.randn(3, 4), torch.tensor([0, 3, 1]), torch.tensor([2, 3, 0])
    rows = 0.7 * torch.eye(4)[first] + 0.3 * torch.eye(4)[second]
    options = {"smoothing": 0.2, "spread": "others"}
    both = [cross_entropy(student, target=target, **options) for target in (first, second)]
    assert torch.allclose(cross_entropy(student, target=rows, **options), 0.7 * both[0] + 0.3 * both[1])


def test_the_rules_of_losses():
    check_loss(tf_kd)
    check_loss(tf_kd, options={"student_temperature": 20.0}, classes=100)
    check_loss(tf_kd, options={"temperature": 1e-6, "correct": 1.0}, classes=2)
    check_loss(cross_entropy, options={"smoothing": 0.1, "spread": "others"}, classes=2)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (tf_kd, {"temperature": 0.0}, "tf_kd: temperature must be positive, not 0.0"),
        (tf_kd, {"student_temperature": -1.0}, "tf_kd: student_temperature must be positive"),
        (tf_kd, {"correct": 0.3}, r"tf_kd: correct must lie in \(1/K, 1\] with K = 3, not 0.3"),
        (tf_kd, {"correct": 1.1}, "tf_kd: correct must"),
        (cross_entropy, {"spread": "other"}, "cross_entropy: unknown spread 'other'; did you mean 'others'"),
        (cross_entropy, {"smoothing": 0.7, "spread": "others"}, "smoothing over the others must not exceed"),
    ],
)
def test_wrong_options(loss, options, message):
    with pytest.raises(InputError, match=message) as caught:
        loss(torch.zeros(2, 3), target=torch.tensor([0, 1]), **options)
    assert "\n" not in str(caught.value)
