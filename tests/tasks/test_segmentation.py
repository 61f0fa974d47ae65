"""The segmentation criterion and its figures against slow NumPy references."""

import math

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.tasks import Segmentation, open_task
from limbeck.tasks.segmentation import figures_of_confusion, iou_per_class
from limbeck.testing import check_task


def slow_cross_entropy(out, target, weights, smoothing=0.0):
    """Pixel by pixel, in float64."""
    total = share = 0.0
    k = out.shape[1]
    for n, y, x in np.argwhere(target >= 0):
        logits = out[n, :, y, x].astype(np.float64)
        logp = logits - logits.max() - math.log(np.exp(logits - logits.max()).sum())
        wanted = np.full(k, smoothing / k)
        wanted[target[n, y, x]] += 1 - smoothing
        total -= (weights * wanted * logp).sum()
        share += weights[target[n, y, x]]
    return total / share


def slow_miou(found, target, k):
    """Mean over classes that occur anywhere of |both| / |either|, by sets of pixels."""
    labelled = target >= 0
    values = []
    for each in range(k):
        ours, theirs = (found == each) & labelled, (target == each) & labelled
        if (ours | theirs).any():
            values.append((ours & theirs).sum() / (ours | theirs).sum())
    return np.mean(values), values


def drawn(n=3, k=5, size=(6, 7), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k, *size)).astype(np.float32), rng.integers(-1, k, (n, *size))


def test_criterion_is_cross_entropy_over_labelled_pixels():
    out, target = drawn()
    value = Segmentation(5).criterion(torch.from_numpy(out), torch.from_numpy(target))
    assert value.item() == pytest.approx(slow_cross_entropy(out, target, np.ones(5)), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weights_divide_by_the_sum_of_the_labelled_pixels_weights(smoothing):
    out, target = drawn(seed=1)
    weights = np.array([1.0, 2.0, 0.0, 0.5, 7.0])
    task = Segmentation(5, class_weights=weights, label_smoothing=smoothing)
    value = task.criterion(torch.from_numpy(out), torch.from_numpy(target))
    assert value.item() == pytest.approx(slow_cross_entropy(out, target, weights, smoothing), rel=1e-5)
    scaled = Segmentation(5, class_weights=10 * weights, label_smoothing=smoothing)
    assert scaled.criterion(torch.from_numpy(out), torch.from_numpy(target)).item() == pytest.approx(value.item())


def test_void_alone_gives_zero_and_no_gradient():
    out = torch.randn(2, 3, 4, 4, requires_grad=True)
    for task in (Segmentation(3, label_smoothing=0.1), Segmentation(3, class_weights=[0.0, 1.0, 1.0])):
        void = torch.full((2, 4, 4), -1)
        value = task.criterion(out, void)
        (gradient,) = torch.autograd.grad(value, out)
        assert value.item() == 0
        assert not gradient.any()
    only_unweighted = torch.zeros(2, 4, 4, dtype=torch.long)
    assert Segmentation(3, class_weights=[0.0, 1.0, 1.0]).criterion(out, only_unweighted).item() == 0


def test_smaller_logits_are_enlarged_linearly():
    out = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]])  # two positions; at four they are 0, 1, 3, 4
    target = torch.zeros(1, 1, 4, dtype=torch.long)
    expected = np.mean([math.log(1 + math.exp(-x)) for x in (0, 1, 3, 4)])
    assert Segmentation(2).criterion(out, target).item() == pytest.approx(expected, rel=1e-6)
    assert Segmentation(2).confusion(out, target).tolist() == [[[4, 0], [0, 0]]]
    assert Segmentation(2).figures(out, target)["nll"] == pytest.approx(expected, rel=1e-6)


def test_half_precision_is_upcast():
    out, target = drawn()
    out = torch.from_numpy(out).half()
    value = Segmentation(5).criterion(out, torch.from_numpy(target))
    assert value.dtype == torch.float32
    assert torch.equal(value, Segmentation(5).criterion(out.float(), torch.from_numpy(target)))


