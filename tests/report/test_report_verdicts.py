from __future__ import annotations

import copy
import math
import re

import pytest
from scipy import stats

from limbeck.report import judge
from limbeck.report.compare import Comparison, ece_floor, standard_error
from limbeck.report.schema import Diagram


def said(report, topic):
    return [(verdict["kind"], verdict["text"]) for verdict in judge(report) if verdict["topic"] == topic]


def one(report, topic):
    found = said(report, topic)
    assert len(found) == 1, found
    return found[0]


def named(report, name):
    return next(model for model in report["models"] if model["name"] == name)


def score(report, name, value):
    named(report, name)["top1"] = named(report, name)["primary"]["value"] = value


def without(report, name):
    report["models"] = [model for model in report["models"] if model["name"] != name]


@pytest.mark.parametrize(
    ("difference", "p_value", "kind", "start"),
    [
        (0.0222, 0.021, "good", "Distillation helped: 97.50 % top1 against 95.28 %"),
        (-0.03, 0.004, "bad", "Distillation hurt"),
        (0.01, 0.30, "neutral", "Distillation did not measurably help"),
        (-0.01, 0.30, "neutral", "Distillation did not help"),
        (0.0, 1.0, "neutral", "Distillation did not help"),
    ],
)
def test_distillation_by_a_paired_test(report, difference, p_value, kind, start):
    low, high = difference - 0.019, difference + 0.019
    report["paired"]["student_vs_plain"].update(difference=difference, low=low, high=high, p_value=p_value)
    found_kind, text = one(report, "distillation")
    assert found_kind == kind
    assert text.startswith(start)
    assert "paired on 360 test pictures" in text
    assert ("within noise" in text) == (kind == "neutral")


@pytest.mark.parametrize("way", [1, -1])
def test_an_interval_without_zero_that_the_test_does_not_confirm_is_called_so(report, way):
    low, high = sorted((way * 0.001, way * 0.03))
    report["paired"]["student_vs_plain"].update(difference=way * 0.015, low=low, high=high, p_value=0.07)
    kind, text = one(report, "distillation")
    assert kind == "neutral"
    assert "the difference is at the edge of noise" in text
    assert "within noise" not in text


@pytest.mark.parametrize(
    ("student", "plain", "n", "kind"),
    [
        (0.99, 0.80, 360, "good"),
        (0.80, 0.99, 360, "bad"),
        (0.975, 0.9528, 360, "neutral"),
        (0.975, 0.9528, 36_000, "good"),
    ],
)
def test_distillation_without_a_paired_test_uses_the_standard_errors(report, student, plain, n, kind):
    report["paired"] = None
    report["data"]["counts"]["test"] = n
    score(report, "student", student)
    score(report, "plain", plain)
    found_kind, text = one(report, "distillation")
    assert found_kind == kind
    assert f"unpaired on {n} test pictures" in text


def test_distillation_of_unknown_certainty_is_never_claimed(report):
    report["paired"] = report["data"] = None
    kind, text = one(report, "distillation")
    assert kind == "neutral"
    assert "of unknown certainty" in text


def test_a_mirrored_paired_record_is_turned_round(report):
    record = report["paired"].pop("student_vs_plain")
    report["paired"]["plain_vs_student"] = {**record, "difference": -0.0222, "low": -0.0403, "high": -0.0042}
    kind, text = one(report, "distillation")
    assert kind == "good"
    assert "+0.42 to +4.03" in text


def test_lower_is_better_turns_the_sign(report):
    for model in report["models"]:
        model["primary"] = {"name": "nme", "value": 0.05, "higher_is_better": False}
    named(report, "student")["primary"]["value"] = 0.03
    report["paired"] = {
        "student_vs_plain": {"difference": -0.02, "p_value": 0.001, "low": -0.03, "high": -0.01, "n": 500}
    }
    kind, text = one(report, "distillation")
    assert kind == "good"
    assert "2.00 points better" in text
    assert "+1.00 to +3.00" in text


@pytest.mark.parametrize("name", ["student", "plain"])
def test_without_one_of_the_two_distillation_is_not_judged(report, name):
    without(report, name)
    assert said(report, "distillation") == []


@pytest.mark.parametrize(
    ("seeds", "kind", "part"),
    [
        ({"n": 3, "difference": 0.01, "p_value": 0.02, "too_few": True}, "neutral", "too few"),
        ({"n": 6, "difference": 0.01, "p_value": 0.02, "too_few": False}, "good", "1.00 points top1 better"),
        ({"n": 6, "difference": -0.01, "p_value": 0.0002, "too_few": False}, "bad", "p < 0.001"),
        ({"n": 6, "difference": 0.01, "p_value": 0.4, "too_few": False}, "neutral", "within the noise"),
    ],
)
def test_seeds(report, seeds, kind, part):
    named(report, "student")["seeds"] = {"paired": {"metric": "top1", "higher_is_better": True, **seeds}}
    found_kind, text = one(report, "seeds")
    assert found_kind == kind
    assert part in text


