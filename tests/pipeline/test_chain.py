"""Several teachers, and assistants between teacher and student: who learns from whom, what is shared, resumed and told."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from small_run import run_to_report, small_recipe

from limbeck.errors import InputError, Stopped
from limbeck.files import file_sha256
from limbeck.pipeline.context import Context, Predictions
from limbeck.pipeline.distill import lessons_of
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.plan import plan_run
from limbeck.pipeline.resolve import resolve
from limbeck.pipeline.run import run_recipe
from limbeck.recipe import Recipe

SHORT = {"epochs": 1, "threads": 1}
V1 = {"model": "mobilenet_v1", "width_multiplier": 0.25, "train": SHORT}
V2 = {"model": "mobilenet_v2", "width_multiplier": 0.25, "train": SHORT}
V3 = {"model": "mobilenet_v3_small", "width_multiplier": 0.5, "train": SHORT}


def recipe(teacher: dict, **changes: object) -> Recipe:
    common = {
        "data__limit": 128,
        "search": None,
        "export__int8": "off",
        "distill__method": "kd",
        "budget__max_latency_ms": None,
    }
    return small_recipe(teacher=teacher, **(common | changes))


def weights(folder: Path, stage: str) -> str:
    return file_sha256(folder / "stages" / stage / "model.safetensors")


def inputs(folder: Path, stage: str) -> dict:
    return json.loads((folder / "stages" / stage / "report.json").read_text())["inputs"]


BOTH = {
    **V2,
    "share": 3.0,
    "more": [V1],
    "assistants": [V3, {**V1, "seed": 5, "distill": {"method": "dkd", "options": {"beta": 1.0}}}],
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two teachers and two assistants, with its report; copy it before changing anything in it."""
    path = tmp_path_factory.mktemp("chains") / "chain"
    run_to_report(recipe(BOTH), path)
    return path


def test_every_network_of_a_chain_has_its_own_figures(chain: Path) -> None:
    report = json.loads((chain / "report.json").read_text())
    models = {model["name"]: model for model in report["models"]}
    assert list(models) == ["teacher1", "teacher2", "teacher", "assistant1", "assistant2", "plain", "student"]
    for name, model in models.items():
        assert 0 <= model["top1"] <= 1
        assert model["nll"] > 0
        assert 0 <= model["ece"] <= 1
        assert sum(one["count"] for one in model["reliability"]["before"]["bins"]) == report["data"]["counts"]["test"]
        assert (model["latency_ms"] is None) == (model["artifact"] is None) == (name == "teacher")
    assert models["teacher"]["mean_of"] == ["teacher1", "teacher2"]
    assert models["teacher"]["params"] == models["teacher1"]["params"] + models["teacher2"]["params"]
    assert models["assistant1"]["role"] == "learned from the teachers, teaches assistant 2; not deployed"
    assert models["assistant2"]["role"] == "learned from assistant 1, teaches the student; not deployed"
    assert any(
        "From the teachers' mean by 2 assistants to the student" in verdict["text"] for verdict in report["verdicts"]
    )
    page = (chain / "report.html").read_text()
    assert all(name in page for name in ("Teacher 1", "Teachers&#39; mean", "Assistant 2", "Student"))


def test_the_mean_of_the_teachers_is_by_their_shares(chain: Path) -> None:
    first, second, mean = (
        Predictions.load(chain / f"stages/train/{n}/predictions.npz") for n in ("teacher1", "teacher2", "teacher")
    )
    for split in ("test", "validation"):
        first_said, second_said, both = (getattr(one, split)["logits"] for one in (first, second, mean))
        np.testing.assert_allclose(both, 0.75 * first_said + 0.25 * second_said, atol=1e-6)


def test_each_learns_from_the_one_before_alone(chain: Path) -> None:
    after = {
        stage: {key for key in inputs(chain, stage) if key.startswith("after ")}
        for stage in ("distill/assistant1", "distill/assistant2", "distill/student", "train/plain")
    }
    assert after == {
        "distill/assistant1": {"after train/teacher1", "after train/teacher2"},
        "distill/assistant2": {"after distill/assistant1"},
        "distill/student": {"after distill/assistant2"},
        "train/plain": set(),
    }
    assert inputs(chain, "distill/assistant1")["shares"] == [3.0, 1.0]
    first, second, student = lessons_of(recipe(BOTH))
    assert (first.section.method, second.section.method, student.section.method) == ("kd", "dkd", "kd")
    assert (first.others, second.others, student.others) == (("teacher1", "teacher2"), ("assistant1",), ("assistant2",))


def test_an_assistant_taught_alone_by_hand_has_the_same_bits(chain: Path, tmp_path: Path) -> None:
    """The last step of the chain is a run of its own, whose teacher is the assistant before, given by its weights."""
    given = {**V3, "weights": str(chain / "stages/distill/assistant1")}
    distilled = {**V1, "seed": 5, "distill": {"method": "dkd", "options": {"beta": 1.0}}}
    run_recipe(recipe({**given, "assistants": [distilled]}), tmp_path / "run", until="distill")
    assert weights(tmp_path / "run", "distill/assistant") == weights(chain, "distill/assistant2")
    assert weights(tmp_path / "run", "distill/student") == weights(chain, "distill/student")


