"""Values and gradients of the papers' losses against the independent float64 vectors."""

import json
from pathlib import Path

import pytest
import torch

from limbeck.losses import bdkd, cross_entropy, dist, dkd, dml, kd, lskd, nkd, standardise, uskd, wttm

VECTORS = json.loads((Path(__file__).parent / "distillation_vectors.json").read_text())["cases"]
TOLERANCE = 1e-10


class Case:
    def __init__(self, name):
        inputs = VECTORS[name]["inputs"]
        self.values, self.gradients = VECTORS[name]["values"], VECTORS[name]["gradients"]
        self.extra = VECTORS[name].get("extra", {})
        self.student, self.teacher, self.weak = (
            torch.tensor(inputs[key], dtype=torch.float64, requires_grad=True) for key in ("zs", "zt", "zw")
        )
        self.target = torch.tensor(inputs["y"])


@pytest.fixture(params=["A", "B"])
def case(request):
    return Case(request.param)


def close(value, expected):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    return (value.detach() - expected).abs().max().item() <= TOLERANCE


def test_kd_values_and_gradient(case):
    assert close(kd(case.student, case.teacher, temperature=1.0), case.values["kd_T1"])
    value = kd(case.student, case.teacher)
    assert close(value, case.values["kd_T4"])
    value.backward()
    assert close(case.student.grad, case.gradients["kd_T4"])


def test_kd_with_labels_gives_the_weighted_total(case):
    total = 0.1 * cross_entropy(case.student, target=case.target) + 0.9 * kd(case.student, case.teacher)
    assert close(total, case.values["kd_total_mdistiller_T4_ce0.1_kd0.9"])


@pytest.mark.parametrize(
    ("temperature", "gamma", "key"), [(1.0, 1.5, "T1_g1.5"), (3.0, 3.5, "T3_g3.5"), (1.0, 1.0, "T1_g1")]
)
def test_nkd_values(case, temperature, gamma, key):
    value = nkd(case.student, case.teacher, target=case.target, temperature=temperature, gamma=gamma)
    assert close(value, case.values[f"nkd_{key}"])
    target_part = nkd(case.student, case.teacher, target=case.target, temperature=temperature, gamma=0.0)
    assert close(target_part, case.values[f"nkd_target_{key}"])
    assert close(value - target_part, case.values[f"nkd_nontarget_{key}"])


def test_nkd_gradient_and_total(case):
    value = nkd(case.student, case.teacher, target=case.target)
    value.backward()
    assert close(case.student.grad, case.gradients["nkd_T1_g1.5"])
    assert close(cross_entropy(case.student, target=case.target) + value, case.values["total_ce_plus_nkd_T1_g1.5"])


def test_nkd_is_not_the_release_whose_mask_removed_nothing(case):
    value = nkd(case.student, case.teacher, target=case.target)
    assert abs(value.item() - case.values["nkd_noop_mask_bug_T1_g1.5"]) > 0.1


def test_uskd_values(case):
    def run(**options):
        return uskd(case.student, case.weak, target=case.target, **options)

    assert close(run(), case.values["uskd_imagenet_a1_b0.1_mu0.005_prob"])
    assert close(run(alpha=0.1, beta=0.1, mu=0.1), case.values["uskd_cifar100_a0.1_b0.1_mu0.1_prob"])
    assert close(run(alpha=1.0, beta=0.0, mu=0.0), case.values["uskd_target_prob"])
    assert close(run(alpha=0.0, beta=1.0, mu=0.0), case.values["uskd_nontarget_prob"])
    assert close(run(alpha=0.0, beta=0.0), case.values["uskd_weak_mu0.005"])


def test_uskd_ranks_by_probabilities_over_all_classes(case):
    value = uskd(case.student, case.weak, target=case.target).item()
    assert abs(value - case.values["uskd_imagenet_a1_b0.1_mu0.005_logprob"]) > 1e-4
    assert abs(value - case.values["uskd_imagenet_rank_nontarget_only"]) > 1e-4


def test_uskd_gradients(case):
    uskd(case.student, case.weak, target=case.target).backward()
    assert close(case.student.grad, case.gradients["uskd_imagenet_prob_wrt_student"])
    assert close(case.weak.grad, case.gradients["uskd_imagenet_prob_wrt_weak"])


def test_uskd_with_two_labels():
    case = Case("B")
    mix = case.extra["uskd_mix"]
    rows = torch.tensor(mix["soft_labels"], dtype=torch.float64)

    def run(**options):
        return uskd(case.student, case.weak, target=rows, **options)

    assert close(run(), mix["total_a1_b0.1_mu0.005_prob"])
    assert close(run(alpha=1.0, beta=0.0, mu=0.0), mix["target"])
    assert close(run(alpha=0.0, beta=1.0, mu=0.0), mix["nontarget"])
    assert close(run(alpha=0.0, beta=0.0), mix["weak_mu0.005"])


def test_dml_both_ways(case):
    one = cross_entropy(case.student, target=case.target) + dml(case.student, case.teacher)
    other = cross_entropy(case.teacher, target=case.target) + dml(case.teacher, case.student)
    assert close(one, case.values["dml_student_T1"])
    assert close(other, case.values["dml_teacher_T1"])


def test_label_smoothing(case):
    smoothed = cross_entropy(case.student, target=case.target, smoothing=0.1)
    assert close(smoothed, case.values["label_smoothing_uniform_0.1"])
    assert close(cross_entropy(case.student, target=case.target), case.values["ce_student"])


