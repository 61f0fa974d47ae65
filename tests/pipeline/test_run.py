"""The chain of stages on a small run: what it leaves, what it redoes, and when it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_run import FAKE, run_to_report, small_recipe, without_files

import limbeck
from limbeck.errors import GateFailed, InputError
from limbeck.files import file_sha256, write_json
from limbeck.pipeline import run
from limbeck.pipeline.run import run_recipe, run_seeds, run_students
from limbeck.recipe import Model

pytestmark = pytest.mark.usefixtures("quick_export")  # `finished_run` is made before, with the real one


def read(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


def test_a_run_leaves_what_other_tools_rely_on(finished_run: Path) -> None:
    report = read(finished_run)
    assert report["schema"] == 1
    assert report["task"] == "classification"
    by_name = {model["name"]: model for model in report["models"]}
    assert {"teacher", "plain", "student", "student_int8"} <= set(by_name)
    for model in by_name.values():
        assert 0 <= model["top1"] <= 1
        assert 0 <= model["ece"] <= 1
        assert model["primary"] == {"name": "top1", "value": model["top1"], "higher_is_better": True}
        assert model["params"] > 0
        assert model["macs"] > 0
        assert model["size_bytes"] == (finished_run / model["artifact"]).stat().st_size
        assert set(model["latency_ms"]) >= {"median", "p90", "iqr", "n"}
        assert model["measurements"][0]["precision"] == ("int8" if model["name"].endswith("int8") else "fp32")
    assert set(by_name["student"]["fit"]["history"][0]) >= {
        "epoch",
        "loss",
        "top1",
    }  # what training curves are drawn from
    assert (finished_run / "export" / "model.onnx").exists()
    assert (finished_run / "report.html").read_text().startswith("<!doctype html>")
    assert report["provenance"]["seed"] == 0
    assert all(gate["passed"] for gate in report["parity"])


def test_latency_comes_from_the_device(finished_run: Path) -> None:
    student = next(model for model in read(finished_run)["models"] if model["name"] == "student")
    assert student["latency_ms"]["median"] == pytest.approx(0.1 + 0.2 * student["macs"] / 1e6)
    assert student["measurements"][0]["runtime"] == "fake"


def test_the_searched_architecture_is_the_one_that_is_trained(finished_run: Path) -> None:
    search = json.loads((finished_run / "stages" / "search" / "report.json").read_text())["result"]
    best = search["study"]["best"]
    student = next(model for model in read(finished_run)["models"] if model["name"] == "student")
    plain = next(model for model in read(finished_run)["models"] if model["name"] == "plain")
    assert best["params"] == student["params"] == plain["params"]
    states = {trial["state"] for trial in search["study"]["trials"] if trial["slot"] is not None}
    assert states <= {"complete", "pruned"}


def test_the_export_says_what_the_network_said(finished_run: Path) -> None:
    from limbeck.data import open_data

    splits = open_data("digits", image_size=16, limit=200, validation=0.2)
    predicted = limbeck.load(finished_run).predict([splits.test.picture(i) for i in range(50)])
    record = json.loads((finished_run / "stages" / "calibrate" / "report.json").read_text())["result"]["models"][
        "student"
    ]
    logits = np.load(finished_run / "stages" / "distill" / "student" / "predictions.npz")["test"][:50].astype(
        np.float64
    )
    scaled = np.exp(logits / record["temperature"])
    np.testing.assert_allclose(predicted.probabilities, scaled / scaled.sum(1, keepdims=True), atol=1e-5)


def test_a_finished_run_is_not_redone(finished_run: Path) -> None:
    weights = finished_run / "stages" / "distill" / "student" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    run_recipe(small_recipe(), finished_run)
    assert weights.stat().st_mtime_ns == before


def test_only_what_a_change_reaches_is_redone(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(finished_run, folder)
    teacher = file_sha256(folder / "stages" / "train" / "teacher" / "report.json")
    plain = file_sha256(folder / "stages" / "train" / "plain" / "report.json")
    run_recipe(small_recipe(distill__options={"gamma": 1.0}), folder, until="distill")
    told = capsys.readouterr().err
    assert "distill/student: redone, because distill.options" in told
    assert "train/plain: redone" not in told
    assert file_sha256(folder / "stages" / "train" / "teacher" / "report.json") == teacher
    assert file_sha256(folder / "stages" / "train" / "plain" / "report.json") == plain


def test_until_stops_after_its_stage(tmp_path: Path) -> None:
    found = run_recipe(small_recipe(search=None, budget__max_latency_ms=None), tmp_path / "run", until="train")
    assert set(found["stages"]) == {"train/teacher", "train/plain"}
    assert not (tmp_path / "run" / "stages" / "calibrate").exists()


def test_a_student_alone_needs_no_teacher_and_no_search(tmp_path: Path) -> None:
    recipe = small_recipe(search=None, distill=None, teacher=None, export__int8="off")
    report = run_recipe(recipe, tmp_path / "run")
    assert [model["name"] for model in report["models"]] == ["student"]


@pytest.mark.parametrize("method", ["kd", "uskd", "dml"])
def test_every_shape_of_method_runs_from_a_recipe(tmp_path: Path, method: str) -> None:
    recipe = small_recipe(search=None, distill__method=method, baselines={"plain": False}, export__int8="off")
    found = run_recipe(recipe, tmp_path / "run", until="distill")["stages"]
    student = found["distill/student"]
    assert set(found) == ({"distill/student", "train/teacher"} if method == "kd" else {"distill/student"})
    assert set(student["peers"]) == ({"teacher"} if method == "dml" else set())
    for name in student["peers"]:
        assert (tmp_path / "run" / "stages" / "distill" / "student" / name / "model.safetensors").exists()
    assert set(student["fit"]["history"][0]["train"]) > {"loss"}


def test_terms_by_hand_are_the_method(tmp_path: Path) -> None:
    """`kd` written as terms trains to the same weights as the method of that name."""
    terms = [
        {"loss": "task", "weight": 0.1},
        {"loss": "kd", "weight": 0.9, "options": {"temperature": 4.0}},
    ]
    common = {"search": None, "baselines": {"plain": False}, "export__int8": "off"}
    run_recipe(small_recipe(distill__method="kd", **common), tmp_path / "a", until="distill")
    run_recipe(small_recipe(distill={"terms": terms}, **common), tmp_path / "b", until="distill")
    weights = "stages/distill/student/model.safetensors"
    assert file_sha256(tmp_path / "a" / weights) == file_sha256(tmp_path / "b" / weights)


def test_seeds_share_teacher_and_search_and_are_tested_in_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with without_files():
        report = run_seeds(small_recipe(export__int8="off"), tmp_path / "run", [0, 1])
    student = next(model for model in report["models"] if model["name"] == "student")
    assert student["seeds"]["metrics"]["top1"]["values"] == [
        next(m["top1"] for m in read(tmp_path / "run" / f"seed-{seed}")["models"] if m["name"] == "student")
        for seed in (0, 1)
    ]
    assert student["seeds"]["paired"]["n"] == 2
    mean = np.mean(student["seeds"]["metrics"]["top1"]["values"])
    assert f"student         top1 {mean:.4f} ± " in capsys.readouterr().err
    teachers = [
        file_sha256(tmp_path / "run" / f"seed-{s}" / "stages" / "train" / "teacher" / "model.safetensors")
        for s in (0, 1)
    ]
    students = [
        file_sha256(tmp_path / "run" / f"seed-{s}" / "stages" / "distill" / "student" / "model.safetensors")
        for s in (0, 1)
    ]
    searches = [(tmp_path / "run" / f"seed-{s}" / "stages" / "search" / "report.json").read_text() for s in (0, 1)]
    assert teachers[0] == teachers[1]
    assert searches[0] == searches[1]
    assert students[0] != students[1]


def test_without_validation_the_last_epoch_is_kept_and_no_temperature_is_fitted(tmp_path: Path) -> None:
    recipe = small_recipe(search=None, data__validation=0, baselines={"plain": False}, export__int8="off")
    report = run_to_report(recipe, tmp_path / "run")
    student = next(model for model in report["models"] if model["name"] == "student")
    assert student["fit"]["selected"] == "last"
    assert student["reliability"]["after"] is None
    assert "validation" in student["reliability"]["reason"]


def test_unlabelled_pictures_join_distillation(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(draw.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    common = {"search": None, "baselines": {"plain": False}, "export__int8": "off", "distill__method": "kd"}
    run_recipe(small_recipe(**common), tmp_path / "runs" / "without", until="distill")
    run_recipe(small_recipe(data__unlabelled=str(tmp_path), **common), tmp_path / "runs" / "with", until="distill")
    stages = [tmp_path / "runs" / name / "stages" for name in ("without", "with")]
    steps = [json.loads((s / "distill/student/report.json").read_text())["result"]["fit"] for s in stages]
    assert steps[0]["history"][-1]["step"] <= steps[1]["history"][-1]["step"]
    assert file_sha256(stages[0] / "distill/student/model.safetensors") != file_sha256(
        stages[1] / "distill/student/model.safetensors"
    )


@pytest.mark.parametrize("asked", ["try", "require"])
def test_an_int8_that_fails_its_gate_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """An int8 file that is wrong everywhere never reaches `export/`; the exit code is 3 only where int8 was required."""
    from limbeck.data import open_data
    from limbeck.pipeline.problems.classification import ClassificationProblem

    whole = ClassificationProblem.prove_int8

    def wrong_in_int8(self, artifact, said, case):
        assert artifact.precision == "int8"
        labels = open_data("digits", image_size=16, limit=200, validation=0.2).test.labels
        wrong = {"probabilities": np.eye(10, dtype=np.float32)[(labels + 1) % 10]}
        monkeypatch.setattr(self, "read", lambda run, pictures: wrong)
        return whole(self, artifact, said, case)

    monkeypatch.setattr(ClassificationProblem, "prove_int8", wrong_in_int8)
    section = {"int8": asked, "calibration_pictures": 8, "max_int8_drop": 0.0}
    recipe, path = small_recipe(search=None, teacher=None, distill=None, export=section), tmp_path / "run"
    if asked == "require":
        with pytest.raises(GateFailed, match="int8") as caught:
            run_recipe(recipe, path)
        assert caught.value.exit_code == 3
    else:
        run_recipe(recipe, path)
    int8 = next(model for model in read(path)["models"] if model["name"] == "student_int8")
    assert "FAILED" in int8["withheld"]
    assert (path / "export" / "model.onnx").exists()
    assert not (path / "export" / "model_int8.onnx").exists()
    assert "withheld" in (path / "report.html").read_text()


def test_a_broken_fp32_export_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exporter that forgets the temperature gives other probabilities: the tensor gate must refuse it."""
    import limbeck.export as export

    whole = export.export_onnx

    def forgetful(network, path, *, temperature, **options):
        return whole(network, path, temperature=0.01 * temperature, **options)

    monkeypatch.setitem(export.EXPORTERS, "onnx", forgetful)
    recipe = small_recipe(search=None, teacher=None, distill=None, export__int8="off")
    with pytest.raises(GateFailed, match="tensors FAILED"):
        run_recipe(recipe, tmp_path / "run")
    assert not all(gate["passed"] for gate in read(tmp_path / "run")["parity"])


