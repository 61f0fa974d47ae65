"""The verbs a user types. Arguments in, calls of the pipeline out; torch is imported only by the verb that needs it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from limbeck.errors import InputError, LimbeckError

__all__ = ["app", "main"]

app = typer.Typer(
    name="limbeck",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From a data set and a latency budget on a device to a compact network: accurate, calibrated, proven there.",
)

STAGES = ("train", "search", "adapt", "distill", "calibrate", "export", "measure")
SHOWN = ("losses", "methods", "models", "tasks", "data", "targets", "spaces", "recipes", "schema")

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="a TOML file, a shipped recipe's name, or a run folder")
]
OutOption = Annotated[Path | None, typer.Option("--out", help="run folder; default runs/<recipe name>")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="change a field of the recipe; repeatable")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print the result as JSON on stdout, nothing else")]
TargetOption = Annotated[str, typer.Option("--target", help="where it must run; see `limbeck show targets`")]


def _print_version(asked: bool) -> None:
    if asked:
        from limbeck import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def limbeck(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, help="print the version and stop", is_eager=True)
    ] = False,
) -> None:
    """Options of every verb; `main` reads --debug itself, wherever it stands."""


@app.command()
def quickstart(out: OutOption = None, changes: SetOption = None, as_json: JsonOption = False) -> None:
    """The whole pipeline in miniature: minutes, offline."""
    _run("quickstart", out, changes, as_json=as_json)


@app.command()
def new(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="pictures (folder or table), signals, or a data set's name")
    ],
    target: TargetOption = "onnxruntime,threads=1",
    max_latency_ms: Annotated[
        float | None, typer.Option(help="latency budget on the target, median at batch 1")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="time to spend here; picks teacher, resolution, epochs and trials")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="recipe to write; default <name>.toml")] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at the data and write a recipe for it."""
    from limbeck.pipeline.new import write_new_recipe

    _quiet(as_json)
    path = write_new_recipe(data, target=target, max_latency_ms=max_latency_ms, hours=hours, output=output)
    print(json.dumps({"recipe": str(path)}, indent=2) if as_json else path)


@app.command()
def inspect(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="pictures (folder or table), signals, or a data set's name")
    ],
    as_json: JsonOption = False,
) -> None:
    """Look at the data and tell what is in it."""
    from limbeck.pipeline.inspect import inspect_data, inspection_text

    _quiet(as_json)
    tree = inspect_data(data)
    print(json.dumps(tree, indent=2) if as_json else inspection_text(tree))


@app.command()
def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE|FOLDER", help="a recipe, a run folder, or bare data: pictures or signals")
    ],
    out: OutOption = None,
    changes: SetOption = None,
    seeds: Annotated[
        str | None, typer.Option(help="such as 0,1,2: run each, report mean, spread and a paired test")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="time a few steps and print steps, hours and disk; run nothing")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Every stage the recipe names; what is finished stays."""
    if plan:
        from limbeck.pipeline.plan import plan_students

        _quiet(as_json)
        tree = plan_students(_recipe_for(recipe, out, changes, keep=False)[0])
        print(json.dumps(tree, indent=2) if as_json else _plan_text(tree))
        return
    _run(recipe, out, changes, as_json=as_json, seeds=_seeds(seeds))


def _stage_command(stage: str) -> None:
    def command(
        recipe: RecipeArgument, out: OutOption = None, changes: SetOption = None, as_json: JsonOption = False
    ) -> None:
        _run(recipe, out, changes, as_json=as_json, until=stage)

    command.__doc__ = f"Run the stages up to `{stage}`."
    app.command(name=stage)(command)


for _stage in STAGES[:-1]:
    _stage_command(_stage)


@app.command()
def measure(
    thing: Annotated[
        str, typer.Argument(metavar="RECIPE|RUN|FILE|MODEL", help="a recipe or run, model.onnx, or a model's name")
    ],
    target: Annotated[
        str | None,
        typer.Option(
            help="where; default onnxruntime,threads=1. With a recipe: beside its own, for this and later runs"
        ),
    ] = None,
    runs: Annotated[int | None, typer.Option(help="timed calls; default 300", min=20)] = None,
    size: Annotated[
        int | None, typer.Option(help="for a model's name: picture side, default 224; samples of a frame, 128", min=1)
    ] = None,
    out: OutOption = None,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time a recipe's exports, any ONNX file, or a model by name."""
    from limbeck.pipeline.start import list_recipes

    if Path(thing).suffix in (".toml", ".json") or Path(thing).is_dir() or thing in list_recipes():
        further = [f'measure.targets=["{target}"]'] if target is not None else []
        further += [f"measure.runs={runs}"] if runs is not None else []
        _run(thing, out, [*further, *(changes or [])], as_json=as_json, until="measure")
        return
    from limbeck.pipeline.use import measure_anything, measurement_text

    _quiet(as_json)
    record = measure_anything(thing, target=target or "onnxruntime,threads=1", runs=runs or 300, size=size)
    print(json.dumps(record, indent=2) if as_json else measurement_text(record))


