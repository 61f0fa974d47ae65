"""The command line as a user meets it: exit codes, one line per error, JSON that is JSON, and a quick start."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_run import FAKE, small_tree

from limbeck.cli import main
from limbeck.console import set_quiet
from limbeck.errors import InputError

ROOT = Path(__file__).parents[1]

Answer = tuple[int, str, str]
Limbeck = Callable[..., Answer]


@pytest.fixture
def limbeck(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Limbeck:
    """Type a command in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def typed(*words: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["limbeck", *map(str, words)])
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            set_quiet(False)
            signal.signal(signal.SIGTERM, before)
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return typed


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ten noisy pictures of each of two classes that no model of these tests knows."""
    root, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, brightness in (("dark", 40), ("light", 200)):
        (root / name).mkdir()
        for number in range(10):
            pixels = draw.normal(brightness, 15, (12, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def recipe_file(folder: Path, **changes: object) -> Path:
    path = folder / "small.json"
    path.write_text(json.dumps(small_tree(**changes)))
    return path


def is_one_line(err: str) -> bool:
    return err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['limbeck', '--help']\n"
        "from limbeck.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'onnxruntime', 'optuna', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]  # every verb's line is whole


def test_predict_needs_no_torch(finished_run: Path, pictures: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['limbeck', 'predict', *sys.argv[1:]]\n"
        "from limbeck.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(finished_run), str(pictures), "-o", str(tmp_path / "out.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr  # no bar off a terminal
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 21


def test_version_and_bare_command(limbeck: Limbeck) -> None:
    import limbeck as package

    assert limbeck("--version") == (0, package.__version__ + "\n", "")
    code, out, err = limbeck()
    assert (code, err) == (0, "")
    assert "Commands:" in out


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "limbeck.cli", "show", "recipes"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout
    assert child.stderr
    child.stdout.close()  # as `| head` does; long before the child has imported anything
    assert child.stderr.read() == b""
    assert child.wait() == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "small.json", "--set", "train.epoch=3"], "train.epoch: no such field; did you mean 'epochs'"),
        (["run", "small.json", "--set", "train.epochs=many"], 'train.epochs = "many": input should be a valid integer'),
        (["run", "small.json", "--set", "student.model=mobilenet_v3_smal"], "did you mean 'mobilenet_v3_small'"),
        (["run", "small.json", "--set", "data.name=digit"], "did you mean 'digits'"),
        (["run", "small.json", "--set", "budget.target=onnxruntim"], "did you mean 'onnxruntime'"),
        (["run", "small.json", "--set", "distill.method=kdd"], "did you mean 'kd'"),
        (["run", "small.json", "--set", "data.name=folder", "--set", "data.path=nowhere"], "nowhere"),
        (["run", "small.json", "--set", "epochs"], "--set epochs: expected section.field=value"),
        (["run", "small.json", "--seeds", "0,x"], "--seeds 0,x: expected whole numbers"),
        (["run", "small.json", "--seeds", "1,1"], "expected different numbers"),
        (["run", "small.json", "--out", "small.json"], "small.json"),
        (["run", "small.json", "--out", "/proc/run"], "/proc/run"),
        (["run", "broken.toml"], "broken.toml: not valid TOML"),
        (["run", "missing.toml"], "missing.toml: cannot read the recipe"),
        (["run", "quickstrt"], "did you mean 'quickstart'"),
        (["run", "empty"], "empty"),
        (["search", "small.json", "--set", "budget.max_latency_ms=0.05"], "max_latency_ms 0.05"),
        (["new", "nowhere"], "nowhere: no such file or folder"),
        (["new", "digts"], "did you mean the data set 'digits'"),
        (["new", "digits", "-o", "small.json"], "exists already"),
        (["new", "digits", "--target", "onnxruntim"], "did you mean 'onnxruntime'"),
        (["new", "digits", "--max-latency-ms", "-1"], "budget.max_latency_ms"),
        (["measure", "broken.onnx"], "broken.onnx: not a usable ONNX file"),
        (["measure", "mobilenet_v3_smal"], "did you mean 'mobilenet_v3_small'"),
        (["measure", "broken.toml"], "not valid TOML"),
        (["evaluate", "broken.onnx", "--data", "digits"], "broken.onnx: not a usable ONNX file"),
        (["predict", "broken.onnx", "small.json"], "broken.onnx: not a usable ONNX file"),
        (["predict", "nowhere", "small.json"], "nowhere: no such file or folder"),
        (["report", "nowhere"], "nowhere: no report.json"),
        (["show", "modls"], "did you mean 'models'"),
        (["show", "faces/quik"], "did you mean 'faces/quick'"),
        (["frobnicate"], "No such command"),
        (["run"], "Missing argument"),
        (["run", "small.json", "--sed", "0"], "--seed"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(limbeck: Limbeck, tmp_path: Path, words: list[str], told: str) -> None:
    recipe_file(tmp_path)
    (tmp_path / "broken.toml").write_text("name = \n")
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07 not a graph")
    (tmp_path / "empty").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    code, out, err = limbeck(*words)
    assert (code, out) == (2, "")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert told in errors[0]
    assert err.splitlines()[-1] == errors[0]
    assert "Traceback" not in err
    after = {path.name for path in tmp_path.iterdir()}
    assert after - before <= {"runs"}
    assert not list(tmp_path.glob("runs/*/report.json"))
    assert not list(tmp_path.glob("runs/*/stages/search/report.json"))


def test_debug_gives_the_traceback_wherever_it_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["--debug", "run", "nowhere"], ["run", "nowhere", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["limbeck", *words])
        with pytest.raises(InputError, match="nowhere"):
            main()


def test_too_little_disk_is_told_before_any_work(
    limbeck: Limbeck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    code, _, err = limbeck("run", recipe_file(tmp_path), "--out", "run")
    assert code == 2
    assert "1 MB free, the run needs about" in err
    assert is_one_line(err)
    assert not (tmp_path / "run" / "stages").exists()


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    limbeck: Limbeck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("limbeck.files.os.fsync", full)
    code, out, err = limbeck("new", "digits")
    assert (code, out) == (2, "")
    assert is_one_line(err)
    assert "digits.toml: cannot write (No space left on device)" in err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_anywhere_is_one_line(limbeck: Limbeck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "ledger.log")

    monkeypatch.setattr("limbeck.pipeline.run.run_recipe", full)
    code, _, err = limbeck("run", recipe_file(tmp_path))
    assert code == 2
    assert err.startswith("error: ledger.log: No space left on device")
    assert is_one_line(err)


def test_a_runtime_that_is_not_installed(
    limbeck: Limbeck, finished_run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for words in (
        ["predict", finished_run, pictures],
        ["measure", finished_run / "export" / "model.onnx"],
        ["new", pictures],
    ):
        code, out, err = limbeck(*words)
        assert (code, out) == (2, "")
        assert is_one_line(err)
        assert re.search("not (installed|usable)", err)
        assert "pip install onnxruntime" in err


def test_a_teacher_that_carries_code_is_not_run(limbeck: Limbeck, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "teacher.pth").write_bytes(pickle.dumps({"weights": Evil()}))
    code, _, err = limbeck("run", recipe_file(tmp_path), "--set", "teacher.weights=teacher.pth")
    assert code == 2
    assert is_one_line(err)
    assert "teacher.weights" in err
    assert not (tmp_path / "ran").exists()


def test_json_is_all_that_stdout_holds(limbeck: Limbeck, finished_run: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    model = run / "export" / "model.onnx"

    def read(*words: str | Path) -> object:
        code, out, err = limbeck(*words, "--json")
        assert code == 0, err
        assert err == ""
        return json.loads(out)

    assert read("run", run)["schema"] == 1  # type: ignore[index]
    assert set(read("calibrate", run)["stages"]) >= {"train/teacher", "calibrate"}  # type: ignore[index]
    assert {"top1", "ece", "pictures"} <= set(read("evaluate", run, "--data", "digits"))  # type: ignore[call-overload]
    rows = read("predict", run, pictures, "-o", "out.csv")
    assert len(rows) == 20  # type: ignore[arg-type]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 21
    assert read("measure", model, "--target", FAKE, "--runs", "20")["runtime"] == "fake"  # type: ignore[index]
    assert Path(read("report", run)["page"]).is_file()  # type: ignore[index]
    assert set(read("show", "losses", "methods")) == {"losses", "methods"}  # type: ignore[call-overload]
    assert "nkd" in read("show", "methods")  # type: ignore[operator]
    assert read("new", "digits") == {"recipe": "digits.toml"}


def test_a_recipe_that_ships_is_printed_as_it_stands(limbeck: Limbeck) -> None:
    code, out, _ = limbeck("show", "faces/quick")
    assert code == 0
    assert out == (ROOT / "src/limbeck/recipes/faces/quick.toml").read_text()
    code, out, _ = limbeck("show", "faces/quick", "--json")
    assert json.loads(out)["name"] == "faces/quick"


@pytest.mark.parametrize(
    "what", ["losses", "methods", "models", "tasks", "data", "targets", "spaces", "recipes", "schema"]
)
def test_every_list_is_shown_one_line_each(limbeck: Limbeck, what: str) -> None:
    code, out, _ = limbeck("show", what)
    assert code == 0
    if what == "schema":
        assert "properties" in json.loads(out)
        return
    assert out.splitlines()
    for line in out.splitlines():
        name, _, text = line.partition("  ")
        assert name
        assert text.strip(), line


def test_predictions_go_to_stdout_as_csv(limbeck: Limbeck, finished_run: Path, pictures: Path) -> None:
    code, out, err = limbeck("predict", finished_run, pictures / "dark" / "0.png")
    assert (code, err) == (0, "")
    head, row = out.splitlines()
    assert head.split(",")[:3] == ["file", "label", "confidence"]
    assert sum(float(value) for value in row.split(",")[3:]) == pytest.approx(1, abs=1e-4)


def test_unreadable_pictures_are_named_and_left_out(
    limbeck: Limbeck, finished_run: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes((pictures / "dark" / "0.png").read_bytes()[:60])
    code, out, err = limbeck("predict", finished_run, "torn.png", pictures / "dark" / "0.png")
    assert code == 0
    assert len(out.splitlines()) == 2
    assert err.startswith("warning: left out: torn.png")
    code, out, err = limbeck("predict", finished_run, "torn.png", "-o", "out.csv")
    assert (code, out) == (2, "")
    assert "none of the pictures could be read" in err
    assert not (tmp_path / "out.csv").exists()


def test_classes_that_the_model_does_not_know(limbeck: Limbeck, finished_run: Path, pictures: Path) -> None:
    code, out, err = limbeck("evaluate", finished_run, "--data", pictures)
    assert (code, out) == (2, "")
    assert is_one_line(err)
    assert "does not know the class dark, light (it knows 0, 1, 2" in err


def test_a_corrupt_export_of_a_run(limbeck: Limbeck, finished_run: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    model = run / "export" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-4000])
    for words in (["predict", run, pictures], ["evaluate", run, "--data", "digits"], ["measure", model]):
        code, out, err = limbeck(*words)
        assert (code, out) == (2, "")
        assert is_one_line(err)
        assert "model.onnx: not a usable ONNX file" in err


def test_measure_with_a_recipe_adds_the_target(limbeck: Limbeck, finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    code, out, err = limbeck("measure", run, "--target", FAKE + ",seed=3", "--json")
    assert code == 0, err
    devices = json.loads(out)["stages"]["measure"]["measurements"]["student"]
    assert len(devices) == 2
    assert json.loads((run / "recipe.json").read_text())["measure"]["targets"] == [FAKE + ",seed=3"]