def test_a_refused_export_keeps_no_other_seed_from_running(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = read(finished_run)

    def refuses_the_first(recipe, folder, **_):
        write_json(folder / "report.json", report)
        if recipe.seed == 0:
            raise GateFailed(f"{folder.name}: tensors FAILED")
        return report

    monkeypatch.setattr(run, "run_recipe", refuses_the_first)
    for again in (run_seeds, lambda *args: run_students(*args[:2], seeds=args[2])):
        with pytest.raises(GateFailed, match=r"^seed-0: tensors FAILED$"):
            again(small_recipe(), tmp_path / "run", [0, 1])
        student = next(model for model in read(tmp_path / "run")["models"] if model["name"] == "student")
        assert student["seeds"]["paired"]["n"] == 2
        (tmp_path / "run" / "report.json").unlink()


def test_a_budget_that_nothing_meets_is_told_before_training(tmp_path: Path) -> None:
    recipe = small_recipe(search=None, teacher=None, distill=None, budget={"target": FAKE, "max_latency_ms": 0.05})
    with pytest.raises(InputError, match=r"latency_ms .* > max_latency_ms 0\.05"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "stages" / "train").exists()


def test_a_search_whose_budget_nothing_meets_says_the_fastest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"even the space's cheapest network: latency_ms .* > max_latency_ms 0\.101"):
        run_recipe(
            small_recipe(budget={"target": FAKE.replace("base_ms=0.1", "base_ms=0.2"), "max_latency_ms": 0.101}),
            tmp_path / "run",
        )
    assert not (tmp_path / "run" / "stages" / "train").exists()


