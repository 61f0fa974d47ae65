"""`limbeck predict`: pictures through an exported model. No torch here, as on the device."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limbeck.console import bar, warn
from limbeck.deployed import ClassMaps, DeployedModel, FoundBoxes, Prediction, load, save_map
from limbeck.errors import InputError
from limbeck.files import write_json, write_text
from limbeck.pictures import PICTURE_SUFFIXES, UnreadablePicture, decode

__all__ = ["find_pictures", "predict_files", "predictions_csv", "save_predictions"]

BATCH = 32
SHARES = "shares.csv"  # beside the maps of a segmenter
BOX_COLUMNS = ("file", "label", "score", "x1", "y1", "x2", "y2")


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


def predict_files(
    model: str, files: list[Path], *, output: Path | None = None, overwrite: bool = False
) -> list[dict[str, Any]]:
    """Say what is in pictures; those that cannot be read are named in a warning and left out. Of signals see
    `predict_signals`.

    Args:
        model: a run folder or an ONNX file.
        files: pictures, or folders of them; of a model of signals recordings or sets of frames.
        output: where `save_predictions` will write the rows, told before the work when that cannot be; of a segmenter a
            folder, in which each picture's class map is written already.
        overwrite: whether SigMF metadata that is there already may be replaced.

    Returns:
        of a classifier per picture `file`, `label`, `confidence`, and `probabilities` by class name; of a segmenter per
        picture `file`, `map` (where it was written, or None), and `shares` of the pixels by class name; of a detector per
        box `file`, `label`, `score`, and `x1`, `y1`, `x2`, `y2` in pixels.

    Raises:
        InputError: the model or a path cannot be used, or no picture could be read.
    """
    deployed = load(model)
    if deployed.takes_signals:
        from limbeck.pipeline.predict_signals import predict_signals, refuse_existing, trained_rate

        refuse_existing(output, overwrite=overwrite)
        return predict_signals(deployed, files, sample_rate=trained_rate(model))
    maps = output if deployed.task == "segmentation" else None
    if output is not None and maps is None and output.is_dir():
        raise InputError(f"{output}: a folder; -o takes the CSV file to write")
    if maps is not None and maps.is_file():
        raise InputError(f"{maps}: a file; -o takes the folder to write class maps in")
    pictures = find_pictures(files)
    named: dict[Path, str] = {}
    if maps is not None:
        stems = [path.stem for path in pictures]
        named = {path: f"{path.stem}.png" if stems.count(path.stem) == 1 else f"{path.name}.png" for path in pictures}
        if len(set(named.values())) < len(named):
            raise InputError("pictures of equal names in different folders: their maps would overwrite each other")

    def rows_of(path: Path, said: Any, place: int) -> Iterator[dict[str, Any]]:
        if isinstance(said, ClassMaps):
            target = None if maps is None else maps / named[path]
            if target is not None:
                save_map(said.maps[place], target, said.class_names)
            shares = zip(said.class_names, said.shares()[place].round(6).tolist(), strict=True)
            yield {"file": str(path), "map": None if target is None else str(target), "shares": dict(shares)}
        elif isinstance(said, FoundBoxes):
            for label, score, box in zip(said.labels[place], said.scores[place], said.boxes[place], strict=True):
                corners = dict(zip(BOX_COLUMNS[3:], box.astype(float).round(2).tolist(), strict=True))
                yield {"file": str(path), "label": label, "score": round(float(score), 6), **corners}
        else:
            yield _classified(path, said, place, deployed.class_names)

    read, rows = 0, []
    for path, said, place in _answers(deployed, pictures):
        read += 1
        rows += rows_of(path, said, place)
    if not read:
        raise InputError("none of the pictures could be read")
    return rows


def _classified(path: Path, said: Prediction, place: int, class_names: tuple[str, ...]) -> dict[str, Any]:
    probabilities = said.probabilities[place]
    return {
        "file": str(path),
        "label": said.labels[place],
        "confidence": round(float(probabilities.max()), 6),
        "probabilities": {n: round(float(p), 6) for n, p in zip(class_names, probabilities, strict=True)},
    }


def _answers(deployed: DeployedModel, paths: list[Path]) -> Iterator[tuple[Path, Any, int]]:
    """Each picture that can be read, with its batch's answer and its place there."""
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
                said = deployed.predict(pictures)
                for place, path in enumerate(chunk):
                    yield path, said, place
            progress.advance(len(paths[start : start + BATCH]))


def predictions_csv(rows: list[dict[str, Any]]) -> str:
    """One line per row, what is by class name spread over a column each; without any row the columns of boxes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    flat = [_spread(row) for row in rows]
    writer.writerow([name for name, _ in flat[0]] if flat else BOX_COLUMNS)
    writer.writerows([value for _, value in row] for row in flat)
    return buffer.getvalue()


def save_predictions(rows: list[dict[str, Any]], output: Path, *, overwrite: bool = False) -> None:
    """Write rows of `predict_files` as CSV: to `output`, or beside the class maps in it; as JSON to a `.json`. What a model
    says of recordings is written as SigMF metadata, to a `.sigmf-meta` or into a folder.
    """
    if output.suffix == ".json":
        write_json(output, rows)
        return
    if output.suffix == ".sigmf-meta" or (rows and "sample_start" in rows[0] and output.suffix != ".csv"):
        from limbeck.pipeline.predict_signals import save_annotations

        save_annotations(rows, output, overwrite=overwrite)
        return
    write_text(output / SHARES if output.is_dir() else output, predictions_csv(rows))


def _spread(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """Columns of a row, its inner dicts' entries in their place; a class may be called as a column is."""
    return [
        cell for name, value in row.items() for cell in (value.items() if isinstance(value, dict) else [(name, value)])
    ]
