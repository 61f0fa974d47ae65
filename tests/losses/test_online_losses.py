"""Losses of networks and branches that train together: the vectors, and slow references where there are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from limbeck.errors import InputError
from limbeck.losses import byot, cross_entropy, dml, kd, kdcl, one, switokd
from limbeck.losses.kdcl import RULES, joint_logits
from limbeck.losses.switokd import distances, threshold, waits
from limbeck.testing.losses import check_loss

VECTORS = json.loads((Path(__file__).parent / "distillation_vectors.json").read_text())["cases"]
TOLERANCE = 1e-10


class Case:
    def __init__(self, name):
        inputs = VECTORS[name]["inputs"]
        self.values, self.extra = VECTORS[name]["values"], VECTORS[name].get("extra", {})
        self.student, self.teacher = (
            torch.tensor(inputs[key], dtype=torch.float64, requires_grad=True) for key in ("zs", "zt")
        )
        self.target = torch.tensor(inputs["y"])


@pytest.fixture(params=["A", "B"])
def case(request):
    return Case(request.param)


def close(value, expected):
    return abs(torch.as_tensor(value).item() - expected) <= TOLERANCE


def random_logits(networks=2, n=7, classes=5, seed=0, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(networks, n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (n,), generator=generator)


def log_softmax(logits):
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def mean_kl(teacher, student):
    p, q = log_softmax(teacher), log_softmax(student)
    return (np.exp(p) * (p - q)).sum(1).mean()


def test_switokd_distances_threshold_and_switch(case):
    figures = distances(case.student, case.teacher, target=case.target)
    names = ("switokd_s_label_L1", "switokd_t_label_L1", "switokd_gap_G")
    assert all(close(figure, case.values[name]) for figure, name in zip(figures, names, strict=True))
    assert close(threshold(figures), case.values["switokd_delta"])
    assert bool(waits(figures)) is case.values["switokd_expert_mode"] is False
    rows = torch.eye(case.student.shape[1], dtype=torch.float64)[case.target]
    assert torch.allclose(distances(case.student, case.teacher, target=rows), figures, atol=1e-12)


def test_switokd_waits_with_the_roles_swapped():
    case = Case("B")
    figures = distances(case.teacher, case.student, target=case.target)
    expected = case.extra["switokd_roles_swapped"]
    for value, name in ((figures[0], "s_label"), (figures[1], "t_label"), (figures[2], "gap_G")):
        assert close(value, expected[name])
    assert close(threshold(figures), expected["delta"])
    assert bool(waits(figures)) is expected["expert_mode"] is True
    value = switokd(case.student, case.teacher, target=case.target)  # the surer network, which is to wait
    value.backward()
    assert value == 0
    assert not case.student.grad.any()


def test_switokd_is_the_mutual_term_where_the_network_learns(case):
    value = switokd(case.teacher, case.student, target=case.target)
    assert torch.equal(value, dml(case.teacher, case.student))
    total = cross_entropy(case.teacher, target=case.target) + value
    assert close(total, case.values["dml_teacher_T1"])
    value.backward()
    again = Case("A" if len(case.target) == 2 else "B")
    dml(again.teacher, again.student).backward()
    assert torch.equal(case.teacher.grad, again.teacher.grad)
    assert case.student.grad is None


def test_switokd_of_networks_that_are_right_beyond_doubt():
    sure = torch.tensor([[1e4, 0.0, 0.0]])
    figures = distances(sure, sure, target=torch.tensor([0]))
    assert figures.tolist() == [0.0, 0.0, 0.0]
    assert not waits(figures)


def test_kdcl_mean_is_the_common_form(case):
    total = 0.5 * cross_entropy(case.student, target=case.target)
    total = total + 0.5 * kdcl(case.student, case.teacher, target=case.target)
    assert close(total, case.values["kdcl_avg_logits_student_T4_alpha0.5"])


@pytest.mark.parametrize("rule", RULES)
def test_kdcl_gradient_is_that_of_a_constant_teacher(case, rule):
    joint = joint_logits(torch.stack([case.student, case.teacher]), target=case.target, rule=rule)
    assert not joint.requires_grad
    value = kdcl(case.student, case.teacher, target=case.target, rule=rule, temperature=3.0)
    value.backward()
    ours, theirs = (np.exp(log_softmax(x.detach().numpy() / 3)) for x in (case.student, joint))
    assert np.abs(case.student.grad.numpy() - 3 * (ours - theirs) / len(ours)).max() < TOLERANCE
    assert close(value, 9 * mean_kl(joint.numpy() / 3, case.student.detach().numpy() / 3))
    assert case.teacher.grad is None


def test_kdcl_naive_takes_the_network_that_fits_this_batch_best():
    logits, target = random_logits(3)
    losses = [-log_softmax(x.numpy())[np.arange(7), target.numpy()].mean() for x in logits]
    assert torch.equal(joint_logits(logits, target=target, rule="naive"), logits[int(np.argmin(losses))])
    assert torch.equal(joint_logits(logits[[1, 2, 0]], target=target, rule="naive"), logits[int(np.argmin(losses))])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("networks", [2, 3, 4])
def test_kdcl_linear_has_the_least_cross_entropy_of_all_combinations(networks, seed):
    logits, target = random_logits(networks, seed=seed)
    logits[0].scatter_add_(1, target.unsqueeze(1), torch.full((7, 1), 1.5, dtype=torch.float64))  # a better network
    values, labels = logits.numpy(), target.numpy()

    def cost(shares):
        return -log_softmax(np.einsum("m,mnk->nk", shares, values))[np.arange(7), labels].mean()

    inside = {"type": "eq", "fun": lambda shares: shares.sum() - 1}
    start = np.full(networks, 1 / networks)
    best = minimize(cost, start, bounds=[(0, 1)] * networks, constraints=inside, options={"ftol": 1e-14})
    joint = joint_logits(logits, target=target, rule="linear").numpy()
    found = -log_softmax(joint)[np.arange(7), labels].mean()
    assert found <= best.fun + 1e-8
    shares = np.linalg.lstsq(values.reshape(networks, -1).T, joint.reshape(-1), rcond=None)[0]
    assert np.abs(np.einsum("m,mnk->nk", shares, values) - joint).max() < 1e-9
    assert shares.min() > -1e-9
    assert shares.sum() == pytest.approx(1.0, abs=1e-9)


def test_kdcl_linear_may_end_at_a_single_network_or_between_two():
    logits, target = random_logits(2)
    rows = torch.arange(7)
    logits[0, rows, target] += 40.0  # right everywhere by far; the other one would only take from it
    logits[1, rows, target] -= 40.0
    assert torch.allclose(joint_logits(logits, target=target, rule="linear"), logits[0], atol=1e-12)
    assert torch.allclose(joint_logits(logits.flip(0), target=target, rule="linear"), logits[0], atol=1e-12)
    even = torch.eye(5, dtype=torch.float64)[target].mul(0.5) + 0.1
    mixed = joint_logits(logits, target=even, rule="linear")  # label rows: too sure is wrong as well
    assert not torch.allclose(mixed, logits[0], atol=1e-3)


def test_kdcl_minlogit_is_no_worse_than_anyone():
    logits, target = random_logits(3)
    joint = joint_logits(logits, target=target, rule="minlogit").numpy()
    slow = np.empty((7, 5))
    for n in range(7):
        for k in range(5):
            slow[n, k] = min(float(logits[m, n, k] - logits[m, n, target[n]]) for m in range(3))
    assert np.abs(joint - slow).max() < 1e-12
    per_sample = -log_softmax(joint)[np.arange(7), target.numpy()]
    others = np.stack([-log_softmax(x.numpy())[np.arange(7), target.numpy()] for x in logits])
    assert (per_sample <= others + 1e-12).all()


def test_kdcl_of_several_peers_and_mixed_labels():
    logits, target = random_logits(3)
    a, b, c = logits
    value = kdcl(a, b, c, target=target, temperature=2.0)
    assert torch.allclose(value, kd(a, logits.mean(0), temperature=2.0))
    rows = torch.eye(5, dtype=torch.float64)[target]
    for rule in RULES:
        one_hot = joint_logits(logits, target=rows, rule=rule)
        assert torch.allclose(one_hot, joint_logits(logits, target=target, rule=rule), atol=1e-9)


def test_one_is_kd_times_a_gaussian_ramp(case):
    whole = kd(case.student, case.teacher, temperature=3.0)
    for epoch, expected in ((0, np.exp(-5)), (40, np.exp(-1.25)), (79, np.exp(-5 / 6400)), (80, 1.0), (299, 1.0)):
        value = one(case.student, case.teacher, progress=torch.tensor(epoch / 300))
        assert (value / whole).item() == pytest.approx(expected, rel=1e-5)
    slow = 9 * mean_kl(case.teacher.detach().numpy() / 3, case.student.detach().numpy() / 3)
    assert close(one(case.student, case.teacher, progress=torch.tensor(0.0), ramp=0.0), slow)


def test_byot_is_a_squared_distance_per_sample():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 4, 3, 2, 2, generator=generator, dtype=torch.float64)
    student.requires_grad_()
    teacher.requires_grad_()
    value = byot(student, teacher)
    value.backward()
    gap = student.detach().numpy() - teacher.detach().numpy()
    assert close(value, sum(float((row**2).sum()) for row in gap) / 4)
    assert np.abs(student.grad.numpy() - 2 * gap / 4).max() < TOLERANCE
    assert teacher.grad is None


def test_the_rules_of_losses():
    check_loss(switokd)
    check_loss(switokd, options={"temperature": 2.0})
    check_loss(one, zero_at_match=True)
    check_loss(byot, zero_at_match=True)
    for rule in RULES:
        check_loss(kdcl, options={"rule": rule}, zero_at_match=rule != "minlogit")
        check_loss(kdcl, options={"rule": rule}, seed=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, y: kdcl(a, a, target=y, rule="best"), "kdcl: unknown rule 'best'"),
        (lambda a, y: kdcl(a, a, a[:, :2], target=y), "both must have the same number of classes"),
        (lambda a, y: kdcl(a, a, target=y, temperature=0.0), "temperature must be positive"),
        (lambda a, y: switokd(a, a, target=y + 9), "switokd: target holds class"),
        (lambda a, y: switokd(a, a, target=y, temperature=-1.0), "temperature must be positive"),
        (lambda a, y: one(a, a, progress=torch.tensor(0.5), ramp=1.5), r"ramp in \[0, 1\]"),
        (lambda a, y: byot(a, a[:, :2]), r"student is \[4, 3\] but teacher is \[4, 2\]"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert "\n" not in str(caught.value)
