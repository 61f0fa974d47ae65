from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import InputError
from limbeck.report import check_report, read_report, report_schema, write_report


def test_a_full_report_passes_unchanged(report):
    assert check_report(report) == report


def test_keys_that_the_schema_does_not_know_are_kept(report):
    report["models"][0]["metrics"]["snr"] = {"10": 0.9}
    report["mine"] = {"a": 1}
    checked = check_report(report)
    assert checked["mine"] == {"a": 1}
    assert checked["models"][0]["metrics"]["snr"] == {"10": 0.9}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("run"), "report.run: missing"),
        (lambda r: r.pop("schema"), "report.schema: missing"),
        (lambda r: r.update(schema=2), "report.schema = 2"),
        (lambda r: r.update(models={}), "report.models = {}"),
        (lambda r: r["models"][1].pop("name"), "report.models.1.name: missing"),
        (lambda r: r["models"][1].update(top1=97.2), "report.models.1.top1 = 97.2"),
        (lambda r: r["models"][1].update(top1="0.9"), "report.models.1.top1 = '0.9'"),
        (lambda r: r["models"][1]["latency_ms"].update(median="fast"), "report.models.1.latency_ms.median = 'fast'"),
        (lambda r: r["verdicts"].append({"kind": "great", "text": "!"}), "report.verdicts.0.kind = 'great'"),
        (lambda r: r.update(odd=object()), "report.odd: a value of type object has no JSON form"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(report, change, message):
    report["verdicts"] = []
    change(report)
    with pytest.raises(InputError) as caught:
        check_report(report)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numpy_values_and_what_is_not_finite_become_json(report):
    report["models"][0]["nll"] = float("nan")
    report["models"][0]["top1"] = np.float32(0.5)
    report["models"][0]["params"] = np.int64(12)
    report["models"][0]["metrics"] = {"per_class": np.array([0.5, np.inf]), "path": Path("a/b"), "pair": (1, 2)}
    model = json.loads(json.dumps(check_report(report), allow_nan=False))["models"][0]
    assert model["nll"] is None
    assert (model["top1"], model["params"]) == (0.5, 12)
    assert model["metrics"] == {"per_class": [0.5, None], "path": "a/b", "pair": [1, 2]}


def test_a_report_that_is_no_dict_is_refused():
    with pytest.raises(InputError, match="expected a dict"):
        check_report([])  # type: ignore[arg-type]


def test_written_report_reads_back(report, pictures, tmp_path):
    page = write_report(tmp_path / "run", report, pictures=pictures)
    assert page == tmp_path / "run" / "report.html"
    read = read_report(tmp_path / "run")
    assert read.pop("verdicts")[0]["topic"] == "distillation"
    assert read == report
    assert "data:image" not in (tmp_path / "run" / "report.json").read_text()  # pictures are for the page alone
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "report.json"]


def test_given_verdicts_are_kept(report, tmp_path):
    report["verdicts"] = [{"kind": "neutral", "text": "as it was said"}]
    write_report(tmp_path, report)
    assert read_report(tmp_path)["verdicts"] == report["verdicts"]


def test_a_broken_report_writes_nothing(report, tmp_path):
    del report["models"][0]["name"]
    with pytest.raises(InputError):
        write_report(tmp_path / "run", report)
    assert not (tmp_path / "run").exists()


def test_reading_names_the_file(tmp_path):
    with pytest.raises(InputError, match=r"holds no report\.json"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_text('{"schema": 1}')
    with pytest.raises(InputError, match=r"report\.json: report\.run: missing"):
        read_report(tmp_path)


def test_json_schema_names_the_required_keys():
    assert report_schema()["required"] == ["schema", "run", "task", "models"]
