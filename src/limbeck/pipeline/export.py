"""Stage `export`: the files that are handed over, each proven on the budget's device before it counts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.console import say
from limbeck.data import PictureStream
from limbeck.export import EXPORTERS, quantize_onnx
from limbeck.measure import open_device
from limbeck.parts import find_part
from limbeck.pictures import fit_picture
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.problems import Case, Kept, as_input
from limbeck.types import Artifact

__all__ = ["export"]

CALIBRATION_BATCH = 32


def export(context: Context, models: dict[str, str], upstream: dict[str, Any]) -> StageRecord:
    """Export every trained model; the student's fp32 and int8 forms go to the run's `export/`, the others beside the stage."""
    inputs = context.inputs("data", "export", target=context.recipe.budget.target, **upstream)

    def work(folder: Path) -> dict[str, Any]:
        artifacts: dict[str, dict[str, Any]] = {}
        parity: list[dict[str, Any]] = []
        int8: dict[str, Any] | None = None
        shutil.rmtree(context.folder.export, ignore_errors=True)
        for name, stage in models.items():
            path = context.folder.export / "model.onnx" if name == "student" else folder / f"{name}.onnx"
            case = _case(context, name, stage)
            graph, artifact, gates, said = _export_proven(context, name, case, path, folder)
            artifacts[name] = _described(context, artifact)
            parity += gates
            if name == "student" and context.recipe.export.int8 != "off":
                int8 = _export_int8(context, graph, said, case, folder)
                parity.append(int8.pop("gate"))
                if int8["withheld"] is None:
                    artifacts["student_int8"] = _described(context, Artifact(**int8.pop("artifact")))
        return {"artifacts": artifacts, "parity": parity, "int8": int8}

    return context.folder.do("export", inputs, work, world=context.world, also=context.folder.export)


def _case(context: Context, name: str, stage: str) -> Case:
    """One model, and what its files are held against."""
    return Case(
        device=open_device(context.recipe.budget.target),
        network=context.load(stage),
        kept=context.predictions(stage).test,
        pictures=context.splits.test,
        temperature=context.folder.need("calibrate").result["models"][name]["temperature"],
        export=context.recipe.export,
    )


def _export_proven(
    context: Context, name: str, case: Case, path: Path, folder: Path
) -> tuple[Artifact, Artifact, list[dict[str, Any]], Kept]:
    """Export one model in fp32 and hold it, on the device, against the network's own outputs.

    Returns:
        the graph, the file that is handed over, the gates, and what the file says of the test pictures.
    """
    section, problem = context.recipe.export, context.problem
    graph = find_part("exporter", section.exporter, EXPORTERS, where="export.exporter")(
        case.network,
        folder / f"{name}_graph.onnx" if problem.finishes(section) else path,
        sample_size=context.splits.image_size,
        temperature=case.temperature,
        preprocess=section.preprocess,
        class_names=context.splits.class_names,
        fit=context.splits.fit,
        metadata={
            "task": context.recipe.task,
            "run": context.recipe.name,
            "model": name,
            **problem.facts(context.recipe),
            **context.folder.need("calibrate").result["models"][name].get("facts", {}),
        },
        **problem.exporting(),
    )
    artifact = problem.finish(graph, path, section)
    gates, said = problem.prove(graph, artifact, case)
    gates = [
        {**gate, "model": name, "artifact": _relative(context, gate["artifact"]), "required": True} for gate in gates
    ]
    for gate in gates:
        say(f"{name}: {gate['text']}")
    return graph, artifact, gates, said


def _export_int8(context: Context, graph: Artifact, said: Kept, case: Case, folder: Path) -> dict[str, Any]:
    """The student's int8 form; a file that fails its gate stays beside the stage, marked, and is not handed over."""
    section, problem = context.recipe.export, context.problem
    withheld = folder / "withheld_int8.onnx"
    draft = folder / "student_int8_graph.onnx" if problem.finishes(section) else withheld
    artifact = problem.finish(
        quantize_onnx(graph, draft, _calibration(context, graph), method=section.int8_ranges), withheld, section
    )
    gate, found = problem.prove_int8(artifact, said, case)
    say(f"student_int8: {gate['text']}")
    final = context.folder.export / "model_int8.onnx" if gate["passed"] else Path(artifact.path)
    if gate["passed"]:
        shutil.move(artifact.path, final)
    gate |= {"model": "student_int8", "artifact": _relative(context, final), "required": section.int8 == "require"}
    return {
        "gate": gate,
        "withheld": None if gate["passed"] else gate["text"],
        "artifact": {**vars(artifact), "path": str(final)},
        "metrics": problem.file_figures(found, case.pictures, bins=context.recipe.calibrate.bins),
        "paired": problem.compare(found, said, case.pictures),
    }


def _calibration(context: Context, artifact: Artifact) -> Iterator[np.ndarray]:
    """Training pictures, unchanged: evenly over the set, or the first of a stream's shuffled order."""
    train = context.splits.train
    count = min(context.recipe.export.calibration_pictures, len(train))
    if isinstance(train, PictureStream):
        for samples in replace(train, count=count).chunks(0, CALIBRATION_BATCH, seed=context.recipe.seed):
            read = [fit_picture(picture, train.image_size, train.fit) for _, picture, _ in train.read_all(samples)]
            yield as_input(np.stack(read), artifact)
        return
    rows = np.linspace(0, len(train) - 1, count).astype(np.int64)
    for start in range(0, count, CALIBRATION_BATCH):
        yield as_input(train.samples(rows[start : start + CALIBRATION_BATCH]), artifact)


def _described(context: Context, artifact: Artifact) -> dict[str, Any]:
    return {**vars(artifact), "input_shape": list(artifact.input_shape), "path": _relative(context, artifact.path)}


def _relative(context: Context, path: str | Path) -> str:
    return str(Path(path).relative_to(context.folder.path))
