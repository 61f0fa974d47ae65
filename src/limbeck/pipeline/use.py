"""`limbeck evaluate` and `limbeck measure FILE`: exported models on other data and on any target."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from limbeck.console import bar
from limbeck.deployed import DeployedModel, load, read_artifact
from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pictures import Fit

__all__ = ["evaluate_model", "match_classes", "measure_anything", "measurement_text"]

BINS = 15  # of the calibration error


def evaluate_model(model: str, data: str, *, target: str = "onnxruntime") -> dict[str, Any]:
    """Figures of an exported model on every labelled picture of a data set, by its task.

    Args:
        model: a run folder or an ONNX file.
        data: of a classifier a folder with one sub-folder per class, a table with image and label columns, or a data set's
            name; else what the run's own reader takes, or a layout that can be told by its files.
        target: the device to run it on.

    Raises:
        InputError: the model or the data cannot be used, or the data has classes that the model does not know.
    """
    from limbeck.measure import open_device
    from limbeck.pipeline.problems import PROBLEMS, open_problem
    from limbeck.tasks import TASKS, open_task

    deployed = load(model)
    kind = deployed.task if deployed.task in PROBLEMS else "classification"
    kind = "modulation" if deployed.takes_signals else kind
    if deployed.takes_signals:
        pictures = _judged_signals(model, deployed, data)
    else:
        pictures = _judged_pictures(model, deployed, data, getattr(TASKS[kind], "target_kind", "class"))
    known: dict[str, Any] = {"num_classes": len(deployed.class_names), "image_size": deployed.input_size}
    scheme = getattr(getattr(pictures, "targets", None), "scheme", None)
    task = open_task(kind, **known, **({} if scheme is None else {"scheme": scheme}))
    problem = open_problem(kind, task, deployed.class_names)
    device = open_device(target)
    artifact = read_artifact(deployed.path)

    def run(batch: np.ndarray) -> np.ndarray:
        return deployed.finish(device.run(artifact, deployed.prepare(batch)))

    with bar("evaluate", len(pictures), unit=problem.samples.removesuffix("s")) as progress:
        said = problem.read(run, pictures, tell=progress.advance)
    figures = problem.file_figures(said, pictures, bins=BINS)
    return {"model": str(deployed.path), "data": data, problem.samples: len(pictures), **figures}


def _judged_pictures(model: str, deployed: DeployedModel, data: str, kind: Any) -> Any:
    """The pictures to judge a model on, with its own classes."""
    from limbeck.data import read_labelled
    from limbeck.data.annotated import find_annotated, read_annotated

    form: dict[str, Any] = {"image_size": deployed.input_size, "fit": cast(Fit, deployed.fit)}
    if kind == "class":
        pictures = read_labelled(data, **form)
        return replace(pictures, labels=match_classes(pictures.class_names, deployed, where=data)[pictures.labels])
    recipe = Path(model) / "recipe.json"
    name, fields = find_annotated(data, kind), {}
    options = _crop_of(deployed) if name in ("points", "pts") else {}
    if recipe.is_file():  # read as the run read its own
        section = read_json(recipe)["data"]
        name, options = section["name"], section["options"]
        fields = {field: section[field] for field in ("image_column", "label_column", "group_by") if field in section}
    pictures = read_annotated(data, kind=kind, name=name, fields=fields, options=options, **form)
    if pictures.class_names != deployed.class_names:
        ours, theirs = (
            ", ".join(names[:20]) + (f" ... ({len(names)} in all)" if len(names) > 20 else "")
            for names in (deployed.class_names, pictures.class_names)
        )
        raise InputError(
            f"{data}: its classes are {theirs}; the model's are {ours}, and both must be the same, in order"
        )
    return pictures


def _crop_of(deployed: DeployedModel) -> dict[str, Any]:
    """How a file of landmarks wants pictures cut and errors divided, as its reader's options; it says so itself."""
    crop = dict(deployed.metadata.get("crop") or {"policy": "none"})
    policy = crop.pop("policy")
    if policy == "detector_box":
        raise InputError(
            f"{deployed.path}: was trained on a detector's boxes, and a file alone does not know them; give the run's folder"
        )
    own = deployed.metadata.get("normalizers")
    return {"crop": policy, **crop, **({} if own is None else {"normalizers": own})}