def test_figures_by_hand():
    target = torch.tensor([[[0, 0, 0, 1], [1, 1, -1, -1]]])
    found = torch.tensor([[[0, 0, 1, 1], [1, 2, 0, 3]]])  # class 2 only predicted, class 3 only where void
    figures = figures_of_confusion(Segmentation(4).confusion(found, target))
    assert figures["miou"] == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert figures["pixel_accuracy"] == pytest.approx(4 / 6)
    assert figures["mean_class_accuracy"] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_figures_equal_a_slow_reference_and_do_not_depend_on_batches():
    out, target = drawn(n=7, seed=2)
    target[target == 3] = 1
    out[:, 3] = -10  # class 3 is neither there nor predicted
    found = out.argmax(1)
    task = Segmentation(5)
    whole = task.figures(out, target)
    miou, each = slow_miou(found, target, 5)
    assert whole["miou"] == pytest.approx(miou, abs=1e-12)
    assert whole["pixel_accuracy"] == pytest.approx((found == target)[target >= 0].mean(), abs=1e-12)
    assert whole["nll"] == pytest.approx(slow_cross_entropy(out, target, np.ones(5)), rel=1e-5)
    metric = task.metric()
    for start in range(0, 7, 3):
        metric.update(torch.from_numpy(out[start : start + 3]), torch.from_numpy(target[start : start + 3]))
    assert metric.compute() == pytest.approx(whole, rel=1e-6)
    confusion = task.confusion(out, target)
    assert confusion.shape == (7, 5, 5)
    assert np.isnan(iou_per_class(confusion)[3])
    np.testing.assert_allclose(iou_per_class(confusion)[[0, 1, 2, 4]], each, atol=1e-12)
    assert torch.equal(confusion[2], task.confusion(found[2:3], target[2:3])[0])


def test_it_is_a_task():
    out, target = (torch.from_numpy(value) for value in drawn(n=4))
    perfect = 5 * torch.nn.functional.one_hot(target.clamp(min=0), 5).permute(0, 3, 1, 2).float()
    check_task(Segmentation(5), out, target, perfect=perfect)
    task = open_task("segmentation", num_classes=5, label_smoothing=0.2, unrelated="x")
    assert (task.name, task.num_classes, task.label_smoothing, task.primary) == ("segmentation", 5, 0.2, "miou")
    assert task.figures(perfect, target)["miou"] == 1


MASKS = torch.zeros(2, 4, 4, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Segmentation(1), "segmentation: needs at least 2 classes"),
        (lambda: Segmentation(3, class_weights=[1.0, 2.0]), "3 classes but class_weights of shape"),
        (lambda: Segmentation(3).criterion(torch.rand(2, 4, 4, 4), MASKS), r"gives \[2, 4, 4, 4\] where \[N, 3"),
        (lambda: Segmentation(3).criterion(torch.rand(2, 3), MASKS), "where"),
        (lambda: Segmentation(3).criterion(torch.rand(3, 3, 4, 4), MASKS), "do not fit logits"),
        (lambda: Segmentation(3).criterion(torch.rand(2, 3, 4, 4), MASKS.float()), r"expected \[N, H, W\] classes"),
        (lambda: Segmentation(3).confusion(MASKS[:1], MASKS), "class maps"),
        (lambda: Segmentation(3).confusion(MASKS, MASKS + 3), "a mask holds a class outside 0 .. 2"),
        (lambda: Segmentation(3).confusion(MASKS + 3, MASKS), "a prediction holds a class outside 0 .. 2"),
        (lambda: Segmentation(3).figures(torch.rand(2, 3, 4, 4), MASKS - 1), "no labelled pixels"),
        (lambda: Segmentation(3).metric().compute(), "no labelled pixels"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
