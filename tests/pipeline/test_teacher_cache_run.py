"""`teacher.cache = true` in a recipe: the student it gives, who shares it, how it resumes, and what is refused before any work."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import small_recipe, small_tree

import limbeck.distill.filling as filling
import limbeck.pipeline.resolve as resolve_module
from limbeck.distill import TeacherCache
from limbeck.errors import InputError, Stopped
from limbeck.files import file_sha256
from limbeck.pipeline.context import Context
from limbeck.pipeline.distill import build_graph, lessons_of
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.run import run_recipe
from limbeck.recipe import parse_recipe
from limbeck.train.training import Training

WEIGHTS = "stages/distill/student/model.safetensors"
MIXED = {"flip": False, "cutmix": 1.0, "mixup": 0.2}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def recipe(**changes):
    common = {"search": None, "baselines": {"plain": False}, "export__int8": "off", "budget__max_latency_ms": None}
    return small_recipe(**{**common, "train__epochs": 3, "teacher__cache": True, "teacher__cache_views": 2, **changes})


def logs(run: Path) -> list[dict]:
    lines = (run / "stages/distill/student/fit/log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if json.loads(line)["kind"] == "epoch"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a cache of two views for three epochs, of mixed and unlabelled pictures."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    run_recipe(recipe(augment=MIXED), folder, until="distill")
    return folder


def views_of(run: Path) -> list[Path]:
    return sorted((run.parent / ".teachers" / "logits").glob("*/*.npy"))


def test_the_cache_holds_what_the_teacher_says_of_mixed_pictures(run: Path) -> None:
    context = Context(recipe(augment=MIXED), RunFolder(run))
    (lesson,) = lessons_of(context.recipe)
    graph = build_graph(
        context, lesson, context.create(context.recipe.student, where="student"), [context.load("train/teacher")]
    )
    train = lesson.train.model_copy(update={"batch_size": 64})
    batches = context.loader(train, seed=0, unlabelled=True, views=2)
    tables = [np.load(path) for path in views_of(run)]
    assert [table.shape for table in tables] == [(200, 10)] * 2
    for view, table in enumerate(tables):
        for batch in batches.whole(256).epoch(view):
            assert batch.target.dim() == 2  # mixed
            expected = graph.sources["teacher"](batch.to("cpu", channels_last=True), {}).out
            assert np.array_equal(table[batch.index.numpy()], expected.half().numpy())
    assert not np.array_equal(*tables)


def test_the_student_is_the_one_that_the_teacher_itself_would_teach(tmp_path: Path, run: Path) -> None:
    """With as many views as epochs the pictures are the same: what differs is that logits were rounded to half."""
    changes = {"augment": MIXED, "train__epochs": 2}
    shutil.copytree(run.parent / ".teachers", tmp_path / ".teachers")
    run_recipe(recipe(**changes), tmp_path / "cached", until="distill")
    run_recipe(recipe(**changes, teacher__cache=False), tmp_path / "taught", until="distill")
    for ours, theirs in zip(logs(tmp_path / "cached"), logs(tmp_path / "taught"), strict=True):
        assert ours["train"]["nkd"] == pytest.approx(theirs["train"]["nkd"], rel=1e-3)
        assert ours["train"]["task"] == pytest.approx(theirs["train"]["task"], rel=1e-3)
        assert ours["train"]["nkd"] != theirs["train"]["nkd"]


def test_an_epoch_comes_again_after_as_many_as_there_are_views(run: Path) -> None:
    context = Context(recipe(augment=MIXED), RunFolder(run))
    train = context.recipe.train
    first, third = (
        {
            int(i): x
            for b in context.loader(train, seed=0, views=2).epoch(e)
            for i, x in zip(b.index, b.inputs, strict=True)
        }
        for e in (0, 2)
    )
    both = first.keys() & third.keys()
    assert len(both) > 150
    assert all(torch.equal(first[i], third[i]) for i in both)


def test_other_students_pay_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in views_of(run)}
    changes = {"augment": MIXED, "student__width_multiplier": 0.5, "distill": {"method": "kd", "epochs": 2}}
    run_recipe(recipe(**changes), run.parent / "second", until="distill")
    assert "teacher cache:" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in views_of(run)} == before
    run_recipe(recipe(augment=MIXED, teacher__cache_views=3), run.parent / "third", until="distill")
    assert re.search(r"teacher cache: 3 views of 200 pictures, 0.0 MB, in .*logits", capsys.readouterr().err)
    assert len(views_of(run)) == 3
    run_recipe(recipe(augment=MIXED, seed=1, train__epochs=1), run.parent / "fourth", until="distill")
    assert len(views_of(run)) == 4  # another seed draws other views


@pytest.mark.slow
def test_the_report_says_it(tmp_path: Path) -> None:
    report = run_recipe(recipe(train__epochs=1), tmp_path / "run")
    notes = {stage["name"]: stage["note"] for stage in report["stages"]}
    assert notes["distill/student"] == "teacher from a cache of logits: 1 view of 200 pictures, 0.0 MB"
    assert notes["train/teacher"] is None
    assert "teacher from a cache of logits" in (tmp_path / "run" / "report.html").read_text()


def test_a_run_that_was_stopped_anywhere_ends_with_the_same_bits(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First within the filling, then within the training, from whose checkpoint it goes on with the cache as it is."""
    monkeypatch.setattr(filling, "FILL_BATCH", 64)
    monkeypatch.setattr(filling, "SETTLE_SECONDS", 0.0)
    shutil.copytree(run.parent / ".teachers", tmp_path / "whole" / ".teachers", ignore=shutil.ignore_patterns("logits"))
    shutil.copytree(
        run.parent / ".teachers", tmp_path / "broken" / ".teachers", ignore=shutil.ignore_patterns("logits")
    )
    asked = recipe(augment=MIXED, train__checkpoint_seconds=0.001)
    run_recipe(asked, tmp_path / "whole" / "run", until="distill")

    def stopping(method, after):
        calls = []

        def call(*args, **options):
            calls.append(1)
            if len(calls) == after:
                signal.raise_signal(signal.SIGTERM)
            return method(*args, **options)

        return call

    out = tmp_path / "broken" / "run"
    for owner, method, calls, told in (
        (TeacherCache, "settle", 6, "teacher cache: stopped"),
        (Training, "step", 5, "saved in epoch 2 of 3, step 5"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, method, stopping(getattr(owner, method), calls))
            with pytest.raises(Stopped, match=told):
                run_recipe(asked, out, until="distill")
    run_recipe(asked, out, until="distill")
    assert file_sha256(out / WEIGHTS) == file_sha256(tmp_path / "whole" / "run" / WEIGHTS)


def test_a_change_of_the_cache_redoes_the_student_only(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.parent, tmp_path / "runs")
    capsys.readouterr()
    run_recipe(recipe(augment=MIXED, teacher__cache=False), tmp_path / "runs" / "first", until="distill")
    told = capsys.readouterr().err
    assert "distill/student: redone, because teacher_cache" in told
    assert "train/teacher" not in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"distill": {"method": "dml"}}, r"teacher\.cache: there is no ready, frozen teacher"),
        (
            {"distill": {"terms": [{"loss": "kd", "student": "student/pool", "teacher": "teacher/pool"}]}},
            r"reads the teacher's features \('teacher/pool'\), and a cache holds logits only",
        ),
        ({"teacher__cache_top_k": 5}, r"teacher\.cache_top_k: .*above 1000 classes"),
    ],
)
def test_refused_before_any_stage(tmp_path: Path, changes: dict, told: str) -> None:
    if "terms" in changes.get("distill", {}):
        changes["student__model"] = "mobilenet_v2"
        changes["student__width_multiplier"] = 0.25
    with pytest.raises(InputError, match=told) as caught:
        run_recipe(recipe(**changes), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"distill": None}, "teacher.cache: nobody learns from the teacher"),
        ({"teacher__cache": False, "teacher__cache_top_k": 5}, "teacher.cache_top_k: needs teacher.cache = true"),
        ({"teacher__cache_views": 0}, "teacher.cache_views = 0"),
    ],
)
def test_refused_by_the_recipe(changes: dict, told: str) -> None:
    tree = small_tree(**{"teacher__cache": True, **changes})
    with pytest.raises(InputError, match=told):
        parse_recipe(tree, where="test")


def test_a_disk_that_is_too_small_is_told_before_any_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage

    def small(path):
        return real(path)._replace(free=300_000_000)

    monkeypatch.setattr(resolve_module.shutil, "disk_usage", small)
    big = recipe(teacher__cache_views=200_000, train__epochs=200_000)
    with pytest.raises(InputError, match=r"300 MB free, .* \(800 MB for teacher\.cache_views\)"):
        run_recipe(big, tmp_path / "run")


def test_several_teachers_have_a_cache_each(tmp_path: Path) -> None:
    more = [{"model": "mobilenet_v2", "width_multiplier": 0.25, "seed": 1, "train": {"epochs": 1, "threads": 1}}]
    found = run_recipe(recipe(teacher__more=more), tmp_path / "run", until="distill")["stages"]
    assert found["distill/student"]["note"].count("2 views of 200 pictures") == 2
    assert len(views_of(tmp_path / "run")) == 4
