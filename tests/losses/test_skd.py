"""Signal knowledge distillation against the values worked out by hand, its limits, and a slow reference."""

import math

import numpy as np
import pytest
import torch

from limbeck.distill import distillation
from limbeck.errors import InputError
from limbeck.losses import LOSSES, kd, loss_options, skd
from limbeck.models import create_model
from limbeck.testing import check_loss
from limbeck.types import Batch

torch.set_num_threads(1)


def logits(seed, n=5, k=4):
    return torch.randn(n, k, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def slow(student, teacher, target, temperature, share):
    total = 0.0
    for s, t, y in zip(student.tolist(), teacher.tolist(), target.tolist(), strict=True):
        soft = np.exp(np.array(t) / temperature) / np.exp(np.array(t) / temperature).sum()
        mine = np.exp(np.array(s) / temperature) / np.exp(np.array(s) / temperature).sum()
        own = np.exp(s) / np.exp(s).sum()
        total += (1 - share) * -math.log(own[y]) + share * temperature**2 * (soft * np.log(soft / mine)).sum()
    return total / len(student)


def test_the_published_hand_value():
    student, teacher = torch.tensor([[1.0, 0.5, 0.0]]).double(), torch.tensor([[2.0, 0.0, -1.0]]).double()
    target = torch.tensor([0])
    assert skd(student, teacher, target=target).item() == pytest.approx(0.4724096, abs=1e-6)
    assert skd(student, teacher, target=target, share=0.0).item() == pytest.approx(0.6802697, abs=1e-6)
    assert skd(student, teacher, target=target, share=1.0).item() == pytest.approx(16 * 0.0239579, abs=1e-5)


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.3), (4.0, 0.7), (8.0, 0.9)])
def test_against_a_slow_reference(temperature, share):
    student, teacher, target = logits(0), logits(1), torch.tensor([0, 3, 1, 2, 0])
    found = skd(student, teacher, target=target, temperature=temperature, share=share)
    assert found.item() == pytest.approx(slow(student, teacher, target, temperature, share), rel=1e-9)


def test_without_the_teacher_it_is_cross_entropy():
    student, target = logits(0).requires_grad_(), torch.tensor([0, 3, 1, 2, 0])
    found = skd(student, logits(1), target=target, share=0.0)
    reference = torch.nn.functional.cross_entropy(student, target)
    torch.testing.assert_close(found, reference)
    torch.testing.assert_close(*(torch.autograd.grad(value, student)[0] for value in (found, reference)))


def test_alone_and_unsoftened_it_is_cross_entropy_to_the_teacher_less_its_entropy():
    student, teacher = logits(0), logits(1)
    found = skd(student, teacher, target=torch.zeros(5, dtype=torch.long), temperature=1.0, share=1.0)
    soft = teacher.softmax(1)
    entropy = -(soft * soft.log()).sum(1).mean()
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(student, soft) - entropy)


