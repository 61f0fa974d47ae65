"""The section on points: which figure is best, labels of normalisers, charts, and nothing where there are no points."""

from __future__ import annotations

import pytest
from read_page import Page

from limbeck.report import judge, render
from limbeck.report.landmarks import bars_chart, landmarks_view
from limbeck.report.schema import parse_report

MEAN = [[0.3, 0.4], [0.7, 0.4], [0.5, 0.7]]


def model(name: str, nme: float, pupil: float) -> dict:
    metrics = {"nme": nme, "nme_inter_pupil": pupil, "failure_rate_8": 0.2, "failure_rate_10": 0.1}
    parts = {part: {"count": 9, "nme": nme + more, "nme_inter_pupil": pupil + more, "failure_rate_10": 0.1}
             for part, more in (("common", 0.0), ("challenging", 0.02))}  # fmt: skip
    return {
        "name": name,
        "primary": {"name": "nme", "value": nme, "higher_is_better": False},
        "metrics": {**metrics, "auc_8": 0.5 - nme, "auc_10": 0.6 - nme},
        "points": {
            "normalizers": {"nme": "inter-ocular", "nme_inter_pupil": "inter-pupil"},
            "ced": {"error": [0.0, 0.05, 0.1], "share": [0.0, 0.5, 0.9]},
            "compat_auc": 0.7,
            "by_subset": parts,
            "bars": {"coverage": 0.9, "found": 0.88, "radius": 0.04, "radii": [0.03, 0.04, 0.05],
                     "by_point": [0.9, None, 0.86]},
        },
    }  # fmt: skip


@pytest.fixture
def report() -> dict:
    tolerant = model("teacher2", 0.05, 0.07)
    first = {"share": 0.6, "low": MEAN, "high": [[x + 0.02, y] for x, y in MEAN]}
    tolerant["shape_model"] = {"variance": 0.95, "modes": 3, "shapes": 400, "mean": MEAN, "first": [first]}
    return {
        "schema": 1,
        "run": "faces",
        "task": "landmarks",
        "models": [tolerant, model("plain", 0.06, 0.08), model("student", 0.055, 0.081)],
        "jitter": [{"shift": 0.0, "nme": 0.055}, {"shift": 0.1, "nme": 0.08}],
        "paired": {
            "student_vs_teacher2": {"difference": 0.005, "low": 0.004, "high": 0.006, "p_value": 0.002, "n": 18},
            "student_vs_plain": {"difference": -0.005, "low": -0.006, "high": -0.004, "p_value": 0.002, "n": 18},
        },
    }


def test_lower_errors_and_larger_areas_are_marked(report):
    view = landmarks_view(parse_report(report))
    table = view["figures"]
    assert table.headings[:3] == ["NME, inter-ocular", "NME, inter-pupil", "failures, 8 %"]
    best = {heading: [cells[i].best for *_, cells in table.rows] for i, heading in enumerate(table.headings)}
    assert best["NME, inter-ocular"] == best["NME, inter-pupil"] == best["AUC, 10 %"] == [True, False, False]
    assert not any(best["failures, 8 %"])  # all alike


@pytest.mark.parametrize(
    ("found", "kind", "told"),
    [
        (0.95, "good", "Error bars, made to hold 90.00 % of the true points, hold 95.00 % on test."),
        (0.86, "good", "hold 86.00 % on test"),  # 100 pictures tell no more than six points
        (0.80, "bad", "Error bars are too short: made to hold 90.00 % of the true points, hold 80.00 % on test."),
    ],
)
def test_error_bars_are_judged_by_what_they_hold(report, found, kind, told):
    report["data"] = {"counts": {"test": 100}}
    report["models"][-1]["points"]["bars"]["found"] = found
    (verdict,) = [one for one in judge(report) if one["topic"] == "calibration"]
    assert verdict["kind"] == kind
    assert told in verdict["text"]


def test_without_error_bars_the_reason_is_told(report):
    student = report["models"][-1]
    student["points"]["bars"] = None
    student["reliability"] = {"before": None, "after": None, "temperature": 1.0, "reason": "skipped: 12 are too few"}
    (verdict,) = [one for one in judge(report) if one["topic"] == "calibration"]
    assert verdict["text"] == "There are no error bars: skipped: 12 are too few."


def test_normalisers_are_never_in_one_table_of_parts(report):
    view = landmarks_view(parse_report(report))
    (first, ocular), (second, pupil) = view["subsets"]
    assert (first, second) == ("inter-ocular", "inter-pupil")
    assert [row[0] for row in ocular.rows] == ["common", "challenging"]
    assert [cell.text for cell in ocular.rows[1][2]] == ["7.00 %", "8.00 %", "7.50 %"]
    assert ocular.rows[0][2][0].note == "failures 10.00 %"
    assert [cell.text for cell in pupil.rows[0][2]] == ["7.00 %", "8.00 %", "8.10 %"]


def test_the_page_says_what_it_shows(report):
    page = Page(render(report, pictures={"faces": [
        {"picture": "a.png", "text": "NME 9 %", "kind": "worst", "image": "data:image/png;base64,AAAA"},
        {"picture": "b.png", "text": "NME 5 %", "kind": "typical", "image": "http://elsewhere/b.png"},
    ]}))  # fmt: skip
    for words in ("Cumulative error distribution", "8.00 % where they are off by up to 10 %", "88.00 %", "3 modes"):
        assert words in page.text
    assert "a.png" in page.text
    assert "b.png" not in page.text  # what is not inside the page is not shown
    assert "86.00 % to 90.00 %" in page.text
    assert "Classes" not in page.text


def test_words_turn_with_the_figure(report):
    said = {one["topic"]: one for one in judge(report)}
    assert said["distillation"]["kind"] == "good"
    assert "0.50 points better" in said["distillation"]["text"]
    assert "The student is 0.50 points NME worse than teacher 2" in said["teacher"]["text"]


def test_without_points_there_is_no_section(report):
    for one in report["models"]:
        one.pop("points")
    assert landmarks_view(parse_report(report)) is None
    assert "Cumulative" not in render(report)
    assert bars_chart(MEAN, [0.1, 0.1]) is None
