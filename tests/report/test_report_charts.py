from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from limbeck.report.candidates import search_chart
from limbeck.report.charts import Curve, Mark, curves_chart, models_chart, reliability_chart
from limbeck.report.schema import Diagram, parse_report
from limbeck.report.searching import Study
from limbeck.report.svg import Scale


def marks_in(markup, kind):
    return [node for node in ElementTree.fromstring(str(markup)).iter() if kind in node.get("class", "").split()]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.86, 0.94), (0.001, 0.0013), (3, 4000), (-2, 2)])
def test_ticks_are_round_few_and_inside(low, high):
    ticks = Scale(low, high, 0, 100).ticks(5)
    assert 3 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(ticks)}
    assert max(steps) - min(steps) < 1e-6


@pytest.mark.parametrize(("low", "high"), [(0.5, 60), (0.03, 300), (1, 6)])
def test_log_ticks_and_pixels(low, high):
    scale = Scale(low, high, 40, 400, log=True)
    assert 2 <= len(scale.ticks(6)) <= 9
    assert (scale(low), scale(high)) == (pytest.approx(40), pytest.approx(400))
    assert scale((low * high) ** 0.5) == pytest.approx(220)


def test_search_chart_shows_each_scored_candidate_once_and_a_staircase_through_the_front(report):
    study = parse_report(report).search
    assert study is not None
    chart = search_chart(study)
    assert len(marks_in(chart, "trial")) + len(marks_in(chart, "onfront")) + len(marks_in(chart, "best")) == 21
    assert len(marks_in(chart, "onfront")) == len(study.front or []) - 1
    assert len(marks_in(chart, "best")) == len(marks_in(chart, "reference")) == len(marks_in(chart, "budget")) == 1
    stairs = marks_in(chart, "front")[0].get("d", "")
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", stairs)]
    assert len(points) == 2 * len(study.front or []) - 1
    assert all(a[0] == b[0] or a[1] == b[1] for a, b in itertools.pairwise(points))


def test_nothing_to_draw_is_no_chart():
    assert search_chart(Study.model_validate({"trials": [{"number": 0, "state": "failed"}]})) is None
    assert models_chart([], metric="top1", latency="median") is None
    assert reliability_chart(Diagram(), title="x") is None
    assert curves_chart([Curve("a", [(1, 0.5)], 0)], title="t", metric="top1") is None


@pytest.mark.parametrize(
    "values", [[(1.0, 0.9)], [(1.0, 1.0), (1.0, 1.0)], [(0.02, 0.0), (900.0, 1.0)], [(5.0, -3.0), (6.0, 40.0)]]
)
def test_odd_values_stay_on_the_plane(values):
    marks = [Mark(f"m{i}", x, y, i, "tip") for i, (x, y) in enumerate(values)]
    chart = models_chart(marks, metric="top1", latency="median latency", ceiling_ms=2.0)
    for node in marks_in(chart, "model"):
        numbers = [float(value) for value in re.findall(r"-?[\d.]+", node.get("d", ""))]
        assert all(-1 <= value <= 421 for value in numbers)


def test_labels_do_not_cover_each_other():
    marks = [Mark(f"model {i}", 1.0 + 0.01 * i, 0.9 + 0.004 * (i % 2), i, "tip") for i in range(3)]
    chart = models_chart(marks, metric="top1", latency="median latency")
    boxes = []
    for node in marks_in(chart, "label"):
        width, x, y = 6.6 * len(node.text or ""), float(node.get("x", 0)), float(node.get("y", 0))
        anchor = node.get("class", "")
        left = x - (width if "end" in anchor else width / 2 if "mid" in anchor else 0)
        boxes.append((left, y - 11, left + width, y + 3))
    assert len(boxes) == 3
    for i, a in enumerate(boxes):
        assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for b in boxes[:i])


def test_reliability_heights_are_accuracies():
    bins = [
        {"low": 0.0, "high": 0.5, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 0.75, "count": 10, "confidence": 0.6, "accuracy": 0.4},
        {"low": 0.75, "high": 1.0, "count": 40, "confidence": 0.9, "accuracy": 0.95},
    ]
    chart = reliability_chart(Diagram.model_validate({"bins": bins, "ece": 0.08, "mce": 0.2}), title="x")
    bars = [float(node.get("height", 0)) for node in marks_in(chart, "bar")]
    assert bars == [pytest.approx(300 * 0.4, abs=0.1), pytest.approx(300 * 0.95, abs=0.1)]
    assert [float(node.get("height", 0)) for node in marks_in(chart, "gap")] == [pytest.approx(60), pytest.approx(15)]
    counts = [float(node.get("height", 0)) for node in marks_in(chart, "count")]
    assert counts[0] == pytest.approx(counts[1] / 4, abs=0.1)
    assert len(marks_in(chart, "under")) == len(marks_in(chart, "over")) == 1


def test_the_kept_epoch_is_ringed():
    curve = Curve("student", [(1, 0.5), (2, 0.8), (3, 0.7)], 2, kept=2)
    rings = marks_in(curves_chart([curve], title="validation top1", metric="top1"), "kept")
    assert len(rings) == 1
    assert "epoch 2 was kept" in (rings[0].get("aria-label") or "")


@pytest.mark.parametrize("values", [(1.8, 1.4), (1.4, 1.4), (1.2, 0.9), (0.9, 0.2)])
def test_errors_above_the_whole_stay_inside_the_chart(values):
    """An untrained network of landmarks is off by more than the distance that errors are divided by."""
    points = list(enumerate(values))
    chart = curves_chart([Curve("a", points, 0, kept=0)], title="NME", metric="nme")
    rings, curves = marks_in(chart, "kept"), marks_in(chart, "curve")
    numbers = [float(one) for one in re.findall(r"-?[\d.]+", curves[0].get("d"))]
    assert len(rings) == 1
    assert 0 <= float(rings[0].get("cy")) <= 270
    assert all(0 <= y <= 270 for y in numbers[1::2])
