"""The page of tasks with more than one answer to a picture: figures per class, the worst pictures, pixels that are counted."""

from __future__ import annotations

import pytest

from limbeck.errors import InputError
from limbeck.report import check_report, judge, render
from limbeck.report.numerals import spoken
from limbeck.report.schema import Model, parse_report
from limbeck.report.tables import classes_table, models_table

PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def dense(report: dict) -> dict:
    """The made-up run as if it were one of segmentation."""
    report["task"] = "segmentation"
    report.pop("confusions", None)
    for position, one in enumerate(report["models"]):
        value = 0.5 + 0.01 * position
        one["primary"] = {"name": "miou", "value": value, "higher_is_better": True}
        one["metrics"] = {"miou": value, "pixel_accuracy": 0.9, "ece": 0.02, "ece_before": 0.05, "mce": 0.4, "nll": 0.3}
        one["top1"] = None
        one["per_class"] = {"name": "IoU", "values": {"sky": value + 0.1, "road": value - 0.1, "bus": None}}
        if one.get("reliability"):
            one["reliability"]["counted"] = "pixels"
    report["paired"] = {}
    report["examples"] = [{"picture": "a.png", "text": "mIoU 12.3 %"}]
    return report


def test_the_page_shows_classes_and_pictures(dense: dict) -> None:
    pictures = {
        "examples": [
            {"picture": "a.png", "text": "mIoU 12.3 %", "image": PNG},
            {"picture": "b.png", "text": "", "image": "https://example.org/b.png"},
        ],
        "legend": [{"name": "<sky>", "image": PNG}],
    }
    page = render(dense, pictures=pictures)
    assert 'id="classes"' in page
    assert 'id="examples"' in page
    assert "a.png: mIoU 12.3 %" in page
    assert "example.org" not in page  # nothing that is not inside the page
    assert "&lt;sky&gt;" in page
    assert "how many test pixels each bin holds" in page
    assert "standard error" not in page  # of a figure that is no share of the pictures


def test_a_page_without_pictures_has_no_section_for_them(dense: dict) -> None:
    assert 'id="examples"' not in render(dense)


def test_classes_in_rows_models_in_columns(dense: dict) -> None:
    models = parse_report(dense).models
    table = classes_table(models)
    assert table is not None
    assert [name for name, _, _ in table.rows] == ["sky", "road", "bus"]
    shown = [model for model in models if not model.withheld]
    assert len(table.headings) == len(shown)
    sky = table.rows[0][2]
    assert [cell.best for cell in sky] == [False] * (len(shown) - 1) + [True]
    assert all(cell.text == "–" and not cell.best for cell in table.rows[2][2])
    assert classes_table([Model(name="student")]) is None


def test_columns_hold_each_figure_once_under_its_spoken_name(dense: dict) -> None:
    headings = models_table(parse_report(dense).models).headings
    assert headings[:4] == ["mIoU", "pixel accuracy", "ECE", "NLL"]
    assert not any("before" in heading or "MCE" in heading for heading in headings)
    assert spoken("map_small") == "mAP small"


def test_pixels_give_no_floor_of_the_calibration_error(dense: dict) -> None:
    """They are much alike within a picture, so that their count says little about chance."""
    told = next(one["text"] for one in judge(dense) if one["topic"] == "calibration")
    assert "perfectly calibrated" not in told
    assert "ECE" in told


def test_a_task_without_calibration_says_why(dense: dict) -> None:
    student = next(one for one in dense["models"] if one["name"] == "student")
    student["reliability"] = {"before": None, "after": None, "temperature": None, "reason": "not applied here"}
    texts = [one["text"] for one in judge(dense) if one["topic"] == "calibration"]
    assert texts == ["Confidence was not calibrated: not applied here."]


def test_a_share_beyond_one_is_refused(dense: dict) -> None:
    dense["models"][0]["per_class"]["values"]["sky"] = 1.5
    with pytest.raises(InputError, match=r"per_class\.values\.sky"):
        check_report(dense)
