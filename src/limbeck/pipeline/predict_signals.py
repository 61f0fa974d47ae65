"""`limbeck predict` on signals: recordings and sets of frames through an exported model, and what it says as SigMF.

Not here: pictures (`predict`); reading recordings (`data.radio`).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.console import bar, say, warn
from limbeck.data.radio.sigmf import DATA, META, Recording, Span, find_recordings, open_recording, resample
from limbeck.deployed import DeployedModel
from limbeck.errors import InputError
from limbeck.files import read_json, write_json

__all__ = ["annotated_metadata", "predict_signals", "refuse_existing", "save_annotations", "trained_rate"]

BATCH = 1024
EXTENSION = {"name": "limbeck", "version": "1.0.0", "optional": True}
GENERATOR = "limbeck"


def predict_signals(deployed: DeployedModel, paths: list[Path], *, sample_rate: float | None) -> list[dict[str, Any]]:
    """Say what is in signals, frame by frame, one frame after the other; a rest that is shorter than a frame is left out.

    Args:
        deployed: a model of signals.
        paths: SigMF recordings, folders of them, `.npy` ([N, 2, T], complex [N, T], or complex samples in one row, which
            are cut) or `.npz` (the same as `X`).
        sample_rate: in Hz, that the model was trained at; recordings of another one are resampled. None = as they are.

    Returns:
        per frame `file`, `sample_start` and `sample_count` (in samples of the recording, of its rate), `label`,
        `confidence`, and `probabilities` by class name; of a set of frames `frame` in the place of the former two.

    Raises:
        InputError: a path that is neither, frames of another length, or samples that are not finite or all zeros.
    """
    rows: list[dict[str, Any]] = []
    length = deployed.input_size[1]
    for path in paths:
        if path.suffix in (".npy", ".npz"):
            frames = _read_frames(path, length)
            rows += [
                {"file": str(path), "frame": number, **said}
                for number, said in enumerate(_answers(deployed, frames, path))
            ]
            continue
        for meta in find_recordings(path):
            recording = open_recording(meta)
            rows += _of_recording(deployed, recording, length, sample_rate)
    return rows


def _of_recording(
    deployed: DeployedModel, recording: Recording, length: int, sample_rate: float | None
) -> list[dict[str, Any]]:
    """Rows of one recording; of several interleaved channels the first."""
    samples = resample(recording, Span(0, recording.samples, {}), sample_rate, 0)
    count = len(samples) // length
    if not count:
        raise InputError(f"{recording.path}: {len(samples)} samples are less than one frame of {length}")
    if left := len(samples) - count * length:
        say(f"{recording.path}: the last {left} samples are less than a frame of {length}, and left out")
    ratio = recording.samples / len(samples)  # samples of the recording per sample that the model sees
    edges = np.minimum(np.round(np.arange(count + 1) * length * ratio), recording.samples).astype(np.int64).tolist()
    frames = samples[: count * length].reshape(count, length)
    heard = np.flatnonzero(frames.any(1) & np.isfinite(frames).all(1))
    if len(heard) < count:
        warn(f"{recording.path}: left out: {count - len(heard)} of {count} frames are all zeros, or not finite")
    return [
        {"file": str(recording.path), "sample_start": edges[place], "sample_count": edges[place + 1] - edges[place]}
        | said
        for place, said in zip(heard.tolist(), _answers(deployed, frames[heard], recording.path), strict=True)
    ]


def _answers(deployed: DeployedModel, frames: np.ndarray, path: Path) -> Iterator[dict[str, Any]]:
    with bar("predict", len(frames), unit="frame") as progress:
        for start in range(0, len(frames), BATCH):
            try:
                said = deployed.predict(frames[start : start + BATCH], batch_size=BATCH)
            except InputError as error:
                raise InputError(f"{path}, from frame {start}: {error}") from error
            for label, confidence, probabilities in zip(said.labels, said.confidence, said.probabilities, strict=True):
                by_name = zip(deployed.class_names, probabilities.tolist(), strict=True)
                shares = {name: round(share, 6) for name, share in by_name}
                yield {"label": label, "confidence": round(float(confidence), 6), "probabilities": shares}
            progress.advance(len(said))


def _read_frames(path: Path, length: int) -> np.ndarray:
    """Frames of a file of arrays.

    Raises:
        InputError: it is missing or damaged, or holds no frames.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        found = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
        if not isinstance(found, np.ndarray):
            with found as arrays:
                if "X" not in arrays:
                    raise InputError(f"{path}: no array 'X' (found: {', '.join(arrays) or 'none'})")
                found = arrays["X"]
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: damaged, or no file of plain arrays ({str(error).splitlines()[0]})") from error
    if np.iscomplexobj(found) and found.ndim == 1:
        if len(found) < length:
            raise InputError(f"{path}: {len(found)} samples are less than one frame of {length}")
        return found[: len(found) // length * length].reshape(-1, length)
    return found


def trained_rate(model: str) -> float | None:
    """The sample rate in Hz that a run's frames were resampled to; None where they were not, or where it is unknown."""
    recipe = Path(model) / "recipe.json"
    rate = read_json(recipe)["data"]["options"].get("sample_rate") if recipe.is_file() else None
    return None if rate is None else float(rate)


def annotated_metadata(recording: Path, rows: list[dict[str, Any]], *, stem: str) -> dict[str, Any]:
    """A recording's metadata with an annotation for each frame; earlier ones of ours go, all others stay.

    Args:
        recording: its metadata.
        rows: of `predict_signals`, of this recording.
        stem: name of the file that it is written to; under another one it says where the data is.
    """
    meta = read_json(recording)
    facts = dict(meta["global"])
    known = [one for one in facts.get("core:extensions", []) if one.get("name") != EXTENSION["name"]]
    facts["core:extensions"] = [*known, EXTENSION]
    if stem != recording.stem:
        facts.setdefault("core:dataset", recording.with_suffix(DATA).name)
    ours = [
        {
            "core:sample_start": row["sample_start"],
            "core:sample_count": row["sample_count"],
            "core:label": row["label"],
            "core:generator": f"{GENERATOR} {version('limbeck')}",
            "limbeck:confidence": row["confidence"],
        }
        for row in rows
    ]
    kept = [
        one for one in meta.get("annotations", []) if str(one.get("core:generator", "")).partition(" ")[0] != GENERATOR
    ]
    annotations = sorted([*kept, *ours], key=lambda one: one["core:sample_start"])
    return {**meta, "global": facts, "annotations": annotations}


def refuse_existing(output: Path | None, *, overwrite: bool) -> None:
    """Refuse metadata that is there already, before the work.

    Raises:
        InputError: it is, and may not be replaced.
    """
    if output is not None and output.suffix == META and output.exists() and not overwrite:
        raise InputError(f"{output}: exists; choose another -o, or add --overwrite")


def save_annotations(rows: list[dict[str, Any]], output: Path, *, overwrite: bool = False) -> list[Path]:
    """Write what a model says of recordings as SigMF metadata.

    Args:
        rows: of `predict_signals`.
        output: a file that ends in `.sigmf-meta`, for one recording; or a folder, for any number: each gets its own name
            there.
        overwrite: whether metadata that is there already, the recording's own among it, may be replaced.

    Returns:
        what was written.

    Raises:
        InputError: rows that are of no recordings, one file for several of them, or a file that is there already.
    """
    by_file: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "sample_start" not in row:
            raise InputError(f"{row['file']}: is no recording, so that no annotations can be written; take -o NAME.csv")
        by_file.setdefault(row["file"], []).append(row)
    is_file = output.suffix == META
    if is_file and len(by_file) > 1:
        raise InputError(f"{output}: one file for {len(by_file)} recordings; give a folder")
    targets = {file: output if is_file else output / Path(file).name for file in by_file}
    if len(set(targets.values())) < len(targets):
        raise InputError(f"{output}: recordings of equal names would overwrite each other; write them one by one")
    for target in targets.values():
        refuse_existing(target, overwrite=overwrite)
    for file, found in by_file.items():
        write_json(targets[file], annotated_metadata(Path(file), found, stem=targets[file].stem))
    return list(targets.values())