def test_teacher_gap_and_savings(report):
    kind, text = one(report, "teacher")
    assert kind == "neutral"
    assert "16.1 times fewer multiply-accumulates, 10.3 times fewer parameters, 7.0 times lower latency" in text
    named(report, "student")["macs"] = 4 * named(report, "teacher")["macs"]
    assert "4.0 times more multiply-accumulates" in one(report, "teacher")[1]


@pytest.mark.parametrize(
    ("budget", "latency", "kind", "part"),
    [
        ({"max_latency_ms": 2.0}, {"median": 1.9, "p90": 9.0}, "good", "median latency 1.90 ms of 2.00 ms"),
        (
            {"max_latency_ms": 2.0, "statistic": "p90"},
            {"median": 1.9, "p90": 2.1},
            "bad",
            "p90 latency 2.10 ms of 2.00 ms",
        ),
        ({"max_latency_ms": 2.0}, {"median": 2.0, "p90": 3.0}, "good", "meets"),
        ({"max_latency_ms": 2.0}, None, "neutral", "median latency not measured"),
        ({"max_params": 400_000}, None, "bad", "parameters 412 k of 400 k"),
        ({"max_size_bytes": 2_000_000, "max_macs": 11_300_000}, None, "good", "file size 1.69 MB of 2.00 MB"),
    ],
)
def test_budget(report, budget, latency, kind, part):
    without(report, "student_int8")
    report["budget"] = budget
    named(report, "student")["latency_ms"] = latency
    found_kind, text = one(report, "budget")
    assert found_kind == kind
    assert part in text


def test_a_budget_without_limits_says_nothing(report):
    report["budget"] = {"target": "onnxruntime"}
    assert said(report, "budget") == []


@pytest.mark.parametrize(
    ("accuracy", "latency", "kind", "part"),
    [
        (0.999, 1.0, "bad", "wins in accuracy"),
        (0.80, 1.9, "good", "The student beats the off-the-shelf network"),
        (0.974, 1.0, "bad", "faster and, as far as can be told, no worse"),
        (0.974, 1.41, "neutral", "cannot be told apart"),
        (0.999, 2.5, "neutral", "over the latency budget"),
    ],
)
def test_off_the_shelf(report, accuracy, latency, kind, part):
    report["paired"] = None
    report["data"]["counts"]["test"] = 2000
    score(report, "off_the_shelf", accuracy)
    named(report, "off_the_shelf")["latency_ms"]["median"] = latency
    found_kind, text = one(report, "off_the_shelf")
    assert found_kind == kind
    assert part in text


@pytest.mark.parametrize(
    ("reference", "validation", "kind", "start"),
    [
        ({"accuracy": 0.50, "latency_ms": 1.6}, 144, "good", "Search helped"),
        ({"accuracy": 0.93, "latency_ms": 1.6}, 144, "neutral", "Search did not measurably help"),
        ({"accuracy": 0.93, "latency_ms": 1.95}, 144, "good", "Search found a faster network"),
        ({"accuracy": 0.999, "latency_ms": 1.0}, 5000, "bad", "Search did not help"),
        ({"accuracy": 0.999, "latency_ms": 1.95}, 5000, "neutral", "Search gave up accuracy for speed"),
        (None, 144, "neutral", "Search: candidate"),
        ({"accuracy": None, "latency_ms": 2.4}, 144, "good", "The reference network takes 2.40 ms, over the budget"),
        ({"accuracy": 0.93, "latency_ms": 1.6}, None, "neutral", "Search did not measurably help"),
    ],
)
def test_search_against_its_reference(report, reference, validation, kind, start):
    report["search"]["reference"] = reference
    report["data"]["counts"]["validation"] = validation
    found_kind, text = one(report, "search")
    assert found_kind == kind
    assert text.startswith(start)
    assert "21 complete, 2 pruned, 1 failed" in text


def test_search_pays_for_having_chosen_the_best_of_many(report):
    report["search"]["reference"] = {"accuracy": 0.88, "latency_ms": 1.64}
    best = next(t for t in report["search"]["trials"] if t["number"] == report["search"]["best"])
    single = Comparison.of_shares("accuracy", best["accuracy"], 0.88, 144).p_value
    assert single is not None
    assert single < 0.05 < 21 * single  # alone it would look certain
    kind, text = one(report, "search")
    assert kind == "neutral"
    assert f"p = {21 * single:.3f}" in text


def test_search_that_found_nothing_or_chose_badly(report):
    broken = copy.deepcopy(report)
    broken["search"]["best"] = None
    assert one(broken, "search")[0] == "bad"
    report["search"]["front"] = [n for n in report["search"]["front"] if n != report["search"]["best"]]
    assert said(report, "search")[0][0] == "bad"
    assert "not on its own Pareto front" in said(report, "search")[0][1]


def diagram(ece, confidence=0.9, count=400):
    return {
        "bins": [{"low": 0, "high": 1, "count": count, "confidence": confidence, "accuracy": 0.8}],
        "ece": ece,
        "mce": ece,
    }


