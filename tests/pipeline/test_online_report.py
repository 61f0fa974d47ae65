"""A run whose networks train together: both have their figures and diagrams, and the words say which is which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_run import run_to_report, small_recipe

from limbeck.errors import InputError
from limbeck.models import load_network
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.resolve import resolve


@pytest.mark.parametrize("method", ["bdkd", "dml"])
def test_both_networks_of_an_online_run_are_told(tmp_path: Path, method: str) -> None:
    section = {"method": method, "learner_rates": {"peer": 0.02}}
    report = run_to_report(small_recipe(search=None, distill=section), tmp_path / "run")
    models = {model["name"]: model for model in report["models"]}
    assert list(models) == ["teacher", "plain", "student"]
    assert {name: model["peer"] for name, model in models.items()} == {
        "teacher": True,
        "plain": False,
        "student": False,
    }
    assert models["teacher"]["role"] == "the student's peer, trained along"
    for name in ("teacher", "student"):
        model = models[name]
        assert {"top1", "ece", "ece_before", "nll", "nll_before", "brier"} <= set(model["metrics"])
        counts = [one["count"] for one in model["reliability"]["before"]["bins"]]
        assert sum(counts) == report["data"]["counts"]["test"]
        assert model["reliability"]["after"] is not None
    said = {verdict["topic"]: verdict["text"] for verdict in report["verdicts"]}
    assert "for the same student trained alone" in said["distillation"]
    assert re.search(r"student .* its peer .*it was not trained alone\.$", said["teacher"])
    assert re.match(
        r"Before any calibration the ECE is .* for the student, .* for plain and .* for its peer", said["confidence"]
    )
    assert "student_vs_teacher" in report["paired"]
    page = (tmp_path / "run" / "report.html").read_text()
    confidence = page[page.index('<section id="calibration">') :]
    shown = re.findall(r"<h3>([^<,]*)|<details>", confidence[: confidence.index("</section>")])
    assert shown == ["Student", "Peer", "", "Plain"]  # both open, the others folded away
    assert "Teacher" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)


def test_several_peers_are_numbered(tmp_path: Path) -> None:
    peer = {"model": "mobilenet_v2", "width_multiplier": 0.25}
    teacher = {**peer, "more": [{**peer, "model": "mobilenet_v1"}]}
    recipe = small_recipe(search=None, distill__method="dml", teacher=teacher, baselines={"plain": False})
    report = run_to_report(recipe, tmp_path / "run")
    models = {model["name"]: model for model in report["models"]}
    assert list(models) == ["teacher1", "teacher2", "student"]
    assert models["teacher1"]["params"] != models["teacher2"]["params"]
    stages = tmp_path / "run" / "stages" / "distill" / "student"
    kinds = {name: load_network(stages / name).architecture()["table"]["name"] for name in ("teacher1", "teacher2")}
    assert kinds == {"teacher1": "mobilenet_v2", "teacher2": "mobilenet_v1"}
    said = " ".join(verdict["text"] for verdict in report["verdicts"])
    assert "peer 1" in said
    assert "peer 2" in said
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Peer 1" in page
    assert "Peer 2" in page


def test_a_peer_starts_from_scratch(tmp_path: Path) -> None:
    recipe = small_recipe(search=None, distill__method="bdkd", teacher__weights=str(tmp_path))
    with pytest.raises(InputError, match="distill: method 'bdkd': the teacher trains along from scratch"):
        resolve(Context(recipe, RunFolder(tmp_path / "run")))