def test_a_run_of_another_task_is_not_written_over(tmp_path: Path) -> None:
    write_json(tmp_path / "run" / "recipe.json", {"task": "landmarks"})
    with pytest.raises(
        InputError, match=r'run: holds a run of task = "landmarks", this recipe is of "classification"; give'
    ):
        run_recipe(small_recipe(), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "recipe.json").read_text()) == {"task": "landmarks"}


def test_two_commands_cannot_work_in_one_folder(tmp_path: Path) -> None:
    from limbeck.pipeline.folder import RunFolder

    with RunFolder(tmp_path / "run").lock(), pytest.raises(InputError, match="another limbeck"):
        run_recipe(small_recipe(), tmp_path / "run")


def test_a_trained_teacher_serves_other_runs_and_only_equal_ones(
    finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run beside the first takes its teacher over; one with other teacher settings trains its own."""
    weights = "stages/train/teacher/model.safetensors"
    other = finished_run.parent / "other"
    run_recipe(small_recipe(distill__method="kd", search=None), other, until="train")
    assert "teacher: reused" in capsys.readouterr().err
    assert file_sha256(other / weights) == file_sha256(finished_run / weights)
    third = finished_run.parent / "third"
    run_recipe(
        small_recipe(teacher__train={"epochs": 1, "threads": 1, "learning_rate": 0.01}, search=None),
        third,
        until="train",
    )
    assert "teacher: reused" not in capsys.readouterr().err
    assert file_sha256(third / weights) != file_sha256(finished_run / weights)


def test_given_weights_are_the_teacher(finished_run: Path, tmp_path: Path) -> None:
    given = finished_run / "stages" / "train" / "teacher"
    run_recipe(small_recipe(teacher__weights=str(given), search=None), tmp_path / "run", until="train")
    same = tmp_path / "run" / "stages" / "train" / "teacher" / "model.safetensors"
    assert file_sha256(same) == file_sha256(given / "model.safetensors")


def test_candidates_and_student_inherit_a_trained_seed(finished_run: Path, tmp_path: Path) -> None:
    """With a seed network whose weights candidates crop, the student's start is not the random one."""
    from limbeck.pipeline.context import Context
    from limbeck.pipeline.folder import RunFolder
    from limbeck.pipeline.search import student_network

    seed = finished_run / "stages" / "train" / "plain"
    recipe = small_recipe(teacher=None, distill=None, search__seed_weights=str(seed))
    run_recipe(recipe, tmp_path / "run", until="search")
    inherited = student_network(Context(recipe, RunFolder(tmp_path / "run")))
    fresh = student_network(
        Context(small_recipe(teacher=None, distill=None, search__inherit=False), RunFolder(tmp_path / "run"))
    )
    stem = next(name for name in inherited.state_dict() if name.startswith("stem"))
    assert not np.array_equal(inherited.state_dict()[stem], fresh.state_dict()[stem])


def test_the_off_the_shelf_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` takes the first ready network within the budget; where no weights can be had the run goes on and says so."""
    from limbeck.models import create_model
    from limbeck.pipeline import baselines

    common = {
        "teacher": None,
        "distill": None,
        "search": None,
        "export__int8": "off",
        "baselines": {"off_the_shelf": "auto"},
    }

    whole = baselines._network

    def none_to_be_had(context, name, *, pretrained):
        if pretrained:
            raise InputError("no network here")
        return whole(context, name, pretrained=False)

    monkeypatch.setattr(baselines, "_network", none_to_be_had)
    found = run_recipe(small_recipe(**common), tmp_path / "a", until="distill")["stages"]
    assert "no network here" in found["train/off_the_shelf"]["skipped"]

    def made(context, name, *, pretrained):
        if name == "timm:resnet18":
            return whole(context, name, pretrained=False)
        return create_model("mobilenet_v3_small", num_classes=10, width_multiplier=0.35, input_size=(16, 16))

    monkeypatch.setattr(baselines, "READY_NETWORKS", ("timm:resnet18", "mobilenet_v3_small"))
    monkeypatch.setattr(baselines, "_network", made)
    report = run_to_report(small_recipe(**common), tmp_path / "b")
    assert [model["name"] for model in report["models"]] == ["off_the_shelf", "student"]
    choice = json.loads((tmp_path / "b" / "stages" / "train" / "off_the_shelf" / "report.json").read_text())["result"]
    assert choice["model"] == "mobilenet_v3_small"  # resnet18 is over the budget of 2 ms on the fake device


def test_a_ready_network_over_the_memory_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limbeck.pipeline import baselines
    from limbeck.pipeline.context import Context
    from limbeck.pipeline.folder import RunFolder

    memory = iter([2_000_000, 900_000])

    def timed(context, networks, folder):
        return [{"latency_ms": 1.0, "size_bytes": 1000, "peak_memory_bytes": next(memory)}]

    monkeypatch.setattr(baselines, "time_networks", timed)
    monkeypatch.setattr(baselines, "READY_NETWORKS", ("mobilenet_v2", "mobilenet_v3_small"))
    monkeypatch.setattr(
        baselines, "_network", lambda context, name, *, pretrained: context.create(Model(model=name), where="")
    )
    recipe = small_recipe(budget__max_peak_memory_bytes=1_000_000)
    assert baselines._choose(Context(recipe, RunFolder(tmp_path))) == ("mobilenet_v3_small", "")


def test_two_workers_find_what_one_finds(tmp_path: Path) -> None:
    """Worker processes open the data themselves and train each candidate to the same figures."""
    common = {"teacher": None, "distill": None, "search__trials": 3, "search__batch": 3, "data__limit": 100}
    found = []
    for workers in (1, 2):
        recipe = small_recipe(search__workers=workers, **common)
        result = run_recipe(recipe, tmp_path / str(workers), until="search")["stages"]["search"]["study"]
        found.append([(t["slot"], t["state"], t["point"], t["accuracy"], t["latency_ms"]) for t in result["trials"]])
    assert found[0] == found[1]
