"""Stage `export`: the files that are handed over, each proven on the budget's device before it counts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.calibrate import softmax
from limbeck.console import say
from limbeck.errors import InputError
from limbeck.export import EXPORTERS, check_int8, check_metric, check_tensors, quantize_onnx, run_pictures
from limbeck.measure import open_device
from limbeck.parts import find_part
from limbeck.pipeline.calibrate import calibration_figures
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import StageRecord
from limbeck.pipeline.paired import paired_difference
from limbeck.types import Artifact

__all__ = ["export"]

PROOF_PICTURES = 256  # of the tensor gate
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
            artifact, gates, probabilities = _export_proven(context, name, stage, path)
            artifacts[name] = _described(context, artifact)
            parity += gates
            if name == "student" and context.recipe.export.int8 != "off":
                int8 = _export_int8(context, artifact, probabilities, folder)
                parity.append(int8.pop("gate"))
                if int8["withheld"] is None:
                    artifacts["student_int8"] = _described(context, Artifact(**int8.pop("artifact")))
        return {"artifacts": artifacts, "parity": parity, "int8": int8}

    return context.folder.do("export", inputs, work, world=context.world)


def _export_proven(
    context: Context, name: str, stage: str, path: Path
) -> tuple[Artifact, list[dict[str, Any]], np.ndarray]:
    """Export one model in fp32 and hold the file, on the device, against the network's own outputs."""
    network = context.load(stage)
    section = context.recipe.export
    temperature = context.folder.need("calibrate").result["models"][name]["temperature"]
    artifact = find_part("exporter", section.exporter, EXPORTERS, where="export.exporter")(
        network,
        path,
        sample_size=context.splits.image_size,
        temperature=temperature,
        preprocess=section.preprocess,
        class_names=context.splits.class_names,
        fit=context.splits.fit,
        metadata={"task": context.recipe.task, "run": context.recipe.name, "model": name},
    )
    device = open_device(context.recipe.budget.target)
    expected = softmax(context.predictions(stage).test, temperature)
    pictures = _as_input(context.splits.test.pictures(np.arange(len(context.splits.test))), artifact)
    proof = slice(0, PROOF_PICTURES)
    tensors = check_tensors(device, artifact, pictures[proof], expected[proof], tolerance=section.tolerance)
    probabilities = run_pictures(device, artifact, pictures)
    metric = check_metric(
        device, artifact, probabilities, expected, context.splits.test.labels, tolerance=section.tolerance
    )
    gates = [
        {**gate, "model": name, "artifact": _relative(context, artifact.path), "required": True}
        for gate in (tensors, metric)
    ]
    for gate in gates:
        say(f"{name}: {gate['text']}")
    return artifact, gates, probabilities


def _export_int8(context: Context, artifact: Artifact, reference: np.ndarray, folder: Path) -> dict[str, Any]:
    """The student's int8 form; a file that fails its gate stays beside the stage, marked, and is not handed over."""
    section = context.recipe.export
    draft = quantize_onnx(artifact, folder / "withheld_int8.onnx", _calibration(context, artifact))
    device = open_device(context.recipe.budget.target)
    target = context.splits.test.labels
    pictures = _as_input(context.splits.test.pictures(np.arange(len(target))), draft)
    probabilities = run_pictures(device, draft, pictures)
    gate = check_int8(device, draft, probabilities, reference, target, max_drop=section.max_int8_drop)
    say(f"student_int8: {gate['text']}")
    final = context.folder.export / "model_int8.onnx" if gate["passed"] else Path(draft.path)
    if gate["passed"]:
        shutil.move(draft.path, final)
    gate |= {"model": "student_int8", "artifact": _relative(context, final), "required": section.int8 == "require"}
    wide = probabilities.astype(np.float64)
    figures = context.task.figures(np.log(np.maximum(wide, 1e-30)), target)
    figures |= calibration_figures(wide, target, bins=context.recipe.calibrate.bins)
    return {
        "gate": gate,
        "withheld": None if gate["passed"] else gate["text"],
        "artifact": {**vars(draft), "path": str(final)},
        "metrics": {name: float(value) for name, value in figures.items()},
        "paired": paired_difference(probabilities.argmax(1) == target, reference.argmax(1) == target),
    }


def _calibration(context: Context, artifact: Artifact) -> Iterator[np.ndarray]:
    """Training pictures, evenly over the set, unchanged."""
    train = context.splits.train
    if not hasattr(train, "pictures"):
        raise InputError(
            'export.int8: needs training pictures that can be read by number, and this set is streamed; set export.int8 = "off"'
        )
    count = min(context.recipe.export.calibration_pictures, len(train))
    rows = np.linspace(0, len(train) - 1, count).astype(np.int64)
    for start in range(0, count, CALIBRATION_BATCH):
        yield _as_input(train.pictures(rows[start : start + CALIBRATION_BATCH]), artifact)


def _as_input(pictures: np.ndarray, artifact: Artifact) -> np.ndarray:
    """[N, H, W, 3] uint8 -> what the file takes."""
    if artifact.input_dtype == "uint8":
        return pictures
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)


def _described(context: Context, artifact: Artifact) -> dict[str, Any]:
    return {**vars(artifact), "input_shape": list(artifact.input_shape), "path": _relative(context, artifact.path)}


def _relative(context: Context, path: str | Path) -> str:
    return str(Path(path).relative_to(context.folder.path))
