"""Losses of points against the independent float64 vectors, hand values, and the forms that the paper's figures show."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.losses import (
    LandmarkKd,
    adaptive_wing,
    asmnet,
    assistive,
    landmark_l1,
    landmark_l2,
    landmark_main,
    landmark_smooth_l1,
    loss_options,
    released_main,
    wing,
)
from limbeck.testing.losses import check_loss

VECTORS = json.loads((Path(__file__).parent / "landmark_vectors.json").read_text())
CASE, FORMS = VECTORS["aloss_3_landmarks"]["inputs"], VECTORS["aloss_3_landmarks"]
TOLERANCE = 1e-10
RELEASE = {"tough": {"positive": 1.9, "negative": -0.45}, "tolerant": {"positive": 1.8, "negative": -0.4}}


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def inputs():
    names = ("student", "tough_teacher", "tolerant_teacher", "gt")
    return tuple(tensor(CASE[name]).unsqueeze(0) for name in names)


def each(loss, *values, target, **options):
    """The loss of each coordinate alone."""
    columns = range(target.shape[1])
    return torch.stack([loss(*(one[:, [i]] for one in values), target=target[:, [i]], **options) for i in columns])


def close(value, expected, tolerance=TOLERANCE):
    return (value.detach() - tensor(expected)).abs().max().item() <= tolerance


def kd_reference(student, tough, tolerant, truth):
    """KD-Loss of the paper, coordinate by coordinate in plain Python."""
    total = 0.0
    for p, g, *teachers in zip(student, truth, tough, tolerant, strict=True):
        e = abs(p - g)
        total += 2.5 * (e if e <= 0.5 else e * e + 0.25)
        for t in teachers:
            reflected = g + np.sign(p - g) * abs(t - g)
            q = 0.4 * abs(t - g)
            omega = 0.9 if e >= abs(t - g) else -0.45 if e >= q else -0.45 * e / q
            total += omega * abs(reflected - p)
    return total / len(student)


def test_assistive_of_the_paper_coordinate_by_coordinate():
    student, tough, tolerant, truth = inputs()
    form = FORMS["paper_form"]
    assert close(each(assistive, student, tough, target=truth), form["aloss_tou"])
    assert close(each(assistive, student, tolerant, target=truth), form["aloss_tol"])
    assert close(assistive(student, tough, target=truth), form["mean_aloss_tou"])
    assert close(assistive(student, tolerant, target=truth), form["mean_aloss_tol"])


def test_assistive_of_the_release_coordinate_by_coordinate():
    student, tough, tolerant, truth = inputs()
    form, shared = FORMS["released_code_form"], {"variant": "release", "beta": 0.15}
    assert close(each(assistive, student, tough, target=truth, **RELEASE["tough"], **shared), form["aloss_tou"])
    assert close(each(assistive, student, tolerant, target=truth, **RELEASE["tolerant"], **shared), form["aloss_tol"])


def test_main_losses():
    student, _, tolerant, truth = inputs()
    assert close(each(landmark_main, student, target=truth), FORMS["paper_form"]["main"])
    assert close(landmark_main(student, target=truth), FORMS["paper_form"]["mean_main"])
    assert close(each(released_main, student, tolerant, target=truth), FORMS["released_code_form"]["main"])
    assert close(released_main(student, tolerant, target=truth), FORMS["released_code_form"]["mean_main"])


@pytest.mark.parametrize(("variant", "form"), [("paper", "paper_form"), ("release", "released_code_form")])
def test_the_whole_loss_and_its_gradient(variant, form):
    student, tough, tolerant, truth = inputs()
    student.requires_grad_()
    value = LandmarkKd(variant=variant)(student, tough, tolerant, target=truth)
    assert close(value, FORMS[form]["kd_loss"])
    value.backward()
    assert close(student.grad[0], FORMS[form]["grad_kd_loss_numeric"], 1e-6)  # the vectors' are numeric, of 7 digits


def test_against_a_slow_reference_on_random_points():
    draw = np.random.default_rng(0).uniform(-1, 1, (4, 500))
    value = LandmarkKd()(*(tensor(row).unsqueeze(0) for row in draw[:3]), target=tensor(draw[3]).unsqueeze(0))
    assert value.item() == pytest.approx(kd_reference(*draw), rel=1e-12)


@pytest.mark.parametrize("panel", ["left", "right"])
def test_the_published_curves(panel):
    curves = VECTORS["figure_curves_paper_form"][panel]
    error = tensor(curves["err"]).unsqueeze(0)
    truth = torch.zeros_like(error)
    tough, tolerant = (torch.full_like(error, curves[name]) for name in ("p_accurate", "p_smooth"))
    assert close(each(landmark_main, error, target=truth), curves["main"])
    assert close(each(assistive, error, tough, target=truth), curves["aloss_tou"])
    assert close(each(assistive, error, tolerant, target=truth), curves["aloss_tol"])
    assert close(each(LandmarkKd(), error, tough, tolerant, target=truth), curves["kd"])


def test_the_sides_of_the_truth_are_alike():
    error = torch.linspace(0.001, 0.7, 200, dtype=torch.float64).unsqueeze(0)
    teacher, truth = torch.full_like(error, 0.45), torch.full_like(error, 0.2)
    for variant in ("paper", "release"):
        above = each(assistive, truth + error, teacher, target=truth, variant=variant)
        below = each(assistive, truth - error, teacher, target=truth, variant=variant)
        torch.testing.assert_close(above, below, rtol=0, atol=1e-12)


@pytest.mark.parametrize("at", [0.04, 0.1])
def test_the_form_of_the_paper_has_no_jumps(at):
    truth, teacher = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 0.1, dtype=torch.float64)
    below, above = (assistive(tensor([[at + step]]), teacher, target=truth) for step in (-1e-9, 1e-9))
    assert abs(float(below - above)) < 1e-8


@pytest.mark.parametrize(("error", "sign"), [(0.02, -1), (0.06, 1), (0.2, 1)])
def test_which_way_the_assistive_loss_pushes(error, sign):
    student = tensor([[error]]).requires_grad_()
    assistive(student, tensor([[0.1]]), target=tensor([[0.0]])).backward()
    # between teacher and truth it pushes on to the truth; only close to the truth it pushes away, and fades
    assert float(student.grad) * sign > 0


def test_a_teacher_on_the_other_side_is_reflected():
    student, truth = tensor([[0.3, 0.02]]), torch.zeros(1, 2, dtype=torch.float64)
    here = assistive(student, tensor([[0.1, 0.1]]), target=truth)
    assert assistive(student, tensor([[-0.1, -0.1]]), target=truth) == here


def test_an_exact_teacher():
    student, truth = tensor([[0.3]]), tensor([[0.1]])
    assert assistive(student, truth, target=truth).item() == pytest.approx(0.9 * 0.2)
    assert assistive(student, truth, target=truth, variant="release") == 0


def test_the_whole_loss_is_never_negative():
    error = torch.linspace(0, 1, 101, dtype=torch.float64)
    loss = LandmarkKd()
    for tough, tolerant in itertools.product((0.0, 0.01, 0.1, 0.5), repeat=2):
        grid = error.unsqueeze(0)
        sides = torch.full_like(grid, tough), torch.full_like(grid, tolerant)
        values = each(loss, grid, *sides, target=torch.zeros_like(grid))
        assert bool((values >= 0.25 * error - 1e-12).all())


def test_the_main_loss_must_outweigh_the_assistive_ones():
    with pytest.raises(InputError, match=r"weight_main must exceed 2\.25"):
        LandmarkKd(weight_main=2.0)
    with pytest.raises(InputError, match=r"weight_main must exceed 2\.25"):
        LandmarkKd(weight_main=2.25)
    LandmarkKd(weight_main=2.26)
    LandmarkKd(weight_main=1.2, weight_tolerant=0.0)
    LandmarkKd(weight_main=2.0, variant="release")  # has no slope at the truth but the main loss's


def test_the_bound_is_where_the_truth_turns_from_a_minimum_into_a_maximum():
    truth, teacher, step = tensor([[0.0]]), tensor([[0.3]]), tensor([[1e-4]])
    both = 2 * assistive(step, teacher, target=truth)
    assert float(2.26 * landmark_main(step, target=truth) + both) > 0
    assert float(2.24 * landmark_main(step, target=truth) + both) < 0


def test_plain_errors_by_hand():
    student, truth = tensor([[0.5, 0.1], [0.2, 0.2]]), tensor([[0.3, 0.1], [0.25, 0.2]])
    assert landmark_l1(student, target=truth).item() == pytest.approx(0.25 / 4)
    assert landmark_l2(student, target=truth).item() == pytest.approx((0.04 + 0.0025) / 4)
    smooth = landmark_smooth_l1(student, target=truth, knee=0.1).item()
    assert smooth == pytest.approx((0.2 - 0.05 + 0.05**2 / 0.2) / 4)


def test_wing_losses_by_hand_and_without_jumps():
    zero = tensor([[0.0]])
    pixels = {"width": 10.0, "epsilon": 2.0}
    assert wing(tensor([[4.0]]), target=zero, **pixels).item() == pytest.approx(10 * np.log(3))
    assert wing(tensor([[-20.0]]), target=zero, **pixels).item() == pytest.approx(20 - (10 - 10 * np.log(6)))
    assert wing(tensor([[4 / 256]]), target=zero).item() * 256 == pytest.approx(10 * np.log(3))
    maps = {"omega": 14.0, "theta": 0.5, "epsilon": 1.0, "exponent": 1.1}
    assert adaptive_wing(tensor([[0.3]]), target=zero, **maps).item() == pytest.approx(14 * np.log1p(0.3**1.1))
    for loss, knee, options in ((wing, 10.0, pixels), (adaptive_wing, 0.5, maps)):
        low, high = (loss(tensor([[knee + step]]), target=zero, **options).item() for step in (-1e-9, 1e-9))
        assert abs(low - high) < 1e-7
    beside = tensor([[0.5 - 1e-7]]).requires_grad_(), tensor([[0.5 + 1e-7]]).requires_grad_()
    for one in beside:
        adaptive_wing(one, target=zero, **maps).backward()
    assert float(beside[0].grad) == pytest.approx(float(beside[1].grad), rel=1e-5)


def test_asmnet_weighs_the_smoothed_truth_by_thirds_of_training():
    student, soft, truth = tensor([[0.2, 0.4]]), tensor([[0.1, 0.2]]), tensor([[0.0, 0.0]])
    values = [asmnet(student, soft, target=truth, progress=torch.tensor(at)).item() for at in (0.0, 0.34, 0.67, 0.99)]
    assert values == pytest.approx([0.1 + 0.025 * weight for weight in (2, 1, 0.5, 0.5)])


ALL = {
    "landmark_l1": (landmark_l1, 1), "landmark_l2": (landmark_l2, 1), "landmark_smooth_l1": (landmark_smooth_l1, 1),
    "landmark_main": (landmark_main, 1), "wing": (wing, 1), "adaptive_wing": (adaptive_wing, 1),
    "released_main": (released_main, 2), "assistive": (assistive, 2), "asmnet": (asmnet, 2), "landmark_kd": (LandmarkKd(), 3),
}  # fmt: skip


def called(loss, tensors, target):
    extra = {"progress": torch.tensor(0.1)} if loss is asmnet else {}
    return loss(*tensors, target=target, **extra)


@pytest.mark.parametrize("name", ALL)
def test_every_loss_of_points_keeps_the_rules(name):
    truth = torch.rand(6, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    check_loss(ALL[name][0], shape=(8,), target=truth)


@pytest.mark.parametrize("name", ALL)
def test_unknown_points_are_left_out(name):
    loss, takes = ALL[name]
    generator = torch.Generator().manual_seed(1)
    student, *teachers = (torch.rand(3, 4, 2, generator=generator, dtype=torch.float64) for _ in range(takes))
    truth = torch.rand(3, 4, 2, generator=generator, dtype=torch.float64)
    unknown = torch.zeros(3, 4, dtype=torch.bool)
    unknown[0, 1] = unknown[2] = True
    partly = truth.masked_fill(unknown[:, :, None], torch.nan)
    student.requires_grad_()
    value = called(loss, (student, *teachers), partly)
    value.backward()
    rows = [one[~unknown].reshape(1, -1) for one in (student, *teachers, truth)]
    torch.testing.assert_close(value, called(loss, rows[:-1], rows[-1]))
    assert bool((student.grad[unknown] == 0).all())
    assert bool((student.grad[~unknown] != 0).all())
    nothing = called(loss, (student, *teachers), torch.full_like(truth, torch.nan))
    assert nothing == 0
    nothing.backward()
    assert bool(student.grad.isfinite().all())


def test_points_may_come_as_pairs_or_in_a_row():
    student, truth = torch.rand(2, 5, 2), torch.rand(2, 5, 2)
    assert landmark_l1(student.flatten(1), target=truth) == landmark_l1(student, target=truth)


def test_bad_input_is_told():
    two, three = torch.rand(4, 4), torch.rand(4, 6)
    with pytest.raises(InputError, match=r"assistive: student has \[4, 4\] coordinates but teacher \[4, 6\]"):
        assistive(two, three, target=two)
    with pytest.raises(InputError, match=r"landmark_main: student has .* but target"):
        landmark_main(two, target=three)
    with pytest.raises(InputError, match=r"landmark_l1: target must be .* floating-point coordinates"):
        landmark_l1(two, target=torch.zeros(4, dtype=torch.long))
    with pytest.raises(InputError, match="empty batch"):
        landmark_l1(two[:0], target=two[:0])
    with pytest.raises(InputError, match="unknown variant 'released'"):
        assistive(two, two, target=two, variant="released")
    with pytest.raises(InputError, match="unknown variant 'papers'"):
        LandmarkKd(variant="papers")
    with pytest.raises(InputError, match=r"beta in \(0, 1\)"):
        assistive(two, two, target=two, beta=0.0)
    with pytest.raises(InputError, match="weights must not be negative"):
        LandmarkKd(weight_tough=-1.0)
    with pytest.raises(InputError, match="wing: width and epsilon must be positive"):
        wing(two, target=two, width=0.0)
    with pytest.raises(InputError, match="exponent > 1"):
        adaptive_wing(two, target=two, exponent=1.0)
    with pytest.raises(InputError, match="knee must be positive"):
        landmark_smooth_l1(two, target=two, knee=0.0)
    with pytest.raises(InputError, match="weights is empty"):
        asmnet(two, two, target=two, progress=torch.tensor(0.0), weights=())


def test_the_names_that_other_tools_rely_on():
    assert loss_options(assistive) == {"positive": 0.9, "negative": -0.45, "beta": 0.4, "variant": "paper"}
