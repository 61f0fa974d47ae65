"""README and docs say what is so: commands parse and run, recipes are valid, Python blocks run, references are current."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[1]


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load_script("check")
PAGES = check.list_pages()


def blocks_of(page: Path, *languages: str) -> list:
    return [block for block in check.find_blocks(page.read_text()) if block.language in languages]


@pytest.fixture(scope="session")
def home(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages speak of: `photos/CLASS/*.png`, `more_photos`, `new.png`, `photos.toml`, `runs/photos` finished."""
    from sklearn.datasets import load_digits

    home = tmp_path_factory.mktemp("home")
    digits = load_digits()
    for digit in range(10):
        for row in np.flatnonzero(digits.target == digit)[:20]:
            folder = home / ("photos" if row % 3 else "more_photos") / str(digit)
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.rint(digits.images[row] * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).resize((24, 24)).convert("RGB").save(folder / f"{row}.png")
    Image.fromarray(pixels).resize((24, 24)).convert("RGB").save(home / "new.png")
    for name in ("photos", "quickstart"):
        shutil.copytree(finished_run, home / "runs" / name)
    (home / "photos.toml").write_text(
        '[data]\npath = "photos"\nimage_size = 16\n'
        '[student]\nmodel = "mobilenet_v3_small"\nwidth_multiplier = 0.35\n'
        "[train]\nepochs = 2\nbatch_size = 32\nthreads = 1\n"
        '[export]\nint8 = "off"\n[measure]\nruns = 20\n'
    )
    return home


@pytest.fixture
def in_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(home)
    yield home
    torch.set_num_threads(threads)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_commands_and_recipes_of_a_page_hold(page: Path):
    assert check.find_problems(page) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("```sh\nlimbeck rnu my.toml\n```", "no verb rnu"),
        ("```sh\nlimbeck run my.toml --sed 0\n```", "--sed"),
        ("```sh\nlimbeck run my.toml --set train.epoch=3\n```", "did you mean 'epochs'"),
        ("```sh\nlimbeck measure --runs many a.onnx\n```", "many"),
        ("```sh\nmake quickstrat\n```", "no target quickstrat"),
        ("```sh\npip install limbeck[hab]\n```", "no extra [hab]"),
        ("```sh\npython examples/own_lop.py\n```", "no such file"),
        ("text with `limbeck evaluate RUN --dta DIR` in it", "no option --dta"),
        ("```toml\n[distill]\nmetod = 'nkd'\n```", "did you mean 'method'"),
        ("```python\nif True print()\n```", "Python"),
        ("a [link](nowhere.md)", "nowhere.md leads nowhere"),
        ("a [link](recipe.md#no-such-section)", "no-such-section leads nowhere"),
    ],
)
def test_what_does_not_hold_is_found(text: str, told: str):
    problems = check.find_problems(ROOT / "docs" / "train.md", text)
    assert len(problems) == 1
    assert told in problems[0]


def test_reference_pages_say_what_the_code_says():
    reference = load_script("make_reference")
    for name in reference.PAGES:
        assert reference.page_text(name) == (ROOT / "docs" / name).read_text(), f"docs/{name}: run `make docs`"


def test_every_stage_has_a_page_that_the_readme_links():
    from limbeck.cli import STAGES

    readme = (ROOT / "README.md").read_text()
    for page in [*STAGES, "data", "recipe", "recipes", "parts", "report", "python", "extending", "design"]:
        assert f"(docs/{page}.md)" in readme


def test_readme_shows_a_picture_of_a_report():
    with Image.open(ROOT / "docs" / "report.png") as picture:
        assert picture.width >= 1000
    assert (ROOT / "docs" / "report.png").stat().st_size < 300_000


@pytest.mark.parametrize("page", [p for p in PAGES if blocks_of(p, "python")], ids=lambda page: page.name)
def test_python_blocks_of_a_page_run_in_order(page: Path, in_home: Path):
    namespace: dict = {"__name__": "documented"}
    for block in blocks_of(page, "python"):
        exec(compile(block.text, f"{page.name}:{block.line}", "exec"), namespace)


OTHER_RUNS = (
    "runs/camvid-quick",
    "runs/streets",  # of masks: tests/pipeline/test_segmentation_run.py predicts from one
    "runs/faces-quick",  # of points: tests/pipeline/test_landmarks_run.py predicts from one
    "runs/radio-quick",  # of signals: tests/pipeline/test_modulation_run.py predicts from one, and judges it
)


def lines_that_run() -> list[str]:
    """Commands on a finished run, a model or the lists: those that take seconds. The rest is parsed only."""
    lines = [line for p in PAGES for b in blocks_of(p, *check.SHELL) for line in check.command_lines(b.text)]
    verbs = ("show", "predict", "evaluate", "measure", "report")
    quick = [line for line in lines if line.split()[0] == "limbeck" and line.split()[1] in verbs]
    return sorted({line for line in quick if not line.endswith(".toml") and not any(run in line for run in OTHER_RUNS)})


@pytest.mark.parametrize("line", lines_that_run())
def test_commands_on_a_finished_run_work(line: str, in_home: Path, capsys: pytest.CaptureFixture):
    from limbeck.cli import app
    from limbeck.console import set_quiet

    try:
        app(shlex.split(line)[1:], standalone_mode=False)
    finally:
        set_quiet(False)
    assert capsys.readouterr().out or "-o" in line


def test_new_and_plan_work_as_written(in_home: Path, capsys: pytest.CaptureFixture):
    from limbeck.cli import app

    app(["new", "photos", "--max-latency-ms", "4", "-o", "my.toml"], standalone_mode=False)
    small = ["--set", "teacher.model=mobilenet_v3_small", "--set", "train.epochs=1", "--set", "search.trials=2"]
    app(["run", "my.toml", "--plan", *small], standalone_mode=False)
    assert "in all" in capsys.readouterr().out
