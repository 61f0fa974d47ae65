"""The classification criterion and its figures against slow references."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from limbeck.errors import InputError
from limbeck.tasks import TASKS, Classification, open_task


def test_criterion_is_cross_entropy_over_the_labelled():
    torch.manual_seed(0)
    out, target = torch.randn(6, 4), torch.tensor([0, -1, 3, 2, -1, 1])
    kept = target >= 0
    task = Classification(4)
    assert torch.allclose(task.criterion(out, target), functional.cross_entropy(out[kept], target[kept]))
    rows = functional.one_hot(target.clamp(min=0), 4).float() * kept[:, None]
    assert torch.allclose(task.criterion(out, rows), task.criterion(out, target))


def test_smoothing_and_weights_agree_between_indices_and_rows():
    torch.manual_seed(0)
    out, target = torch.randn(8, 4), torch.tensor([0, 1, 2, 3, 3, 3, -1, 0])
    weights = torch.tensor([1.0, 2.0, 0.0, 0.5])
    task = Classification(4, class_weights=weights, label_smoothing=0.1)
    rows = functional.one_hot(target.clamp(min=0), 4).float() * (target >= 0)[:, None]
    expected = 0.0
    for logits, label in zip(out[target >= 0], target[target >= 0], strict=True):
        q = 0.9 * functional.one_hot(label, 4) + 0.1 / 4
        expected += -(weights * q * logits.log_softmax(0)).sum() / 7
    assert torch.allclose(task.criterion(out, target), expected)
    assert torch.allclose(task.criterion(out, rows), expected)


def test_no_labels_give_zero_and_no_gradient():
    out = torch.randn(3, 4, requires_grad=True)
    for target in (torch.full((3,), -1), torch.zeros(3, 4)):
        value = Classification(4, label_smoothing=0.1).criterion(out, target)
        (gradient,) = torch.autograd.grad(value, out)
        assert value.item() == 0
        assert not gradient.any()


def test_half_precision_is_upcast():
    out, target = torch.randn(4, 4).half(), torch.tensor([0, 1, 2, 3])
    value = Classification(4).criterion(out, target)
    assert value.dtype == torch.float32
    assert torch.equal(value, functional.cross_entropy(out.float(), target))


def test_figures_by_hand():
    out = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    target = torch.tensor([0, 0, 2, -1])
    figures = Classification.figures(out, target)
    assert set(figures) == {"top1", "macro_accuracy", "nll"}
    assert figures["top1"] == pytest.approx(2 / 3)
    assert figures["macro_accuracy"] == pytest.approx(1 / 2)  # class 0 all right, class 2 all wrong, class 1 never seen
    sure, other = math.log(1 + 2 * math.exp(-2)), math.log(2 + math.e)
    assert figures["nll"] == pytest.approx((2 * sure + other) / 3)


def test_figures_do_not_depend_on_batches_and_take_arrays():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(50, 9)).astype(np.float32), rng.integers(-1, 9, 50)
    whole = Classification.figures(logits, target)
    metric = Classification(9).metric()
    for start in range(0, 50, 7):
        metric.update(torch.from_numpy(logits[start : start + 7]), torch.from_numpy(target[start : start + 7]))
    assert metric.compute() == pytest.approx(whole, abs=1e-12)
    kept = target >= 0
    order = np.argsort(-logits[kept], axis=1)
    assert whole["top5"] == pytest.approx(np.mean([t in row[:5] for row, t in zip(order, target[kept], strict=True)]))
    assert whole["top1"] == pytest.approx(np.mean(order[:, 0] == target[kept]))


def test_top5_of_a_network_that_says_nothing_is_not_perfect():
    figures = Classification.figures(torch.zeros(20, 10), torch.arange(20) % 10)
    assert figures["top5"] == pytest.approx(0.5)


def test_metric_judges_label_rows_by_their_largest_entry():
    out = torch.tensor([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    figures = Classification.figures(out, torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.0, 0.0]]))
    assert figures["top1"] == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Classification(1), "at least 2 classes"),
        (lambda: Classification(3, class_weights=[1.0, 2.0]), "3 classes but class_weights of shape"),
        (lambda: Classification(2, class_weights=[1.0, -2.0]), "not negative"),
        (lambda: Classification(3, label_smoothing=1.0), "label_smoothing"),
        (lambda: Classification(3).criterion(torch.randn(2, 4), torch.tensor([0, 1])), r"the network gives \[2, 4\]"),
        (lambda: Classification(3).criterion(torch.randn(2, 3), torch.tensor([0])), "do not fit"),
        (lambda: Classification(3).criterion(torch.randn(2, 3), torch.rand(2, 2)), "do not fit"),
        (lambda: Classification.figures(torch.randn(2, 3), torch.tensor([0, 3])), "class 3 is outside 0 .. 2"),
        (lambda: Classification.figures(torch.randn(2, 3), torch.tensor([-1, -1])), "no labelled samples"),
        (lambda: open_task("clasification", num_classes=3), "did you mean 'classification'"),
        (lambda: open_task("classification"), "needs num_classes"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_tasks_open_by_name_with_what_they_ask_for():
    task = open_task("classification", num_classes=5, label_smoothing=0.2, unrelated="x")
    assert isinstance(task, TASKS["classification"])
    assert (task.num_classes, task.label_smoothing, task.primary, task.higher_is_better) == (5, 0.2, "top1", True)


def test_an_outside_task_opens_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "outside_task_part.py").write_text(
        "class Ordinal:\n    primary = 'mae'\n    def __init__(self, num_classes):\n        self.n = num_classes\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert open_task("outside_task_part:Ordinal", num_classes=4, label_smoothing=0.1).n == 4