def test_only_what_a_change_reaches_is_done_again(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(chain, folder)
    before = {stage: weights(folder, stage) for stage in ("train/teacher1", "train/teacher2", "distill/assistant1")}
    changed = json.loads(json.dumps(BOTH))
    changed["assistants"][1]["distill"]["options"]["beta"] = 2.0
    run_recipe(recipe(changed), folder, until="distill")
    told = capsys.readouterr().err
    assert "distill/assistant2: redone, because distill.options.beta changed from 1.0 to 2.0" in told
    assert "distill/student: redone, because after distill/assistant2" in told
    assert told.count("redone") == 2
    assert before == {stage: weights(folder, stage) for stage in before}


def test_shares_do_not_train_a_teacher_again(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(chain, folder)
    run_recipe(recipe({**BOTH, "share": 1.0}), folder, until="train")
    told = capsys.readouterr().err
    assert "train/teacher: redone, because shares" in told
    assert told.count("redone") == 1


def test_other_runs_share_teachers_and_assistants(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beside = chain.parent / "beside"
    run_recipe(recipe(BOTH, distill__options={"temperature": 2.0}, seed=3), beside, until="distill")
    told = capsys.readouterr().err
    assert all(f"{name}: reused" in told for name in ("teacher1", "teacher2"))
    assert "assistant1: reused" not in told  # it learns as the student does, and that has changed
    again = chain.parent / "again"
    run_recipe(recipe(BOTH, seed=3), again, until="distill")
    told = capsys.readouterr().err
    assert all(f"{name}: reused" in told for name in ("teacher1", "teacher2", "assistant1", "assistant2"))
    assert weights(again, "distill/assistant2") == weights(chain, "distill/assistant2")
    assert weights(again, "distill/student") != weights(chain, "distill/student")


def test_a_stopped_assistant_goes_on_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = {**V2, "assistants": [{**V3, "train": {"epochs": 3, "threads": 1}}]}
    asked = recipe(teacher, baselines={"plain": False})
    run_recipe(asked, tmp_path / "peace" / "run", until="distill")
    stopped, folder = [], tmp_path / "war" / "run"
    whole = Context.evaluator

    def evaluator(context: Context, device: str = "auto"):
        evaluate = whole(context, device)

        def stop_once(network):
            if (folder / "stages/distill/assistant/fit").exists() and not stopped:
                stopped.append(True)
                os.kill(os.getpid(), signal.SIGTERM)
            return evaluate(network)

        return stop_once

    monkeypatch.setattr(Context, "evaluator", evaluator)
    with pytest.raises(Stopped):
        run_recipe(asked, folder, until="distill")
    assert not (folder / "stages/distill/assistant/report.json").exists()
    run_recipe(asked, folder, until="distill")
    record = json.loads((folder / "stages/distill/assistant/report.json").read_text())["result"]
    assert record["fit"]["resumed_from"]
    for stage in ("distill/assistant", "distill/student"):
        assert weights(folder, stage) == weights(tmp_path / "peace" / "run", stage)


def test_terms_by_hand_name_each_teacher(tmp_path: Path) -> None:
    terms = [{"loss": "kd"}, {"loss": "kd", "teacher": "teacher2", "name": "second", "weight": 0.5}]
    asked = recipe({**V2, "more": [V1]}, distill={"terms": terms}, baselines={"plain": False})
    found = run_recipe(asked, tmp_path / "run", until="distill")["stages"]
    assert set(found["distill/student"]["fit"]["history"][0]["train"]) == {"loss", "task", "kd", "second"}


def test_the_plan_counts_every_training(tmp_path: Path) -> None:
    rows = {row["stage"]: row for row in plan_run(recipe(BOTH))["stages"]}
    trained = [
        "train/teacher1",
        "train/teacher2",
        "train/plain",
        "distill/assistant1",
        "distill/assistant2",
        "distill/student",
    ]
    assert list(rows)[:-1] == trained
    assert all(rows[stage]["minutes"] > 0 and rows[stage]["steps"] > 0 for stage in trained)


@pytest.mark.parametrize(
    ("teacher", "changes", "told"),
    [
        ({**V2, "more": [V2]}, {}, "teacher.more: two teachers are the same network"),
        ({**V2, "more": [{**V1, "shar": 1.0}]}, {}, r"teacher.more.0.shar: no such field; did you mean 'share'"),
        ({**V2, "more": [{**V1, "share": 0.0}]}, {}, r"teacher.more.0.share = 0.0"),
        ({**V2, "assistants": [V3]}, {"distill": None}, r"teacher.assistants: .* add \[distill\]"),
        (
            {**V2, "assistants": [V3]},
            {"distill__method": "dml"},
            "assistant.distill: method 'dml': learns from no ready",
        ),
        ({**V2, "assistants": [V3]}, {"distill__method": "uskd"}, "assistant.distill: method 'uskd': learns from no"),
        ({**V2, "assistants": [{**V3, "distill": {"method": "uskd"}}]}, {}, "assistant.distill: method 'uskd': learns"),
        ({**V2, "assistants": [{**V3, "distill": {"method": "kdd"}}]}, {}, "assistant.distill: unknown method 'kdd'"),
        ({**V2, "assistants": [{**V3, "model": "mobilenet_v9"}]}, {}, "assistant: unknown model"),
        (
            {**V2, "more": [V1]},
            {"distill": {"terms": [{"loss": "kd", "student": "teacher1", "teacher": "student"}]}},
            "distill: term .*several teachers are ready ones",
        ),
        ({**V2, "more": [{**V1, "weights": "nowhere"}]}, {}, "teacher2.weights: nowhere: no such file"),
        (
            {**V2, "more": [V1]},
            {"distill": {"terms": [{"loss": "kd", "student": "student/stage1", "teacher": "teacher/stage1"}]}},
            "a mean of several has logits and no 'stage1'; name one of them, such as teacher1/stage1",
        ),
    ],
)
def test_told_before_any_work(tmp_path: Path, teacher: dict, changes: dict, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        resolve(Context(recipe(teacher, **changes), RunFolder(tmp_path / "run")))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "stages").exists()