def test_dkd_values_and_gradient(case):
    def run(**options):
        return dkd(case.student, case.teacher, target=case.target, **options)

    for temperature in (1.0, 4.0):
        key = f"T{temperature:g}"
        assert close(run(temperature=temperature, alpha=1.0, beta=0.0), case.values[f"dkd_tckd_{key}"])
        assert close(run(temperature=temperature, alpha=0.0, beta=1.0), case.values[f"dkd_nckd_{key}"])
    assert close(run(temperature=1.0, beta=0.5), case.values["dkd_T1_a1_b0.5"])
    value = run()
    assert close(value, case.values["dkd_T4_a1_b8"])
    value.backward()
    assert close(case.student.grad, case.gradients["dkd_T4_a1_b8"])


def test_kd_is_both_parts_of_dkd_the_second_by_what_the_teacher_gives_the_others(case):
    for row in range(len(case.target)):
        student, teacher, target = (x[row : row + 1] for x in (case.student, case.teacher, case.target))
        beta = 1 - (teacher / 4).softmax(1)[0, target].item()
        assert close(dkd(student, teacher, target=target, beta=beta), kd(student, teacher).item())


def test_dist_values_and_gradient(case):
    for temperature in (1.0, 4.0):
        options, key = {"temperature": temperature}, f"T{temperature:g}"
        assert close(dist(case.student, case.teacher, gamma=0.0, **options), case.values[f"dist_inter_{key}"])
        assert close(dist(case.student, case.teacher, beta=0.0, **options), case.values[f"dist_intra_{key}"])
        assert close(dist(case.student, case.teacher, **options), case.values[f"dist_{key}_b1_g1"])
    dist(case.student, case.teacher, temperature=4.0).backward()
    assert close(case.student.grad, case.gradients["dist_T4"])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_bdkd_values(case, temperature):
    key = f"T{temperature:g}"
    value = bdkd(case.student, case.teacher, temperature=temperature)
    assert close(value, case.values[f"bdkd_student_kl_{key}_hi2_lo1_reconstructed"])
    for options in ({"weighting": "none"}, {"high": 1.0, "low": 1.0}):
        jeffreys = bdkd(case.student, case.teacher, temperature=temperature, **options)
        assert close(jeffreys, case.values[f"bdkd_student_kl_{key}_hi1_lo1"])
    assert close(dml(case.teacher, case.student, temperature=temperature), case.values[f"bdkd_teacher_kl_{key}"])


def test_bdkd_gradients_of_both_networks_and_totals(case):
    value = bdkd(case.student, case.teacher)
    total = cross_entropy(case.student, target=case.target) + value
    assert close(total, case.values["bdkd_student_total_T1_hi2_lo1_reconstructed"])
    value.backward()
    assert close(case.student.grad, case.gradients["bdkd_student_kl_T1_hi2_lo1_reconstructed"])
    assert case.teacher.grad is None
    case.student.grad = None
    other = dml(case.teacher, case.student)
    assert close(cross_entropy(case.teacher, target=case.target) + other, case.values["bdkd_teacher_total_T1"])
    other.backward()
    assert close(case.teacher.grad, case.gradients["bdkd_teacher_kl_T1_wrt_teacher"])
    assert case.student.grad is None


@pytest.mark.parametrize("entropy_temperature", [1.0, 4.0])
def test_bdkd_weights_by_the_published_entropies(case, entropy_temperature):
    key = f"T{entropy_temperature:g}"
    forward, reverse = (torch.tensor(case.values[f"bdkd_{name}_per_sample_T1"]) for name in ("fkl", "rkl"))
    ours, theirs = (torch.tensor(case.values[f"bdkd_entropy_{name}_{key}"]) for name in ("student", "teacher"))
    of_reverse = 2 / (1 + torch.exp(-3.0 * (ours.double() - theirs.double())))
    expected = (of_reverse * reverse.double() + (2 - of_reverse) * forward.double()).mean()
    soft = bdkd(case.student, case.teacher, weighting="soft", sharpness=3.0, entropy_temperature=entropy_temperature)
    assert abs(soft.item() - expected.item()) < 1e-6
    switched = torch.where(ours > theirs, 0.5 * forward + 3.0 * reverse, 3.0 * forward + 0.5 * reverse).mean()
    hard = bdkd(case.student, case.teacher, high=3.0, low=0.5, entropy_temperature=entropy_temperature)
    assert abs(hard.item() - switched.item()) < 1e-6


def test_logit_standardisation(case):
    assert close(standardise(case.student), case.values["lskd_zscore_student"])
    value = lskd(case.student, case.teacher)
    assert close(value, case.values["lskd_T2"])
    total = 0.1 * cross_entropy(case.student, target=case.target) + 9 * value
    assert close(total, case.values["lskd_total_T2_ce0.1_kd9"])
    value.backward()
    assert close(case.student.grad, case.gradients["lskd_T2"])


def test_wttm_and_the_plain_ttm(case):
    assert close(wttm(case.student, case.teacher), case.values["wttm_g0.1"])
    assert close(wttm(case.student, case.teacher, weighted=False), case.values["ttm_g0.1"])
    wttm(case.student, case.teacher, gamma=0.3).backward()
    ours, powers = (x.detach().softmax(1) for x in (case.student, case.teacher))
    powers = powers**0.3
    expected = (powers.sum(1, keepdim=True) * ours - powers) / len(ours)
    assert close(case.student.grad, expected)
