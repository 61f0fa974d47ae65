"""Rules that every loss keeps, hand values, options and bad input."""

import inspect
import math

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import (
    LOSSES,
    bdkd,
    check_options,
    cross_entropy,
    dist,
    dkd,
    dml,
    kd,
    loss_options,
    lskd,
    nkd,
    standardise,
    uskd,
    wttm,
)
from limbeck.losses.checks import positional_names
from limbeck.testing.losses import check_loss

ZERO_AT_MATCH = ("kd", "dml", "dkd", "bdkd", "lskd")
OTHERS = {  # on features or points: held to the rules in tests of their own
    *("at", "pkd", "rkd", "sp"),
    *("landmark_l1", "landmark_l2", "landmark_smooth_l1", "landmark_main", "released_main", "assistive"),
    *("asmnet", "wing", "adaptive_wing"),
}
FUNCTIONS = [  # a class is built from shapes first
    name for name, loss in LOSSES.items() if not inspect.isclass(loss) and name not in OTHERS
]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_loss_conforms(name):
    check_loss(LOSSES[name], second_learns=name == "uskd", zero_at_match=name in ZERO_AT_MATCH)


@pytest.mark.parametrize("classes", [3, 100])
@pytest.mark.parametrize("name", ["nkd", "uskd", "dkd", "dist", "bdkd"])
def test_losses_on_few_and_many_classes(name, classes):
    check_loss(LOSSES[name], classes=classes, batch=5, second_learns=name == "uskd")


def leaky(student, teacher, *, scale=1.0):
    return scale * (student.float() - teacher.float()).pow(2).mean()


def ordered(student, teacher, *, target):
    return kd(student, teacher) * (1 + target[0])


def unsafe(student, teacher):
    s, t = student.double().softmax(1), teacher.detach().double().softmax(1)
    return (t * (t.log() - s.log())).sum(1).mean().to(student.dtype)


@pytest.mark.parametrize(
    ("loss", "why"),
    [(leaky, "float64 inputs give"), (ordered, "order of the batch"), (unsafe, "inputs give torch.float16")],
)
def test_the_suite_rejects_losses_that_break_a_rule(loss, why):
    with pytest.raises(AssertionError, match=why):
        check_loss(loss)


def test_the_suite_rejects_a_gradient_into_the_teacher():
    with pytest.raises(AssertionError, match="a gradient reaches 'teacher'"):
        check_loss(lambda student, teacher: (student - teacher).pow(2).mean())


def test_the_suite_rejects_overflow():
    def overflows(student, teacher):
        student, teacher = (x.float() if x.dtype.itemsize == 2 else x for x in (student, teacher.detach()))
        return (teacher.exp() / teacher.exp().sum(1, keepdim=True) * -student).sum(1).mean()

    with pytest.raises(AssertionError, match="1e4"):
        check_loss(overflows)


def test_the_suite_rejects_products_that_autocast_lowers():
    def product(student, teacher):
        student, teacher = (x if x.dtype == torch.float64 else x.float() for x in (student, teacher.detach()))
        return torch.einsum("nk,nk->", teacher.softmax(1), teacher.log_softmax(1) - student.log_softmax(1)) / len(
            student
        )

    with pytest.raises(AssertionError, match="autocast lowers its precision"):
        check_loss(product)


def test_hand_values():
    even, peer = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.0, math.log(4)]], dtype=torch.float64)
    kl = math.log(2) + 0.2 * math.log(0.2) + 0.8 * math.log(0.8)
    assert kd(even, peer, temperature=1.0).item() == pytest.approx(kl, abs=1e-14)
    assert dml(even, peer).item() == pytest.approx(kl, abs=1e-14)
    assert kd(even, 3 * peer, temperature=3.0).item() == pytest.approx(9 * kl, abs=1e-13)
    # S = (1/2, 1/4, 1/4), T = (4/7, 2/7, 1/7): 4/7 log 2 + 1.5 (2/3 log 2 + 1/3 log 2)
    student, teacher = (torch.tensor([row], dtype=torch.float64).log() for row in ([2.0, 1.0, 1.0], [4.0, 2.0, 1.0]))
    expected = 4 / 7 * math.log(2) + 1.5 * math.log(2)
    assert nkd(student, teacher, target=torch.tensor([0])).item() == pytest.approx(expected, abs=1e-14)


