"""Several students of one teacher: a run each, beside each other, and the teacher trained once."""

from __future__ import annotations

import pytest
from small_run import small_recipe, without_files

from limbeck.errors import GateFailed, InputError
from limbeck.files import read_json, write_json
from limbeck.models import load_network
from limbeck.pipeline import plan, run
from limbeck.recipe import read_recipe
from limbeck.train import World

QUICK = {"search": None, "baselines": {"plain": False}, "further_students": ["mobilenet_v2"]}
TWO = QUICK | {"budget__max_latency_ms": None}


def test_each_student_has_a_run_and_the_teacher_trains_once(tmp_path, capsys):
    path = tmp_path / "runs" / "small"
    with without_files():
        reports = run.run_students(small_recipe(**TWO), path)
        assert list(reports) == ["mobilenet_v3_small", "mobilenet_v2"]
        other = path.with_name("small-mobilenet_v2")
        for folder, name in ((path, "mobilenet_v3_small"), (other, "mobilenet_v2")):
            assert load_network(folder / "stages/distill/student").table.name == name
            assert (folder / "report.html").exists()
        assert capsys.readouterr().err.count("teacher: 1 epochs in") == 1
        assert "small-mobilenet_v2" in (path / "students.html").read_text()

        # the first run's folder goes on with all of them, the other one with itself
        assert read_recipe(path / "recipe.json").further_students == ("mobilenet_v2",)
        assert read_recipe(other / "recipe.json").further_students == ()
        before = (other / "stages/distill/student/report.json").read_bytes()
        again = run.run_students(read_recipe(path / "recipe.json"), path)
    assert list(again) == list(reports)
    assert (other / "stages/distill/student/report.json").read_bytes() == before


def test_each_student_runs_once_per_seed(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(run, "run_seeds", lambda one, folder, seeds: ran.append((one, folder, seeds)) or {})
    run.run_students(small_recipe(**TWO), tmp_path / "small", seeds=[0, 1])
    assert [(one.student.model, folder.name, seeds) for one, folder, seeds in ran] == [
        ("mobilenet_v3_small", "small", [0, 1]),
        ("mobilenet_v2", "small-mobilenet_v2", [0, 1]),
    ]


def test_a_refused_export_keeps_no_other_student_from_running(finished_run, tmp_path, monkeypatch):
    ran = []

    def refuses_all(recipe, folder, **_):
        write_json(folder / "report.json", read_json(finished_run / "report.json"))
        ran.append(folder.name)
        raise GateFailed(f"{folder.name}: tensors FAILED")

    monkeypatch.setattr(run, "run_recipe", refuses_all)
    monkeypatch.setattr(run, "resolve", lambda *args, **options: None)
    with pytest.raises(GateFailed, match=r"^small: tensors FAILED; small-mobilenet_v2: tensors FAILED$"):
        run.run_students(small_recipe(**TWO), tmp_path / "small")
    assert ran == ["small", "small-mobilenet_v2"]
    assert (tmp_path / "small" / "students.html").exists()


def test_a_student_that_cannot_be_made_is_told_before_any_training(tmp_path):
    recipe = small_recipe(**TWO | {"further_students": ["mobilenet_v2", "kd_cnn"]})
    with pytest.raises(InputError, match=r"^further_students 'kd_cnn': "):
        run.run_students(recipe, tmp_path / "small")
    assert not list(tmp_path.rglob("stages"))
    with pytest.raises(InputError, match=r"^further_students 'mobilenet_v2': .*max_latency_ms 2"):
        run.run_students(small_recipe(**QUICK), tmp_path / "small")
    assert not list(tmp_path.rglob("stages"))
    with pytest.raises(InputError, match="name each network once"):
        small_recipe(further_students=["mobilenet_v3_small"])


def test_a_process_that_does_not_write_neither_looks_nor_writes(tmp_path, monkeypatch):
    looked, ran = [], []
    monkeypatch.setattr(run, "join_world", lambda device: (World(rank=1), device))
    monkeypatch.setattr(run, "resolve", lambda context, **options: looked.append(context))
    monkeypatch.setattr(run, "run_recipe", lambda one, folder, **options: ran.append(folder.name) or {})
    run.run_students(small_recipe(**TWO), tmp_path / "small", seeds=[0, 1])
    assert ran == ["seed-0", "seed-1"] * 2
    assert looked == []
    assert list(tmp_path.iterdir()) == []


def test_the_plan_counts_all_students_and_the_teacher_once(monkeypatch):
    def planned(recipe):
        stages = {"train/teacher": 8.0, "distill/student": 1.0 if recipe.further_students else 2.0}
        rows = [{"stage": name, "steps": 3, "candidates": 0, "minutes": took} for name, took in stages.items()]
        return {"run": recipe.name, "stages": rows, "minutes": sum(stages.values()), "disk_bytes": 100}

    monkeypatch.setattr(plan, "plan_run", planned)
    tree = plan.plan_students(small_recipe(**TWO))
    assert [row["stage"] for row in tree["stages"]] == [
        "train/teacher",
        "distill/student",
        "mobilenet_v2: distill/student",
    ]
    assert (tree["minutes"], tree["disk_bytes"]) == (11.0, 200)
