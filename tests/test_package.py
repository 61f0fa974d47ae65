"""What a stranger gets: the wheel in a clean environment, the shipped recipes, the names each room offers."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from small_run import FAKE

import limbeck
from limbeck.pipeline.start import list_recipes, open_recipe, recipe_notes

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(torch.__file__).resolve().parents[1]
PACKAGES = [
    "limbeck",
    *sorted(f"limbeck.{found.name}" for found in pkgutil.iter_modules(limbeck.__path__) if found.ispkg),
]


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).exists()]


# ---- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that holds the wheel; its dependencies are lent by this one, without its `.pth` files."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
    python = folder / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return python


def there(python: Path, *command: object) -> str:
    """Run in the fresh environment, in a folder of its own, and return stdout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [*map(str, command)],
        cwd=python.parent,
        env={**environment, "PYTHONPATH": str(SITE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_is_what_is_imported(installed: Path) -> None:
    found = there(installed, installed, "-c", "import limbeck; print(limbeck.__file__); print(limbeck.__version__)")
    place, told = found.splitlines()
    assert Path(place).is_relative_to(installed.parents[1])
    assert told == version("limbeck")


def test_the_wheel_holds_its_command_its_recipes_and_its_report(installed: Path) -> None:
    limbeck_command = installed.with_name("limbeck")
    assert there(installed, limbeck_command, "--version") == version("limbeck")
    told = there(installed, limbeck_command, "show", "recipes")
    assert {line.split()[0] for line in told.splitlines()} == set(list_recipes())
    assert "properties" in json.loads(there(installed, limbeck_command, "show", "schema"))
    program = (
        "from limbeck.report import page; import limbeck.report, pathlib;"
        "print(sorted(p.name for p in (pathlib.Path(limbeck.report.__file__).parent / 'templates').iterdir()))"
    )
    shipped = there(installed, installed, "-c", program)
    assert shipped == str(sorted(p.name for p in (ROOT / "src/limbeck/report/templates").iterdir()))


def test_the_wheel_runs_a_shipped_recipe_up_to_its_teacher(installed: Path, tmp_path: Path) -> None:
    settings = ("data.limit=100", "train.epochs=1", "teacher.train.epochs=1")
    changes = [word for setting in settings for word in ("--set", setting)]
    told = there(
        installed, installed.with_name("limbeck"), "train", "quickstart", "--out", tmp_path, "--json", *changes
    )
    assert "train/teacher" in json.loads(told)["stages"]
    assert (tmp_path / "stages" / "train" / "teacher" / "model.safetensors").exists()


# ---- names and recipes


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(module, name) is not None
    public = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    ours = {name for name, value in public.items() if str(getattr(value, "__module__", "")).startswith(f"{package}.")}
    ours -= set(names)
    assert not ours, f"{package} imports {sorted(ours)} without offering them in __all__"


# published rows, which have notes, are all of one kind: `test_recipes_published` holds them to their names and graphs
@pytest.mark.parametrize("name", [name for name in list_recipes() if not recipe_notes(name)])
@pytest.mark.usefixtures("quick_export")
def test_every_shipped_recipe_runs_in_miniature(name: str, tmp_path: Path) -> None:
    """As written but for its size: digits for its pictures, one epoch, a device with known latencies, no downloads."""
    from limbeck.pipeline.run import run_recipe

    torch.set_num_threads(1)
    whole, _ = open_recipe(name)
    tiny = {"epochs": 1, "batch_size": 16, "threads": 1, "device": "cpu"}
    train = {f"train.{key}": value for key, value in tiny.items()}
    changes: dict[str, object] = {
        **train,
        "data": {"name": "digits", "image_size": 16, "limit": 50, "validation": 0.2},
        "budget": {"target": FAKE},
        "measure": {"runs": 20},
        "student.pretrained": False,
        "student.input_size": None,
        "student.width_multiplier": 0.35,
        "baselines.off_the_shelf": None,
        "export.calibration_pictures": 16,
        "export.max_int8_drop": 1.0,
    }
    if whole.teacher is not None:
        changes |= {f"teacher.train.{key}": value for key, value in tiny.items()}
        if ":" not in whole.teacher.model:
            changes["teacher.width_multiplier"] = 0.25
        changes |= {"teacher.pretrained": False, "teacher.weights": None, "teacher.input_size": None}
    if whole.search is not None:
        changes |= {"search.trials": 1, "search.batch": 1, "search.workers": 1, "search.proxy.epochs": 1}
        changes |= {"search.seed_weights": None, "search.storage": None, "search.options": {}}
    if whole.adapt is not None:  # few widths to try, and one of them made narrower
        changes |= {"adapt.max_latency_ms": None, "adapt.share": 0.97, "adapt.delta": 0.02, "adapt.divisor": 64}
        changes |= {"adapt.steps": 1, "adapt.workers": 1, "adapt.tune": {"limit": 16}, "adapt.seed_weights": None}
    recipe, _ = open_recipe(name, changes)
    report = run_recipe(recipe, tmp_path / "run")
    if whole.adapt is not None:
        kept = json.loads((tmp_path / "run/stages/adapt/report.json").read_text())["result"]["adaptation"]["iterates"]
        assert len(kept) == 2
    assert {"student"} <= {model["name"] for model in report["models"]}
    record = json.loads((tmp_path / "run/stages/distill/student/report.json").read_text()) if whole.distill else None
    assert record is None or record["result"]["fit"]["history"][-1]["step"] >= 2


# ---- what is in the project's files


def test_no_file_speaks_of_a_machine() -> None:
    """No absolute path of a home or workplace, no address, and no host that packages were fetched from."""
    paths = r"(?<![\w.~-])/(?:root|home/\w+|Users/\w+|work|workspace|tmp)/[\w.]"
    addresses = r"(?<![\w.])(?!127\.0\.0\.1|0\.0\.0\.0)\d{1,3}(?:\.\d{1,3}){3}(?![\w.])"
    hosts = r"\bindex-url\b|--extra-index|trusted-host|py[p]i\.org|python[h]osted|npm[j]s\.org|debia[n]\.org|/simple/"
    found = []
    for file in tracked_files():
        if file == Path(__file__).resolve():
            continue  # names what it looks for
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures
        for number, line in enumerate(text.splitlines(), start=1):
            if re.search(f"{paths}|{addresses}|{hosts}", line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert not found, "\n".join(found)


def declared() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for requirements in lists for line in requirements]


def constraints() -> dict[str, str]:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, number = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][0-9a-z.]*)", line).groups()  # names and numbers only
        assert canonicalize_name(name) not in pinned
        pinned[canonicalize_name(name)] = number
    return pinned


def test_constraints_hold_a_version_of_every_dependency_within_its_range() -> None:
    pinned = constraints()
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"constraints.txt has no version of {name}"
        assert pinned[name] in requirement.specifier, f"{name} {pinned[name]} is not within {requirement.specifier}"


def test_every_import_of_the_package_is_a_declared_dependency() -> None:
    names = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    known = {canonicalize_name(Requirement(line).name) for line in [*project["dependencies"], *extras]}
    imported = set()
    for file in (ROOT / "src" / "limbeck").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    outside = {names.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"limbeck", "__future__"}}
    assert {canonicalize_name(name) for name in outside} <= known