def test_nkd_takes_the_largest_entry_of_a_mixed_label():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    hard = torch.tensor([1, 4, 0, 2])
    rows = 0.7 * torch.eye(5)[hard] + 0.3 * torch.eye(5)[(hard + 1) % 5]
    assert torch.equal(nkd(student, teacher, target=rows), nkd(student, teacher, target=hard))


def test_uskd_soft_labels_average_to_plain_cross_entropy_for_equal_samples():
    logits = torch.randn(1, 6).repeat(3, 1)  # S_t^2 equals its mean: P = 1
    target = torch.tensor([2, 2, 2])
    value = uskd(logits, logits, target=target, beta=0.0, mu=0.0)
    assert torch.allclose(value, cross_entropy(logits, target=target), atol=1e-6)


def test_uskd_gives_one_hot_rows_the_labels_of_indices_except_for_the_dropped_class():
    torch.manual_seed(0)
    student, weak, target = torch.randn(4, 6), torch.randn(4, 6), torch.tensor([0, 3, 1, 5])
    rows = torch.eye(6)[target]
    same = uskd(student, weak, target=rows, beta=0.0) - uskd(student, weak, target=target, beta=0.0)
    other = uskd(student, weak, target=rows) - uskd(student, weak, target=target)
    assert abs(same.item()) < 1e-6 < abs(other.item())


def test_mixed_precision_of_student_and_teacher():
    student, teacher = torch.randn(4, 5, dtype=torch.float64, requires_grad=True), torch.randn(4, 5).half()
    assert kd(student, teacher).dtype == torch.float64
    assert kd(student.float(), teacher).dtype == torch.float32


def test_a_trained_temperature_gets_a_gradient():
    temperature = torch.tensor(2.0, requires_grad=True)
    kd(torch.randn(4, 5), torch.randn(4, 5), temperature=temperature).backward()
    assert temperature.grad is not None
    assert temperature.grad.abs() > 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_losses_compile_to_one_graph(name):
    torch.manual_seed(0)
    student = torch.randn(4, 6, requires_grad=True)
    others = [torch.randn(4, 6) for _ in positional_names(LOSSES[name])[1:]]
    handed = {"target": torch.tensor([1, 0, 5, 2]), "index": torch.arange(4), "progress": torch.tensor(0.5)}
    keywords = {key: handed[key] for key in inspect.signature(LOSSES[name]).parameters if key in handed}
    compiled = torch.compile(LOSSES[name], backend="aot_eager", fullgraph=True)
    expected, value = LOSSES[name](student, *others, **keywords), compiled(student, *others, **keywords)
    assert torch.allclose(value, expected, atol=1e-6)
    gradients = [torch.autograd.grad(v, student)[0] for v in (expected, value)]
    assert torch.allclose(*gradients, atol=1e-6)