@pytest.mark.parametrize(
    ("before", "after", "kind", "part"),
    [
        (0.10, 0.02, "good", "lowered the student's ECE from 10.00 % to 2.00 %"),
        (0.02, 0.10, "bad", "did not help"),
        (0.05, 0.05, "neutral", "left"),
        (0.011, 0.009, "neutral", "well calibrated already"),
    ],
)
def test_calibration(report, before, after, kind, part):
    named(report, "student")["reliability"] = {"before": diagram(before), "after": diagram(after), "temperature": 1.5}
    found_kind, text = one(report, "calibration")
    assert found_kind == kind
    assert part in text


def test_calibration_that_was_skipped_says_why(report):
    reliability = {"before": diagram(0.05), "after": None, "temperature": None, "reason": "no validation set"}
    named(report, "student")["reliability"] = reliability
    assert one(report, "calibration") == (
        "neutral",
        "Confidence was not calibrated (no validation set); the ECE is 5.00 %.",
    )


def test_ece_floor_is_what_a_calibrated_model_shows_on_average():
    confidence, count = 0.7, 200
    binomial = stats.binom(count, confidence)
    exact = sum(binomial.pmf(k) * abs(k / count - confidence) for k in range(count + 1))
    floor = ece_floor(Diagram.model_validate(diagram(0.1, confidence, count)))
    assert floor == pytest.approx(exact, rel=0.01)
    assert ece_floor(Diagram.model_validate({"bins": []})) is None


def test_int8_withheld(report):
    named(report, "student_int8")["withheld"] = "it loses 3.1 points of top1."
    assert one(report, "int8") == ("bad", "The int8 form is withheld: it loses 3.1 points of top1.")
    assert len(said(report, "budget")) == 1  # what is withheld meets no budget


@pytest.mark.parametrize(
    ("median", "iqr", "kind", "part"),
    [
        (0.7, 0.02, "good", "int8 is 2.01 times as fast"),
        (2.8, 0.02, "bad", "int8 is slower here"),
        (1.40, 0.02, "neutral", "no faster here"),
        (1.2, 0.6, "neutral", "within the spread of the timing"),
    ],
)
def test_int8_speed(report, median, iqr, kind, part):
    named(report, "student_int8")["latency_ms"].update(median=median, iqr=iqr)
    found_kind, text = said(report, "int8")[1]
    assert found_kind == kind
    assert part in text


@pytest.mark.parametrize(
    ("difference", "p_value", "kind", "part"),
    [
        (-0.05, 0.001, "bad", "int8 costs 5.00 points top1"),
        (-0.0028, 1.0, "good", "no measurable accuracy"),
        (0.02, 0.01, "good", "int8 gains"),
    ],
)
def test_int8_accuracy(report, difference, p_value, kind, part):
    report["paired"]["student_int8_vs_student"].update(difference=difference, p_value=p_value)
    found_kind, text = said(report, "int8")[0]
    assert found_kind == kind
    assert part in text


def test_parity_steadiness_and_leakage(report):
    assert one(report, "parity")[0] == "good"
    assert said(report, "measurement") == said(report, "data") == []
    report["parity"][1]["passed"] = False
    named(report, "plain")["measurements"][0]["steady"] = False
    report["data"]["leakage"] = 1
    assert one(report, "parity") == (
        "bad",
        "1 of 2 parity gates failed: export/student_int8.onnx (0.28 points of top1 lost, allowed 1.00).",
    )
    assert "plain on onnxruntime,threads=1" in one(report, "measurement")[1]
    assert one(report, "data")[1].startswith("1 test picture is also in train")


def test_the_reference_itself_may_come_out_best(report):
    best = next(t for t in report["search"]["trials"] if t["number"] == report["search"]["best"])
    report["search"]["reference"] = {"accuracy": best["accuracy"], "latency_ms": best["latency_ms"]}
    kind, text = one(report, "search")
    assert kind == "neutral"
    assert text.startswith("Search did not help: the reference network itself came out best")


def test_leakage_by_pair_of_splits(report):
    report["data"]["leakage"] = {
        "train/test": {"count": 7, "examples": []},
        "train/validation": {"count": 2},
        "a/b": {"count": 0},
    }
    assert [kind for kind, _ in said(report, "data")] == ["bad", "neutral"]
    assert said(report, "data")[0][1].startswith("7 test pictures are also in train")
    assert said(report, "data")[1][1].startswith("2 validation pictures are also in train")


def test_a_bare_report_has_nothing_to_say():
    assert judge({"schema": 1, "run": "bare", "task": "landmarks", "models": [{"name": "student"}]}) == []


def test_no_sentence_leaks_python(report):
    for verdict in judge(report):
        assert not re.search(r"None|nan|\{|\[|e-0", verdict["text"])


def test_standard_error_and_the_unpaired_test():
    assert standard_error(0.5, 10_000) == pytest.approx(0.005, rel=1e-3)
    assert standard_error(1.0, 100) > 0  # all right on 100 pictures is not certainty
    found = Comparison.of_shares("top1", 0.9, 0.85, 1000)
    error = math.hypot(standard_error(0.9, 1000), standard_error(0.85, 1000))
    assert found.p_value == pytest.approx(2 * stats.norm.sf(0.05 / error))
    assert found.is_certain == (found.p_value < 0.05)
    assert not Comparison.of_shares("top1", 0.9, 0.5, None).is_certain
