from __future__ import annotations

import copy
import json
import re

import pytest
from read_page import Page

from limbeck.report import render, render_many
from limbeck.report.numerals import amount, duration, megabytes, milliseconds, moment
from limbeck.report.schema import parse_report
from limbeck.report.tables import models_table

SECTIONS = "verdicts models trade-off calibration confusions training search parity measurements data stages provenance"


def test_every_section_is_there_and_linked(report, pictures):
    page = Page(render(report, pictures=pictures))
    assert page.ids == ["content", *SECTIONS.split()]
    assert [link for link in page.links if link != "#content"] == [f"#{name}" for name in SECTIONS.split()]
    for part in ("97.50 %", "1.41 ms", "1.69 MB", "11.3 M", "412 k", "budget 2.00 ms", "train/7/broken.png", "1f2e3d4"):
        assert part in page.text, part


def test_samples_are_called_what_they_are(report, pictures):
    report["data"] |= {"leakage": {"train/test": {"count": 3}, "train/validation": {"count": 1}}, "warnings": []}
    report["data"]["left_out"][0]["reason"] = "cannot be read"
    del report["paired"]  # what is compared unpaired says what it counts
    of_pictures = Page(render(report, pictures=pictures)).text
    for told in (
        "unpaired on 360 test pictures",
        "144 pictures",
        "1 validation picture is also in train",
        "pictures/s",
    ):
        assert told in of_pictures
    of_frames = Page(render(report | {"samples": "frames"}, pictures=pictures)).text
    expected = of_pictures.replace("picture", "frame")
    for told in ("1 {} left out", "{} reason"):  # frames are cut from what is left out
        assert told.format("frame") in expected
        expected = expected.replace(told.format("frame"), told.format("recording or span"))
    assert of_frames == expected


def test_nothing_is_fetched(report, pictures):
    html = render(report, pictures=pictures)
    page = Page(html)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in {"src", "srcset", "poster", "background", "xlink:href"}:
            assert str(value).startswith("data:image/png;base64,"), (tag, name)
        if name == "href":
            assert str(value).startswith("#")
        assert not name.startswith("on"), "handlers in attributes are barred by the page's own policy"
        assert name != "style"
    assert "@import" not in html
    assert not re.search(r"url\(", html)
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in str(value))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert page.tags.count("img") == 5


EVIL = '<script>alert("x")</script><b>&\'"'