def bad(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_bad_input_gives_one_line():
    student, teacher, target = torch.randn(4, 5), torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    bad(
        lambda: kd(student, torch.randn(4, 6)),
        r"kd: student is \[4, 5\] but teacher is \[4, 6\]; both must have the same number of classes",
    )
    bad(lambda: kd(student, torch.randn(3, 5)), "same batch")
    bad(lambda: kd(student, teacher, temperature=0.0), "temperature must be positive, not 0.0")
    bad(lambda: dml(student, teacher, temperature=-1.0), "temperature must be positive")
    bad(lambda: kd(student[0], teacher[0]), r"kd: student must be \[N, K\]")
    bad(lambda: kd(student.long(), teacher), "of int64")
    bad(lambda: kd(student[:0], teacher[:0]), "empty batch")
    bad(lambda: nkd(student[:, :2], teacher[:, :2], target=target % 2), "nkd: needs at least 3 classes, student has 2")
    bad(lambda: uskd(student[:, :2], teacher[:, :2], target=target % 2), "uskd: needs at least 3 classes")
    bad(lambda: nkd(student, teacher, target=target + 2), "class 5, outside 0 .. 4")
    bad(lambda: nkd(student, teacher, target=target - 1), "class -1, outside")
    bad(lambda: nkd(student, teacher, target=target[:2]), r"target must be \[N\] = \[4\]")
    bad(lambda: nkd(student, teacher, target=target > 1), "of bool")
    bad(lambda: nkd(student, teacher, target=torch.rand(4, 3)), "soft target must be")
    bad(lambda: uskd(student, teacher, target=torch.full((4, 5), 0.2)), "more than two entries")
    bad(lambda: uskd(student, torch.randn(4, 6), target=target), "student is .* but weak is")
    bad(lambda: lskd(student[:, :2], teacher[:, :2]), "lskd: needs at least 3 classes, student has 2")
    bad(lambda: uskd(student, teacher, target=target, smoothing=2.0), r"uskd: smoothing must lie in \[0, 1\), not 2.0")
    bad(lambda: kd(student, teacher, temperature=np.float32(0)), "kd: temperature must be positive")
    bad(lambda: dkd(student[:, :2], teacher[:, :2], target=target % 2), "dkd: needs at least 3 classes")
    bad(lambda: dkd(student, teacher, target=target, temperature=0.0), "dkd: temperature must be positive")
    bad(lambda: dkd(student, teacher, target=target + 2), "dkd: target holds class 5")
    bad(lambda: lskd(student, teacher, temperature=0.0), "temperature must be positive")
    bad(lambda: lskd(student, teacher[:2]), "lskd: student is .* the same batch")
    bad(lambda: standardise(student[0]), r"standardise: logits must be \[N, K\]")
    bad(lambda: wttm(student, teacher, gamma=0.0), "wttm: gamma must be positive, not 0.0")
    bad(lambda: dist(student, teacher, temperature=-1.0), "dist: temperature must be positive")
    bad(lambda: bdkd(student, teacher, temperature=0.0), "bdkd: temperature must be positive")
    bad(lambda: bdkd(student, teacher, entropy_temperature=0.0), "bdkd: entropy_temperature must be positive")
    bad(lambda: bdkd(student, teacher, ceiling=-1.0), "bdkd: ceiling must be positive")
    bad(lambda: bdkd(student, teacher, weighting="sof"), "bdkd: unknown weighting 'sof'; did you mean 'soft'")
    bad(lambda: cross_entropy(student, target=target, smoothing=1.0), "smoothing must lie in")


def test_options_are_the_signature():
    assert loss_options(kd) == {"temperature": 4.0}
    assert loss_options(uskd) == {"alpha": 1.0, "beta": 0.1, "mu": 0.005, "exponent": 2.0, "smoothing": 0.1}
    check_options(loss_options(kd), {"temperature": 2.0}, where="term 'kd'")
    bad(
        lambda: check_options(loss_options(kd), {"temprature": 2.0}, where="term 'kd'"),
        "term 'kd': unknown option 'temprature'; did you mean 'temperature'",
    )
    bad(lambda: check_options({}, {"x": 1}, where="term 'a'"), "takes no options")


def test_dkd_takes_the_largest_entry_of_a_mixed_label():
    torch.manual_seed(0)
    student, teacher, hard = torch.randn(4, 5), torch.randn(4, 5), torch.tensor([1, 4, 0, 2])
    rows = 0.7 * torch.eye(5)[hard] + 0.3 * torch.eye(5)[(hard + 1) % 5]
    assert torch.equal(dkd(student, teacher, target=rows), dkd(student, teacher, target=hard))


def test_dist_ignores_scale_and_shift_of_probabilities_but_not_order():
    torch.manual_seed(0)
    student = torch.randn(8, 5, dtype=torch.float64)
    assert abs(dist(student, student).item()) < 1e-6
    blurred = (0.5 * student.softmax(1) + 0.5 / 5).log()  # each row and column a linear function of the student's
    assert abs(dist(student, blurred).item()) < 1e-6
    assert dist(student, student.flip(1)).item() > 0.5


def test_bdkd_becomes_dml_without_the_reverse_divergence_and_bounds_each_sample():
    torch.manual_seed(0)
    student, sure = torch.randn(6, 5, dtype=torch.float64), 9 * torch.randn(6, 5, dtype=torch.float64)
    spread = 0.1 * sure  # of larger entropy than the student: the forward divergence is favoured
    pure = bdkd(5 * student, spread, temperature=2.0, high=1.0, low=0.0)
    assert torch.allclose(pure, dml(5 * student, spread, temperature=2.0))
    shift = torch.randn(6, 1, dtype=torch.float64)
    assert torch.allclose(bdkd(student + shift, sure - shift), bdkd(student, sure))
    unscaled = bdkd(student, sure, temperature=2.0, scaled=False)
    assert torch.allclose(4 * unscaled, bdkd(student, sure, temperature=2.0))
    student.requires_grad_()
    bounded = bdkd(student, sure, weighting="none", ceiling=1e-6)
    bounded.backward()
    assert bounded.item() == pytest.approx(2e-6)
    assert not student.grad.any()


def test_bdkd_weights_carry_no_gradient():
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 5, dtype=torch.float64, requires_grad=True), torch.randn(1, 5).double()
    entropy = [-(x.softmax(1) * x.log_softmax(1)).sum() for x in (student, teacher)]
    of_reverse = (2 * torch.sigmoid(entropy[0] - entropy[1])).item()
    forward = dml(student, teacher)
    reverse = (student.softmax(1) * (student.log_softmax(1) - teacher.log_softmax(1))).sum()
    expected = torch.autograd.grad((2 - of_reverse) * forward + of_reverse * reverse, student)[0]
    found = torch.autograd.grad(bdkd(student, teacher, weighting="soft"), student)[0]
    assert torch.allclose(found, expected, atol=1e-12)


