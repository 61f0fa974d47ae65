"""The section on the SNR: curves of every model, the files' parity, confusion matrices; and nothing where nothing is known."""

from __future__ import annotations

import re
from copy import deepcopy

from limbeck.report import render
from limbeck.report.by_snr import matrix_chart, snr_view
from limbeck.report.schema import parse_report
from limbeck.report.snr import Matrix
from limbeck.report.tables import models_table

LEVELS = [
    {"snr": -2.0, "n": 10, "accuracy": 0.3, "ece": 0.1},
    {"snr": 0.0, "n": 10, "accuracy": 0.6, "ece": 0.05},
    {"snr": 2.0, "n": 10, "accuracy": 0.9, "ece": 0.02},
]
BANDS = {"low_snr_accuracy": 0.3, "high_snr_accuracy": 0.75, "best_snr_accuracy": 0.9, "best_snr_db": 2.0}


def told(accuracy: float, reference: float) -> list[dict]:
    return [{"snr": 0.0, "n": 10, "accuracy": accuracy, "reference": reference, "changed": 2, "largest": 0.1}]


def report() -> dict:
    primary = {"name": "top1", "value": 0.6, "higher_is_better": True}
    models = [
        {"name": name, "primary": primary, "metrics": {"top1": 0.6, **BANDS}, "per_snr": LEVELS}
        for name in ("teacher", "student")
    ]
    models.append({"name": "student_int8", "primary": primary, "metrics": {"top1": 0.5}})
    return {
        "schema": 1,
        "run": "radio",
        "task": "modulation",
        "models": models,
        "data": {"class_names": ["BPSK", "QPSK"]},
        "parity": [
            {"model": "student", "passed": True, "by_snr": told(0.6, 0.6)},
            {"model": "student_int8", "passed": True, "by_snr": told(0.5, 0.6)},
        ],
        "signals": {"matrices": [{"snr": 0.0, "counts": [[3, 1], [0, 4]]}]},
    }


def test_every_model_has_its_curves_and_the_files_their_parity() -> None:
    view = snr_view(parse_report(report()))
    assert view is not None
    assert [figure["title"] for figure in view["figures"]] == ["Accuracy by SNR", "Calibration error (ECE) by SNR"]
    assert [name for name, _ in view["figures"][0]["legend"]] == ["Teacher", "Student"]  # one level makes no curve
    assert view["table"].headings[:2] == ["Teacher", "Student"]
    assert "int8" in view["table"].headings[2]
    levels = {name: [cell.text for cell in cells] for name, _, cells in view["table"].rows}
    assert list(levels) == ["-2 dB", "0 dB", "2 dB"]
    assert levels["0 dB"] == ["60.00 %", "60.00 %", "50.00 %"]
    assert levels["-2 dB"] == ["30.00 %", "30.00 %", "–"]
    bands = {name: [(cell.text, cell.note) for cell in cells] for name, _, cells in view["bands"].rows}
    assert bands["Student"] == [("30.00 %", ""), ("75.00 %", ""), ("90.00 %", "at 2 dB")]
    ((_, _, cells),) = view["parity"].rows
    assert [cell.text for cell in cells] == ["60.00 %", "2 of 10", "50.00 %", "2 of 10"]
    assert cells[0].note == "as before"
    assert "10" in cells[2].note


def test_a_matrix_says_each_share_of_its_row() -> None:
    drawn = str(matrix_chart(Matrix(snr=0.0, counts=[[3, 1], [0, 4]]), ["BPSK", "QPSK"]))
    assert re.findall(r">(\d+)</text>", drawn) == ["75", "25", "100"]
    assert "BPSK taken for QPSK; 1 of 4 frames" in drawn
    assert "QPSK taken for BPSK" not in drawn
    assert matrix_chart(Matrix(counts=[[0, 0], [0, 0]]), ["BPSK", "QPSK"]) is None
    assert str(matrix_chart(Matrix(counts=[[1]]), [])).count("all frames") == 1


def test_the_page_holds_the_section_only_for_signals() -> None:
    page = render(report())
    assert '<section id="snr">' in page
    assert page.count("rotate(-45") == 2
    other = deepcopy(report())
    del other["signals"]
    other["parity"] = []
    for model in other["models"]:
        model.pop("per_snr", None)
    assert snr_view(parse_report(other)) is None
    assert '<section id="snr">' not in render(other)


def test_frames_per_second_are_told_of_signals_alone() -> None:
    timed = report()
    timed["samples"] = "frames"
    for model, median in zip(timed["models"], (2.0, 0.25, None), strict=True):
        model["latency_ms"] = {"median": median}
    of_signals, of_pictures = parse_report(timed), parse_report({**timed, "samples": "pictures", "signals": None})
    table = models_table(of_signals.models, per_second_of="frames")
    column = table.headings.index("frames/s")
    assert [(cells[column].text, cells[column].best) for *_, cells in table.rows] == [
        ("500", False),
        ("4.00 k", True),
        ("–", False),
    ]
    assert "frames/s" in render(timed)
    assert "/s" not in models_table(of_pictures.models).headings
    page = render({**timed, "samples": "pictures", "signals": None})
    assert "frames/s" not in page
    assert "pictures/s" not in page
