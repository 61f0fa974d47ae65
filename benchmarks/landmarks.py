"""A student of two teachers of landmarks beside the students of one and of none, in the paper's form and the authors' code's.

    python benchmarks/landmarks.py FOLDER --data FACES [--seeds 0,1] [--minutes 30]   # in pieces: a killed one goes on
    python benchmarks/landmarks.py NARROW --data FACES --after FOLDER --set student.width_multiplier=0.35
    python benchmarks/landmarks.py ONWARD --data FACES --after NARROW --onward --set student.width_multiplier=0.35
    python benchmarks/landmarks.py FOLDER --table

The shipped recipe `faces/two_teachers`, other where the options say so. For each seed (of both teachers and of the students)
one run trains the teachers and the plain student; every way to distil goes on from a copy of it. Of the epochs the best on
validation is taken, as the recipe does; what is reported is the test split. `none` is the method without both assistive
losses: of the plain student it differs by the weight of the main loss alone. `--after` takes over the teachers of an earlier
folder where they are the same; with `--onward` every student, the plain one too, begins as that folder's plain one ended, as
the authors' students did.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
import tomllib
from pathlib import Path

import torch

from limbeck.console import hushed
from limbeck.files import read_json
from limbeck.pipeline.run import run_recipe
from limbeck.pipeline.start import parse_changes
from limbeck.recipe import Recipe, parse_recipe

RECIPE = Path(__file__).parents[1] / "src/limbeck/recipes/faces/two_teachers.toml"
CELLS = [("none", "paper"), *((use, form) for form in ("paper", "release") for use in ("tough", "tolerant", "both"))]
FINISHED = "finished"  # a file in the folder of a run
FROM_BASE = {"tough teacher": "teacher1", "tolerant teacher": "teacher2", "plain": "plain"}
FIGURES = {"nme": "NME, %", "failure_rate_10": "FR at 0.10, %", "auc_10": "AUC at 0.10, %"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", help="folder with train.parquet and val.parquet, as the recipe takes it")
    parser.add_argument("--set", action="append", default=[], metavar="PLACE=VALUE", help="as for `limbeck run`")
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0, 1])
    parser.add_argument("--after", type=Path, metavar="OTHER", help="a finished folder, whose teachers are taken over")
    parser.add_argument("--onward", action="store_true", help="students begin as the plain one of OTHER ended")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no training after so long")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if asked.onward and asked.after is None:
        parser.error("--onward: which plain students to go on from is said by --after OTHER")
    torch.set_num_threads(1)
    if asked.data:
        train_all(asked)
    if asked.table:
        print_table(asked)


def train_all(asked: argparse.Namespace) -> None:
    """Seed by seed: teachers and the plain student, then each way to distil."""
    started = time.monotonic()
    for seed in asked.seeds:
        base = asked.folder / f"seed-{seed}" / "base"
        for use, form in [("none", "paper"), *CELLS]:
            folder, last = base.with_name(f"{use}-{form}"), "calibrate"
            if not finished(base):
                folder, last = base, "train"
            elif finished(folder):
                continue
            if time.monotonic() - started > 60 * asked.minutes:
                return
            before = base if folder != base else earlier(asked, seed)
            if before is not None and before.exists() and not folder.exists():
                copy = folder.with_name("copy")
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(before, copy, ignore=shutil.ignore_patterns(FINISHED))
                copy.rename(folder)
            begun = time.process_time()
            with hushed():
                run_recipe(recipe(asked, seed, use, form), folder, until=last)
            (folder / FINISHED).touch()
            told = "" if folder == base else f": NME {100 * figures(folder, 'student')['nme']:.2f} %"
            print(f"seed {seed} {folder.name}{told}, {time.process_time() - begun:.0f} s", flush=True)


def finished(folder: Path) -> bool:
    return (folder / FINISHED).exists()


def earlier(asked: argparse.Namespace, seed: int) -> Path | None:
    """The folder of teachers and the plain student of an earlier call, which need not have this seed."""
    return None if asked.after is None else asked.after / f"seed-{seed}" / "base"


def recipe(asked: argparse.Namespace, seed: int, use: str, form: str) -> Recipe:
    """The shipped recipe by one seed, on one thread."""
    tree = tomllib.loads(RECIPE.read_text())
    for teacher in (tree["teacher"], *tree["teacher"]["more"]):
        teacher["seed"] = seed
    for training in (tree["train"], *(one["train"] for one in (tree["teacher"], *tree["teacher"]["more"]))):
        training |= {"threads": 1, "device": "cpu"}
    changes = {"seed": seed, "data.path": asked.data, "distill.options": {"use": use, "variant": form}}
    if asked.onward:
        changes["student.pretrained"] = f"{earlier(asked, seed)}/stages/train/plain"
    return parse_recipe(
        tree, where=str(RECIPE), changes=changes | parse_changes(asked.set), default_name="two_teachers"
    )


def figures(folder: Path, model: str) -> dict[str, float]:
    """On the test split, as the run calibrated it."""
    return read_json(folder / "stages" / "calibrate" / "report.json")["result"]["models"][model]["metrics"]


def print_table(asked: argparse.Namespace) -> None:
    """Means and standard deviations over the seeds, and the difference to the plain student of the same seed."""
    print("| network | form | seeds | " + " | ".join(FIGURES.values()) + " | NME beside plain, points |")
    print("|---" * (4 + len(FIGURES)) + "|")
    seeds = sorted(asked.folder.glob("seed-*"))
    known = [one / "none-paper" for one in seeds]
    for label, model in FROM_BASE.items():
        print_row(label, "", [(one, model) for one in known if finished(one)])
    for use, form in CELLS:
        cells = [one / f"{use}-{form}" for one in seeds]
        print_row(f"student, {use}", form, [(one, "student") for one in cells if finished(one)])


def print_row(label: str, form: str, cells: list[tuple[Path, str]]) -> None:
    if not cells:
        return
    found = [figures(*cell) for cell in cells]
    columns = [told([100 * one[name] for one in found]) for name in FIGURES]
    beside = [100 * (one["nme"] - figures(cell[0], "plain")["nme"]) for one, cell in zip(found, cells, strict=True)]
    print(f"| {label} | {form} | {len(cells)} | " + " | ".join(columns) + f" | {told(beside, signed=True)} |")


def told(values: list[float], *, signed: bool = False) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{'+' if signed else ''}.2f}{spread}"


if __name__ == "__main__":
    main()