def poisoned(value):
    """The same report with every free text replaced by markup."""
    keep = {"schema", "name", "kind", "state", "statistic", "task", "history"}
    if isinstance(value, dict):
        return {k: v if k in keep else poisoned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL if isinstance(value, str) else value


def test_every_text_is_escaped(report):
    bad = poisoned(report)
    bad["models"].append({**copy.deepcopy(bad["models"][3]), "name": EVIL, "withheld": None})
    bad["warnings"] = [EVIL]
    bad["data"]["classes"] = [EVIL]
    bad["provenance"]["versions"] = {EVIL: EVIL}
    bad["stages"][0]["name"] = bad["data"]["name"] = EVIL
    uri = "data:image/png;base64,AAAA"
    pictures = {
        "confusions": [
            {"true": EVIL, "predicted": EVIL, "examples": [uri, EVIL, 'data:image/png;base64,"><b>', "http://x/y.png"]}
        ]
    }
    for html in (render(bad, pictures=pictures), render_many([bad, {**bad, "run": "other"}])):
        page = Page(html)
        assert page.tags.count("script") == 1
        assert "b" not in page.tags
        assert EVIL in " ".join(page.words)
    page = Page(render(bad, pictures=pictures))
    assert {value for tag, name, value in page.attributes if tag == "img" and name == "src"} == {uri}


@pytest.mark.parametrize(
    "name", ["search", "parity", "budget", "data", "warnings", "confusions", "stages", "paired", "provenance"]
)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_any_section_may_be_missing(report, name, how):
    if how == "absent":
        del report[name]
    else:
        report[name] = None
    page = Page(render(report))
    assert name not in page.ids
    assert not re.search(r"\bNone\b|\bnan\b|Undefined", page.text)


def nulls(value):
    """Every figure null, every name kept."""
    keep = {"schema", "run", "task", "name", "models", "primary", "low", "high", "count", "number", "state", "passed"}
    if isinstance(value, dict):
        return {k: nulls(v) if isinstance(v, (dict, list)) or k not in keep else v for k, v in value.items()}
    if isinstance(value, list):
        return [nulls(item) for item in value if isinstance(item, (dict, list))]
    return None


def test_null_figures_read_as_dashes(report):
    empty = nulls(report)
    for key in ("confusions", "warnings", "verdicts"):
        empty[key] = None
    empty["data"]["left_out"] = empty["data"]["counts"] = None
    for model in empty["models"]:
        model["primary"]["higher_is_better"] = True
    html = render(empty)
    page = Page(html)
    assert "models" in page.ids
    assert not re.search(r"\bNone\b|\bnan\b", page.text)
    render_many([empty, empty])


def test_the_barest_report_and_another_task():
    Page(render({"schema": 1, "run": "bare", "task": "landmarks", "models": []}))
    models = [
        {
            "name": "student",
            "primary": {"name": "nme", "value": 0.0312, "higher_is_better": False},
            "metrics": {"auc": 0.61},
        },
        {"name": "my_model", "primary": {"name": "nme", "value": 0.0411, "higher_is_better": False}},
    ]
    report = {"schema": 1, "run": "faces", "task": "landmarks", "models": models}
    page = Page(render(report))
    assert "3.12 %" in page.text
    assert "my model" in page.text
    assert "AUC" in page.text
    table = models_table(parse_report(report).models)
    assert [cell.best for _, _, cells in table.rows for cell in cells[:1]] == [True, False]  # lower is better


def test_best_and_over_budget_are_marked(report):
    read = parse_report(report)
    table = models_table(read.models, budget=read.budget, n_test=360)
    column = {heading: [cells[i] for *_, cells in table.rows] for i, heading in enumerate(table.headings)}
    assert [cell.best for cell in column["top1"]] == [True, False, False, False, False]
    assert [cell.over for cell in column["median latency"]] == [True, False, False, False, False]
    assert [cell.best for cell in column["size"]] == [False, False, False, False, True]
    assert not any(cell.best for cell in column["top5"])  # all alike: none is best
    assert column["top1"][3].note == "± 0.84"
    report["models"][0]["withheld"] = "no"
    read = parse_report(report)
    assert [cells[0].best for *_, cells in models_table(read.models).rows] == [False, False, False, True, False]


def test_hover_carries_the_architecture(report):
    html = render(report)
    best = report["search"]["best"]
    rows = next(trial["rows"] for trial in report["search"]["trials"] if trial["number"] == best)
    assert f"candidate {best}\n" in html
    assert rows in html
    for trial in report["search"]["trials"]:
        trial["rows"] = [{"block": "bottleneck", "kernel_size": 3}]
    assert "block=bottleneck kernel_size=3" in render(report)
    for trial in report["search"]["trials"]:
        trial["rows"] = None
    assert re.search(r"input_size = 32\b", render(report))


def test_a_page_is_light(report, pictures):
    assert len(render(report, pictures=pictures).encode()) < 300_000


def test_one_report_among_many_is_the_page_of_one(report):
    assert render_many([report]) == render(report)


def test_runs_side_by_side(report):
    other = copy.deepcopy(report)
    other["run"] = "second"
    other["provenance"]["recipe"]["distill"]["method"] = "kd"
    page = Page(render_many([report, other]))
    assert "handwriting · second" in page.text
    assert "distill.method nkd kd" in page.text
    assert "distill.epochs" not in page.text  # the same in both
    assert "seeds" not in page.ids
    assert {"models", "trade-off", "verdicts", "recipes"} <= set(page.ids)


def test_runs_that_differ_by_seed_are_put_together(report):
    other = copy.deepcopy(report)
    other["provenance"]["seed"] = other["provenance"]["recipe"]["seed"] = 1
    page = Page(render_many([report, other]))
    assert "seeds" in page.ids
    assert "handwriting, seed 0 · handwriting, seed 1" in page.text
    assert "paired by seed over 2 seeds" in page.text


def test_leakage_and_left_out_pictures_are_shown_with_their_whole_count(report):
    report["data"]["leakage"] = {"train/test": {"count": 7}}
    report["data"]["left_out_count"] = 350
    report["warnings"] = ["mine", *report["data"]["warnings"]]
    text = Page(render(report)).text
    assert "7 in train and test" in text
    assert "350 pictures left out" in text
    assert "The first 1 of 350." in text
    assert "350 recordings or spans left out" in Page(render({**report, "samples": "frames"})).text
    assert text.count(report["data"]["warnings"][0]) == 1
    report["data"]["leakage"] = {}
    assert "In two splits no picture" in Page(render(report)).text


def test_recipe_is_shown_whole(report):
    report["provenance"]["recipe"]["train"] = {"learning_rate": 0.05}
    text = "".join(Page(render(report)).words)
    start = text.index('{\n  "name": "handwriting"')
    assert json.JSONDecoder().raw_decode(text[start:])[0] == report["provenance"]["recipe"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (milliseconds(0.0999999), "0.100 ms"),
        (milliseconds(0), "0 ms"),
        (milliseconds(12345.0), "12300 ms"),
        (megabytes(999), "999 B"),
        (megabytes(2_500_000_000_000), "2500 GB"),
        (amount(0), "0"),
        (amount(999_600), "1.00 M"),
        (duration(59.96), "1 min 00 s"),
        (duration(3599.7), "1 h 00 min"),
        (moment("not a time"), "not a time"),
    ],
)
def test_numbers_at_the_edges(written, expected):
    assert written == expected
