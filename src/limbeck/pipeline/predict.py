"""`limbeck predict`: pictures through an exported model. No torch here, as on the device."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.console import bar, warn
from limbeck.deployed import DeployedModel, load
from limbeck.errors import InputError
from limbeck.pictures import PICTURE_SUFFIXES, UnreadablePicture, decode

__all__ = ["find_pictures", "predict_files", "predictions_csv"]

BATCH = 32


def find_pictures(paths: list[Path]) -> list[Path]:
    """Files as given; folders replaced by the pictures in them, sorted.

    Raises:
        InputError: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
            if not inside:
                raise InputError(f"{path}: no pictures in it (known endings: {', '.join(sorted(PICTURE_SUFFIXES))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file")
    return found


def predict_files(model: str, files: list[Path], *, output: Path | None = None) -> list[dict[str, Any]]:
    """Classify pictures; those that cannot be read are named in a warning and left out.

    Args:
        model: a run folder or an ONNX file.
        files: pictures, or folders of them.
        output: where the caller will write the rows; told before the work when that cannot be.

    Returns:
        Per picture `file`, `label`, `confidence`, and `probabilities` by class name.

    Raises:
        InputError: the model or a path cannot be used, or no picture could be read.
    """
    if output is not None and output.is_dir():
        raise InputError(f"{output}: a folder; -o takes the CSV file to write")
    deployed = load(model)
    rows = list(_rows(deployed, find_pictures(files)))
    if not rows:
        raise InputError("none of the pictures could be read")
    return rows


def _rows(deployed: DeployedModel, paths: list[Path]) -> Iterator[dict[str, Any]]:
    with bar("predict", len(paths), unit="picture") as progress:
        for start in range(0, len(paths), BATCH):
            chunk, pictures = [], []
            for path in paths[start : start + BATCH]:
                try:
                    pictures.append(decode(path))
                    chunk.append(path)
                except UnreadablePicture as error:
                    warn(f"left out: {error}")
            if pictures:
                prediction = deployed.predict(pictures)
                for path, label, probabilities in zip(chunk, prediction.labels, prediction.probabilities, strict=True):
                    named = {n: round(float(p), 6) for n, p in zip(deployed.class_names, probabilities, strict=True)}
                    yield {
                        "file": str(path),
                        "label": label,
                        "confidence": round(float(probabilities.max()), 6),
                        "probabilities": named,
                    }
            progress.advance(len(paths[start : start + BATCH]))


def predictions_csv(rows: list[dict[str, Any]]) -> str:
    """One line per picture: file, label, confidence, then the probability of every class."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["file", "label", "confidence", *rows[0]["probabilities"]])
    for row in rows:
        writer.writerow([row["file"], row["label"], row["confidence"], *row["probabilities"].values()])
    return buffer.getvalue()