def test_the_gradient_does_not_fade_with_the_temperature():
    student = logits(0).requires_grad_()
    sizes = []
    for temperature in (20.0, 40.0, 80.0):
        loss = skd(student, logits(1), target=torch.zeros(5, dtype=torch.long), temperature=temperature, share=1.0)
        sizes.append(torch.autograd.grad(loss, student)[0].norm().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    assert sizes[2] == pytest.approx(sizes[1], rel=0.03)


def test_label_rows_and_labels_agree():
    student, teacher, target = logits(0), logits(1), torch.tensor([0, 3, 1, 2, 0])
    rows = torch.nn.functional.one_hot(target, 4).double()
    torch.testing.assert_close(skd(student, teacher, target=rows), skd(student, teacher, target=target))


def test_below_the_lowest_snr_labels_teach_alone():
    student, teacher, target = logits(0), logits(1), torch.tensor([0, 3, 1, 2, 0])
    snr = torch.tensor([-10.0, 0.0, -2.0, 8.0, -2.1])
    found = skd(student, teacher, target=target, snr=snr, lowest_snr=-2.0)
    parts = [
        skd(student[i : i + 1], teacher[i : i + 1], target=target[i : i + 1], share=0.0 if i in (0, 4) else 0.7)
        for i in range(5)
    ]
    torch.testing.assert_close(found, torch.stack(parts).mean())
    torch.testing.assert_close(skd(student, teacher, target=target, snr=snr), skd(student, teacher, target=target))


def test_conforms():
    check_loss(skd)
    check_loss(skd, options={"lowest_snr": 0.0})
    check_loss(LOSSES["skd_features"]((6,), (8,)), shape=(6,), teacher_shape=(8,))
    check_loss(LOSSES["skd_features"]((6, 1, 5), (8, 1, 3)), shape=(6, 1, 5), teacher_shape=(8, 1, 3))
    assert loss_options(skd) == {"temperature": 4.0, "share": 0.7, "lowest_snr": None}


def test_features_are_compared_at_length_one():
    loss = LOSSES["skd_features"]((3,), (3,)).double()
    torch.nn.init.eye_(loss.dense.weight)
    torch.nn.init.zeros_(loss.dense.bias)
    ours, theirs = logits(2, 5, 3), logits(3, 5, 3)
    unit = [rows / rows.norm(dim=1, keepdim=True) for rows in (ours, theirs)]
    torch.testing.assert_close(loss(ours, theirs), ((unit[0] - unit[1]) ** 2).mean())
    torch.testing.assert_close(loss(ours, 7 * ours), torch.zeros((), dtype=torch.double))
    maps = torch.randn(2, 3, 1, 9, dtype=torch.double)
    torch.testing.assert_close(loss(maps, theirs[:2]), loss(maps.mean((2, 3)), theirs[:2]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"share": 1.1}, "share must lie"),
        ({"lowest_snr": 0.0}, "the data tells none"),
        ({"lowest_snr": 0.0, "snr": torch.zeros(4)}, r"\[N\] = \[5\]; not \[4\]"),
        ({"target": torch.tensor([9, 0, 0, 0, 0])}, "class 9"),
    ],
)
def test_wrong_calls_end_in_one_line(options, words):
    with pytest.raises(InputError, match=words):
        skd(logits(0), logits(1), **{"target": torch.zeros(5, dtype=torch.long), **options})


def networks():
    torch.manual_seed(0)
    return {"student": create_model("kd_cnn", num_classes=4), "teacher": create_model("clst_s", num_classes=4)}


def frames(n=6, **further):
    inputs = torch.randn(n, 2, 128, generator=torch.Generator().manual_seed(1))
    return Batch(torch.arange(n), inputs, torch.arange(n) % 4, further=further)


def test_the_method_is_the_loss():
    pair, batch = networks(), frames()
    objective = distillation("skd", **pair).eval()  # so that dropout does not come in between
    found = objective(batch, torch.tensor(0.5))["loss"]
    student, teacher = (network.eval()(batch.inputs) for network in pair.values())
    torch.testing.assert_close(found, skd(student, teacher, target=batch.target))
    softer = distillation("skd", **pair, temperature=2.0, share=0.4).eval()
    expected = 0.6 * torch.nn.functional.cross_entropy(student, batch.target) + 0.4 * kd(
        student, teacher, temperature=2
    )
    torch.testing.assert_close(softer(batch, torch.tensor(0.5))["loss"], expected)


def test_the_method_with_a_gate_reads_the_snr_of_the_batch():
    pair, snr = networks(), torch.tensor([-10.0, 0, -2, 8, -2.1, 3])
    objective = distillation("skd", **pair, lowest_snr=-1.0).eval()
    batch = frames(snr=snr)
    student, teacher = (network.eval()(batch.inputs) for network in pair.values())
    expected = skd(student, teacher, target=batch.target, snr=snr, lowest_snr=-1.0)
    torch.testing.assert_close(objective(batch, torch.tensor(0.5))["loss"], expected)
    with pytest.raises(InputError, match="tells none"):
        objective(frames(), torch.tensor(0.5))


def test_the_method_with_features_trains_a_layer_along():
    objective = distillation("skd", **networks(), features=1.0)
    values = objective(frames(), torch.tensor(0.5))
    values["loss"].backward()
    assert values["skd_features"] > 0
    layers = [p for name, p in objective.named_parameters() if "dense" in name and p.shape == (96, 64)]
    assert len(layers) == 1
    assert layers[0].grad.abs().sum() > 0


def test_a_student_comes_nearer_to_its_teacher():
    pair, batch = networks(), frames(24)
    objective = distillation("skd", **pair, share=1.0).train()
    pair["student"].last_layer[0].p = 0.0
    optimizer = torch.optim.Adam(pair["student"].parameters(), 3e-3)
    losses = []
    for _ in range(20):
        loss = objective(batch, torch.tensor(0.5))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