@app.command()
def latencies(
    recipe: RecipeArgument,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="table to write or to fill up; default the recipe's, or latencies.json"),
    ] = None,
    networks: Annotated[int, typer.Option(help="networks drawn at random and timed whole", min=1)] = 120,
    kernels_of: Annotated[int, typer.Option(help="how many of them have their kernels timed", min=1)] = 60,
    runs: Annotated[int, typer.Option(help="timed calls of each piece", min=20)] = 100,
    changes: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what lets a search or adapt time without files."""
    from limbeck.pipeline.latency_table import latencies_text, measure_latencies

    _quiet(as_json)
    read, _ = _recipe_for(recipe, None, changes, keep=False)
    tree = measure_latencies(read, output, networks=networks, kernels_of=kernels_of, runs=runs)
    print(json.dumps(tree, indent=2) if as_json else latencies_text(tree))


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL.onnx")],
    data: Annotated[
        str, typer.Option("--data", help="folder with one sub-folder per class, a table, or a data set's name")
    ],
    target: TargetOption = "onnxruntime",
    as_json: JsonOption = False,
) -> None:
    """Figures of an exported model on other data."""
    from limbeck.pipeline.use import evaluate_model

    _quiet(as_json)
    figures = evaluate_model(model, data, target=target)
    print(
        json.dumps(figures, indent=2)
        if as_json
        else "\n".join(f"{k:>16}  {v:.4f}" if isinstance(v, float) else f"{k:>16}  {v}" for k, v in figures.items())
    )


@app.command()
def predict(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL.onnx")],
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES", help="pictures or SigMF recordings, or folders of them; sets of frames"),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="CSV or JSON to write; class maps: a folder; recordings: .sigmf-meta or a folder. Default stdout",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace SigMF metadata that is there")] = False,
    boxes: Annotated[
        Path | None,
        typer.Option(
            "--boxes", help="of landmarks: CSV of name, x1, y1, x2, y2; without it pictures are crops already"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What is in pictures (labels, maps, boxes, points) or signals."""
    from limbeck.pipeline.predict import predict_files, predictions_csv, save_predictions

    _quiet(as_json)
    rows = predict_files(model, files, output=output, overwrite=overwrite, boxes=boxes)
    if output is not None:
        save_predictions(rows, output, overwrite=overwrite)
    if as_json:
        print(json.dumps(rows, indent=2))
    elif output is None:
        print(predictions_csv(rows), end="")
    else:
        print(output)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="one run, or several to set side by side")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="page to write")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the page of a run again, or of several side by side."""
    from limbeck.pipeline.report import report_runs

    _quiet(as_json)
    page = report_runs(runs, output=output)
    print(json.dumps({"page": str(page)}, indent=2) if as_json else page)


@app.command()
def show(
    what: Annotated[list[str], typer.Argument(metavar="WHAT", help=f"{', '.join(SHOWN)}, or a recipe that ships")],
    as_json: JsonOption = False,
) -> None:
    """List what there is, or print a recipe."""
    from limbeck.pipeline.show import check_shown, show_table, shown_text

    check_shown(what, SHOWN)
    if as_json:
        tables = {name: show_table(name) for name in what}
        print(json.dumps(tables if len(what) > 1 else tables[what[0]], indent=2))
        return
    for name in what:
        print(shown_text(name))


def main() -> None:
    """Entry point: one line per error, and the exit codes 2 (bad input), 3 (a gate failed), 75 (stopped, resumable)."""
    debug = "--debug" in sys.argv
    # A training answers SIGTERM itself, after saving; anywhere else it is as Ctrl-C: finished stages are kept.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app([word for word in sys.argv[1:] if word != "--debug"], prog_name="limbeck", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except LimbeckError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on where it was", 75)
    except SystemExit as ended:  # Typer's own answer to a reader that has left is exit 1
        sys.exit(0 if isinstance(ended.__context__, BrokenPipeError) else ended.code)
    except BrokenPipeError:  # the reader of our output (head, less) has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, a folder that may not be written or read
        if debug or error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror}; free some space or choose another folder (--debug shows where)", 2)
    except Exception as error:
        # Typer's usage errors are click's, which some versions of Typer carry a copy of: told by their shape, not class.
        if not hasattr(error, "format_message"):
            if type(error).__name__ == "Abort":
                _fail("interrupted; the same command goes on where it was", 75)
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            sys.exit(0)
        _fail(error.format_message(), 2)
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(text: str, code: int) -> None:
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(code)


def _quiet(as_json: bool) -> None:
    if as_json:
        from limbeck.console import set_quiet

        set_quiet(True)


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        seeds = [int(piece) for piece in text.split(",")]
    except ValueError:
        raise InputError(f"--seeds {text}: expected whole numbers with commas, such as 0,1,2") from None
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds {text}: expected different numbers, none negative")
    return seeds


def _recipe_for(given: str, out: Path | None, changes: list[str] | None, *, keep: bool = True) -> tuple[Any, Path]:
    from limbeck.pipeline.start import is_bare_data, open_recipe, parse_changes

    parsed = parse_changes(changes or [])
    if is_bare_data(given):
        from limbeck.pipeline.new import recipe_for_data

        return recipe_for_data(given, out=out, changes=parsed, keep=keep)
    recipe, folder = open_recipe(given, parsed)
    return recipe, out or folder


def _run(
    given: str,
    out: Path | None,
    changes: list[str] | None,
    *,
    as_json: bool,
    until: str | None = None,
    seeds: list[int] | None = None,
) -> None:
    _quiet(as_json)
    recipe, folder = _recipe_for(given, out, changes)
    from limbeck.pipeline.run import SEEDS, run_students

    if (
        seeds is None and until is None and Path(given) == folder and (folder / SEEDS).exists()
    ):  # a run of several seeds goes on as one
        from limbeck.files import read_json

        seeds = read_json(folder / SEEDS)

    summary = run_students(recipe, folder, until=until, seeds=seeds)
    if as_json and os.environ.get("RANK", "0") == "0":  # under torchrun one process answers
        print(json.dumps(summary, indent=2))


def _plan_text(tree: dict[str, Any]) -> str:
    lines = [f"{'stage':<22}{'steps':>9}{'candidates':>12}{'minutes':>10}"]
    for row in tree["stages"]:
        lines.append(f"{row['stage']:<22}{row['steps'] or '':>9}{row['candidates'] or '':>12}{row['minutes']:>10.1f}")
    lines.append(f"{'in all':<22}{'':>21}{tree['minutes']:>10.1f}   disk {tree['disk_bytes'] / 1e6:.0f} MB")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
