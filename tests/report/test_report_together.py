"""How a report speaks of networks that teach together, in a chain, or train along."""

from __future__ import annotations

import copy
import re

import pytest

from limbeck.report import judge, render
from limbeck.report.schema import parse_report
from limbeck.report.tables import label, models_table, seeds_table


def named(report, name):
    return next(model for model in report["models"] if model["name"] == name)


def said(report):
    return {verdict["topic"]: verdict["text"] for verdict in judge(report)}


def with_further(report, *names, before="plain"):
    """Copies of the teacher under other names, in front of the model `before`."""
    place = [model["name"] for model in report["models"]].index(before)
    report["models"][place:place] = [{**copy.deepcopy(named(report, "teacher")), "name": name} for name in names]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "teacher"}, "Teacher"),
        ({"name": "teacher", "peer": True}, "Peer"),
        ({"name": "teacher", "mean_of": ["teacher1", "teacher2"]}, "Teachers' mean"),
        ({"name": "teacher2"}, "Teacher 2"),
        ({"name": "teacher2", "peer": True}, "Peer 2"),
        ({"name": "assistant"}, "Assistant"),
        ({"name": "assistant12"}, "Assistant 12"),
        ({"name": "student_int8"}, "Student, int8"),
        ({"name": "second_head"}, "second head"),
    ],
)
def test_what_a_model_is_called(report, entry, words):
    report["models"] = [entry]
    assert label(parse_report(report).models[0]) == words


def test_a_peer_is_no_teacher(report):
    assert "the teacher" in said(report)["teacher"]
    assert said(report)["distillation"].count("trained without it") == 1
    assert "peer" not in " ".join(said(report).values())
    named(report, "teacher")["peer"] = True
    words = said(report)
    assert "its peer" in words["teacher"]
    assert words["teacher"].endswith("What training together did to the peer is not known: it was not trained alone.")
    assert "the same student trained alone" in words["distillation"]
    assert not re.search(r"\bteacher", " ".join(words.values()))


def test_several_peers_are_each_compared(report):
    with_further(report, "teacher1", "teacher2")
    report["models"] = [model for model in report["models"] if model["name"] != "teacher"]
    for name in ("teacher1", "teacher2"):
        named(report, name)["peer"] = True
    told = [verdict["text"] for verdict in judge(report) if verdict["topic"] == "teacher"]
    assert [re.search(r"peer \d", text)[0] for text in told] == ["peer 1", "peer 2"]
    assert "for peer 1 and" in said(report)["confidence"]


def test_a_students_gap_to_the_mean_of_its_teachers(report):
    named(report, "teacher")["mean_of"] = ["teacher1", "teacher2"]
    named(report, "teacher")["latency_ms"] = None
    text = said(report)["teacher"]
    assert "the mean of its teachers" in text
    assert "latency" not in text


def test_a_chain_is_told_step_by_step(report):
    assert "chain" not in said(report)
    with_further(report, "assistant1", "assistant2")
    for name, value in (("teacher", 0.99), ("assistant1", 0.98), ("assistant2", 0.97), ("student", 0.96)):
        named(report, name)["primary"]["value"] = value
    text = said(report)["chain"]
    assert text.startswith(
        "From the teacher by 2 assistants to the student: 99.00 %, then 98.00 %, then 97.00 %, then 96.00 % top1."
    )
    assert text.endswith("a run without assistants would tell.")
    named(report, "assistant2")["primary"]["value"] = None
    assert "chain" not in said(report)


def test_confidence_before_calibration_is_set_beside_plains(report):
    for name, ece in (("student", 0.031), ("plain", 0.052), ("teacher", 0.04)):
        named(report, name)["reliability"]["before"]["ece"] = ece
    assert said(report)["confidence"] == (
        "Before any calibration the ECE is 3.10 % for the student and 5.20 % for plain (no test of the difference)."
    )
    named(report, "teacher")["peer"] = True
    assert "3.10 % for the student, 5.20 % for plain and 4.00 % for its peer" in said(report)["confidence"]
    report["models"] = [named(report, "student")]
    assert "confidence" not in said(report)


def test_figures_of_confidence_show_what_they_were_before_calibration(report):
    student = named(report, "student")
    student["metrics"] |= {"ece_before": 0.0712, "nll_before": 0.25}
    models = parse_report(report).models
    table = models_table(models)
    cells = dict(zip(table.headings, next(row for row in table.rows if row[0] == "Student")[2], strict=True))
    assert (cells["ECE"].note, cells["NLL"].note) == ("was 7.12 %", "was 0.25")
    student["reliability"]["after"] = None  # nothing was changed, so that there is nothing to tell
    table = models_table(parse_report(report).models)
    cells = dict(zip(table.headings, next(row for row in table.rows if row[0] == "Student")[2], strict=True))
    assert cells["ECE"].note == ""


def test_seeds_show_confidence_before_and_after_calibration(report):
    figures = {name: {"mean": 0.05, "std": 0.01, "values": [0.04, 0.06]} for name in ("top1", "ece_before", "ece")}
    named(report, "student")["seeds"] = {"n": 2, "metrics": figures}
    table = seeds_table(parse_report(report))
    assert table is not None
    assert table.headings == ["top1", "ECE before calibration", "ECE"]
    (row,) = table.rows
    assert [(cell.text, cell.note) for cell in row[2]] == [("5.00 %", "± 1.00 %")] * 3


def test_the_peers_diagram_stands_open_beside_the_students(report):
    def titles():
        page = render(report)
        section = page[page.index('<section id="calibration">') :]
        return re.findall(r"<h3>([^<,]*)|<(/?details)", section[: section.index("</section>")])

    teacher = titles()
    assert teacher[:3] == [("Student", ""), ("", "details"), ("Teacher", "")]
    named(report, "teacher")["peer"] = True
    assert titles()[:4] == [("Student", ""), ("Peer", ""), ("", "details"), ("Plain", "")]
    assert titles()[-1] == ("", "/details")
    report["models"] = [named(report, "teacher"), named(report, "student")]
    assert titles() == [("Student", ""), ("Peer", "")]