def test_standardised_logits_compose_with_any_loss_and_rows_without_spread_stay_finite():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    target = torch.tensor([1, 4, 0, 2])
    plain = dkd(standardise(student), standardise(teacher), target=target, temperature=2.0)
    scaled = dkd(standardise(3 * student + 7), standardise(teacher / 4), target=target, temperature=2.0)
    assert plain.item() == pytest.approx(scaled.item(), rel=1e-5)
    assert dkd(student, teacher, target=target, temperature=2.0, standardise=True) == plain
    assert plain.item() != pytest.approx(dkd(student, teacher, target=target, temperature=2.0).item(), rel=1e-2)
    flat = torch.full((2, 5), 3.0, requires_grad=True)
    kd(standardise(flat), torch.randn(2, 5)).backward()
    assert torch.isfinite(flat.grad).all()
    assert standardise(flat.half()).dtype == torch.float32


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dist_of_a_side_without_spread_is_that_of_no_correlation(temperature):
    """What rounding leaves of a constant side is no correlation, however large the guarded division makes it."""
    generator = torch.Generator().manual_seed(0)
    told = torch.randn(8, 10, generator=generator)
    for student, teacher in (
        (torch.zeros(8, 10), told),
        (told, torch.zeros(8, 10)),
        (torch.ones(8, 10), torch.ones(8, 10)),
    ):
        assert dist(student, teacher, temperature=temperature).item() == pytest.approx(2 * temperature**2, rel=1e-3)


def test_bdkd_keeps_double_precision():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 16, 5, generator=generator, dtype=torch.float64)
    found = bdkd(student, teacher, high=1.7, low=0.4)
    ours, theirs = student.log_softmax(1), teacher.log_softmax(1)
    unsure = -(ours.exp() * ours).sum(1) > -(theirs.exp() * theirs).sum(1)
    forward, reverse = (theirs.exp() * (theirs - ours)).sum(1), (ours.exp() * (ours - theirs)).sum(1)
    expected = torch.stack(
        [(0.4 * f + 1.7 * r) if u else (1.7 * f + 0.4 * r) for f, r, u in zip(forward, reverse, unsure)]
    )
    assert found.item() == pytest.approx(expected.mean().item(), rel=1e-14)