def _judged_signals(model: str, deployed: DeployedModel, data: str) -> Any:
    """The frames to judge a model on, with its own classes; recordings are cut as the run cut its own."""
    from limbeck.data.readers import read_any
    from limbeck.data.signal_readers import find_signals
    from limbeck.data.signal_splits import all_signals
    from limbeck.pipeline.recordings import find_reading

    path, length = Path(data).expanduser(), deployed.input_size[1]
    name = find_signals(path)
    options = {"frame_length": length, **find_reading(model, deployed)} if name == "sigmf" else {}
    frames = all_signals(read_any(name, {"path": data}, options=options), name=path.name)
    if frames.image_size[1] != length:
        raise InputError(f"{data}: its frames have {frames.image_size[1]} samples; the model takes {length}")
    return replace(frames, labels=match_classes(frames.class_names, deployed, where=data)[frames.labels])


def match_classes(names: tuple[str, ...], deployed: DeployedModel, *, where: str) -> np.ndarray:
    """[data classes] -> index in the model's classes, by name.

    Raises:
        InputError: the data has a class that the model does not know.
    """
    known = {name: index for index, name in enumerate(deployed.class_names)}
    missing = [name for name in names if name not in known]
    if missing:
        knows = ", ".join([*known][:10]) + (" ..." if len(known) > 10 else "")
        raise InputError(f"{where}: the model does not know the class {', '.join(missing[:5])} (it knows {knows})")
    return np.array([known[name] for name in names])


def measure_anything(thing: str, *, target: str, runs: int, size: int | None) -> dict[str, Any]:
    """Time an ONNX file, or a model by name (with random weights, exported first), on a target; `size` as the command has it.

    Raises:
        InputError: no such file or model, or the target cannot be opened.
    """
    from limbeck.measure import measure_artifacts, open_device

    device = open_device(target)
    if Path(thing).suffix == ".onnx":
        artifact = read_artifact(thing)
        (measurement,) = measure_artifacts(device, [artifact], warmup=30, runs=runs)
        return measurement.as_json()
    if Path(thing).exists():
        raise InputError(f"{thing}: not an ONNX file, a recipe or a run folder")
    from limbeck.export import export_probe
    from limbeck.models import create_model
    from limbeck.models.signal import find_signal

    network = create_model(thing, input_size=size or (128 if find_signal(thing) else 224))
    height, width = network.input_size
    with tempfile.TemporaryDirectory() as scratch:
        artifact = export_probe(network, Path(scratch) / "probe.onnx", sample_size=network.input_size)
        (measurement,) = measure_artifacts(device, [artifact], warmup=30, runs=runs)
    return {
        **measurement.as_json(),
        "artifact": f"{thing} at {height} x {width}, random weights",
        "params": network.params(),
        "macs": network.macs(),
    }


def measurement_text(record: dict[str, Any]) -> str:
    """What `measure_anything` found, in three lines."""
    latency, memory = record["latency_ms"], record["peak_memory_bytes"]
    lines = [
        f"{record['artifact']} on {record['device']} "
        f"({record['runtime']} {record['runtime_version']}, {record['threads']} threads)",
        f"median {latency['median']:.3g} ms, p90 {latency['p90']:.3g} ms, IQR {latency['iqr']:.2g} ms, n = {latency['n']}; "
        f"{record['per_second']:,.0f} per second",
        f"file {record['size_bytes'] / 1e6:.2f} MB" + (f", peak memory {memory / 1e6:.1f} MB" if memory else ""),
    ]
    if not record["steady"]:
        lines.append(
            f"not steady: the last third ran at {record['drift']:.2f} x the first; measure again on an idle device"
        )
    return "\n".join(lines)
