"""`limbeck inspect` and `limbeck new` on signals: what is told, and a recipe that a run takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from limbeck.data.radio import make_signals
from limbeck.errors import InputError
from limbeck.files import read_json, write_json
from limbeck.pipeline.context import open_splits
from limbeck.pipeline.inspect import inspect_data, inspection_text
from limbeck.pipeline.new import recipe_for_data, write_new_recipe
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.start import is_bare_data
from limbeck.recipe import read_recipe

TARGET = "onnxruntime,threads=1"
QUICK = {
    "teacher.model": "clst_s",
    "teacher.train.epochs": 1,
    "train.epochs": 1,
    "train.threads": 1,
    "baselines.plain": False,
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """`air.npz` in the working directory: 24 frames each of two classes at two SNRs."""
    monkeypatch.chdir(tmp_path)
    made = make_signals("clean_snr", frames_per_cell=24, seed=0, classes=["BPSK", "WBFM"], snrs=[0, 10], length=64)
    np.savez("air.npz", X=made.X, y=made.y, snr=made.snr, classes=np.array(made.classes))
    return "air.npz"


def write(data: str, **options: object) -> Path:
    given: dict = {"target": TARGET, "max_latency_ms": None, "hours": None, "output": None, **options}
    return write_new_recipe(data, **given)


def test_a_recipe_for_frames_runs(file: str) -> None:
    path = write(file, max_latency_ms=2.5)
    recipe = read_recipe(path, changes=QUICK)
    assert (recipe.task, recipe.name, recipe.data.name, recipe.data.path) == ("modulation", "air", "signals", file)
    assert (recipe.student.model, read_recipe(path).teacher.model) == ("kd_cnn", "clst_t")
    assert recipe.budget.max_latency_ms == 2.5
    run_recipe(recipe, Path("run"), until="distill")
    assert read_json(Path("run/stages/distill/student/report.json"))["result"]["fit"]["epochs"] == 1


def test_a_recipe_for_recordings_cuts_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(10):
        draw.standard_normal((700, 2)).astype("<f4").tofile(tmp_path / f"r{number}.sigmf-data")
        label = {"core:sample_start": 50, "core:sample_count": 600, "core:label": ("FM", "AM")[number % 2]}
        facts = {"core:datatype": "cf32_le", "core:version": "1.2.0"}
        meta = {"global": facts, "captures": [{"core:sample_start": 0}], "annotations": [label]}
        write_json(tmp_path / f"r{number}.sigmf-meta", meta)
    recipe = read_recipe(write(str(tmp_path), output=tmp_path / "mine.toml"))
    assert (recipe.data.name, recipe.data.options) == ("sigmf", {"label": "core:label", "frame_length": 512})
    splits = open_splits(recipe.data)
    assert sum(splits.report["counts"].values()) == 10
    assert splits.image_size == (1, 512)


def test_what_is_told_of_frames(file: str) -> None:
    tree = inspect_data(file)
    assert (tree["kind"], tree["frames"], tree["length"], tree["per_cell"]) == ("signals", 96, 64, (24, 24))
    text = inspection_text(tree)
    for told in (
        "96 of 64 samples",
        "2: BPSK 48, WBFM 48",
        "0, 10 dB",
        "24 frames of each class and SNR",
        "none found",
    ):
        assert told in text
    np.savez("few.npz", X=np.load(file)["X"][:5], y=np.array([0, 0, 0, 1, 1]))
    assert "2 to 3 frames of a class\n" in inspection_text(inspect_data("few.npz"))


def test_what_is_told_of_pictures() -> None:
    text = inspection_text(inspect_data("digits"))
    assert "10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in text
    assert "8 x 8, the median" in text


def test_bare_frames_are_sized_to_the_time(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def estimate(recipe: object, pace: object) -> dict:
        timed.append(recipe.teacher.train.epochs)  # type: ignore[attr-defined]
        return {"minutes": 7.0 * timed[-1]}

    monkeypatch.setattr("limbeck.pipeline.plan.time_parts", lambda *_, **__: None)
    monkeypatch.setattr("limbeck.pipeline.plan.estimate_run", estimate)
    assert is_bare_data(file)
    recipe, folder = recipe_for_data(file)
    assert (folder, recipe.teacher.model, timed) == (Path("runs/air"), "clst_s", [20, 20, 12, 6])
    assert recipe_for_data(file) == (read_recipe(folder / "recipe.toml"), folder)
    assert is_bare_data("air.toml") is False


def test_too_few_to_divide(file: str) -> None:
    found = np.load(file)
    np.savez("few.npz", X=found["X"][:5], y=np.array([0, 0, 0, 1, 1]))
    with pytest.raises(InputError, match=r"few.npz: a class has 2 frames; at least 3 are needed"):
        write("few.npz")
    np.savez("two.npz", X=found["X"][:8], y=np.arange(8) % 2, groups=np.arange(8) // 4)
    with pytest.raises(
        InputError, match=r"two.npz: recordings are held out as wholes, and at least 3 are needed, not 2"
    ):
        write("two.npz")
