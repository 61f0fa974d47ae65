from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest
from scipy import stats

from limbeck.errors import InputError
from limbeck.report import attach_seeds, combine, judge, render
from limbeck.report.seeds import paired_test

STUDENT = [0.971, 0.975, 0.968, 0.980, 0.973, 0.977]
PLAIN = [0.955, 0.961, 0.950, 0.959, 0.962, 0.957]


def runs(report, n):
    found = []
    for seed in range(n):
        one = copy.deepcopy(report)
        one["provenance"]["seed"] = 10 + seed
        for model in one["models"]:
            values = {"student": STUDENT, "plain": PLAIN}.get(model["name"])
            if values:
                model["top1"] = model["primary"]["value"] = model["metrics"]["top1"] = values[seed]
        found.append(one)
    return found


def test_mean_std_and_values(report):
    combined = combine(runs(report, 6))
    top1 = combined["student"]["metrics"]["top1"]
    assert combined["student"]["seeds"] == [10, 11, 12, 13, 14, 15]
    assert top1["values"] == STUDENT
    assert top1["mean"] == pytest.approx(np.mean(STUDENT))
    assert top1["std"] == pytest.approx(np.std(STUDENT, ddof=1))
    assert combined["teacher"]["metrics"]["latency_ms_median"]["mean"] == pytest.approx(9.84)
    assert set(combined["plain"]["metrics"]) >= {"top1", "top5", "ece", "nll", "macro_accuracy", "size_bytes"}
    json.dumps(combined, allow_nan=False)


def test_paired_t_test_is_scipys(report):
    paired = combine(runs(report, 6))["student"]["paired"]
    expected = stats.ttest_rel(STUDENT, PLAIN)
    interval = expected.confidence_interval()
    assert paired["p_value"] == pytest.approx(expected.pvalue)
    assert (paired["low"], paired["high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert paired["difference"] == pytest.approx(np.mean(STUDENT) - np.mean(PLAIN))
    assert (paired["n"], paired["versus"], paired["metric"], paired["too_few"]) == (6, "plain", "top1", False)


def test_sign_flip_test_is_exact():
    differences = np.array([0.02, -0.01, 0.03, 0.015, -0.002])
    flipped = [abs(np.mean(differences * signs)) for signs in itertools.product([1, -1], repeat=5)]
    expected = np.mean(np.array(flipped) >= abs(differences.mean()) - 1e-12)
    found = paired_test(list(differences), [0.0] * 5)
    assert found["p_value_sign_flip"] == pytest.approx(expected)


def test_few_seeds_are_called_few(report):
    for n in (1, 2, 4):
        paired = combine(runs(report, n))["student"]["paired"]
        assert paired["too_few"]
        assert (paired["p_value"] is None) == (n == 1)
    one = combine(runs(report, 1))["student"]["metrics"]["top1"]
    assert one == {"mean": STUDENT[0], "std": None, "values": STUDENT[:1]}


def test_equal_differences_have_no_t_test():
    found = paired_test([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    assert found["difference"] == pytest.approx(0.1)
    assert found["p_value"] is None
    assert found["p_value_sign_flip"] == pytest.approx(0.25)


def test_missing_figures_keep_their_place(report):
    three = runs(report, 3)
    three[1]["models"] = [model for model in three[1]["models"] if model["name"] != "plain"]
    next(m for m in three[2]["models"] if m["name"] == "student_int8")["withheld"] = "lost too much"
    combined = combine(three)
    assert combined["plain"]["metrics"]["top1"]["values"] == [PLAIN[0], None, PLAIN[2]]
    assert combined["plain"]["n"] == 2
    assert combined["student"]["paired"]["n"] == 2
    assert combined["student_int8"]["metrics"]["top1"]["values"][2] is None


def test_attached_seeds_are_judged_and_shown(report):
    six = runs(report, 6)
    together = attach_seeds(six[0], six)
    assert next(m for m in six[0]["models"] if m["name"] == "student")["seeds"] == {}  # the input is left alone
    verdict = next(v for v in judge(together) if v["topic"] == "seeds")
    assert verdict["kind"] == "good"
    page = render(together)
    assert 'id="seeds"' in page
    assert f"{100 * np.mean(STUDENT):.2f} %" in page
    assert "6 seeds" in page


def test_reports_that_cannot_be_put_together(report):
    with pytest.raises(InputError, match="no reports"):
        combine([])
    other = {**report, "task": "landmarks"}
    with pytest.raises(InputError, match="different tasks"):
        combine([report, other])
