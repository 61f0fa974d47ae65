"""`limbeck predict`: pictures through an exported model. No torch here, as on the device."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.console import bar, warn
from limbeck.deployed import ClassMaps, DeployedModel, FoundBoxes, FoundPoints, Prediction, load, save_map
from limbeck.deployed.points import Box, crop_window
from limbeck.errors import InputError
from limbeck.files import write_json, write_text
from limbeck.pictures import PICTURE_SUFFIXES, decode, find_by_path_end, list_pictures

__all__ = ["find_pictures", "predict_files", "predictions_csv", "read_boxes", "save_predictions"]

BATCH = 32
SHARES = "shares.csv"  # beside the maps of a segmenter
BOX_COLUMNS = ("file", "label", "score", "x1", "y1", "x2", "y2")


class ListedBox(NamedTuple):
    """A line of a file of boxes: what picture it is of, left, top, right, bottom in its pixels, and where it stands."""

    name: str
    edges: tuple[float, float, float, float]
    where: str


def find_pictures(paths: list[Path]) -> list[Path]:
    """Files as given; folders replaced by the pictures in them (`list_pictures`), sorted.

    Raises:
        InputError: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(map(Path, list_pictures(path)))
            if not inside:
                raise InputError(f"{path}: no pictures in it (known endings: {', '.join(sorted(PICTURE_SUFFIXES))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file")
    return found


def predict_files(
    model: str,
    files: list[Path],
    *,
    output: Path | None = None,
    overwrite: bool = False,
    boxes: Path | None = None,
) -> list[dict[str, Any]]:
    """Say what is in pictures; those that cannot be read are named in a warning and left out. Of signals see
    `predict_signals`.

    Args:
        model: a run folder or an ONNX file.
        files: pictures, or folders of them; of a model of signals recordings or sets of frames.
        output: where `save_predictions` will write the rows, told before the work when that cannot be; of a segmenter a
            folder, in which each picture's class map is written already.
        overwrite: whether SigMF metadata that is there already may be replaced.
        boxes: of a model of landmarks, where faces or things are (`read_boxes`); a picture in several rows has several.

    Returns:
        of a classifier per picture `file`, `label`, `confidence`, and `probabilities` by class name; of a segmenter per
        picture `file`, `map` (where it was written, or None), and `shares` of the pixels by class name; of a detector per
        box `file`, `label`, `score`, and `x1`, `y1`, `x2`, `y2` in pixels; of landmarks per picture or box `file`, `points`
        as `x0`, `y0`, `x1` ... in pixels, and `radii` of their error bars as `r0`, `r1` ... where the file has them.

    Raises:
        InputError: the model or a path cannot be used, or no picture could be read.
    """
    deployed = load(model)
    if deployed.takes_signals:
        if boxes is not None:
            raise InputError("--boxes: a model of signals takes recordings or frames; leave it out")
        from limbeck.pipeline.annotations import check_annotations
        from limbeck.pipeline.predict_signals import predict_signals

        check_annotations(files, output, overwrite=overwrite)
        return predict_signals(deployed, files, model=model)
    maps = output if deployed.task == "segmentation" else None
    if output is not None and maps is None and output.is_dir():
        raise InputError(f"{output}: a folder; -o takes the CSV file to write")
    if maps is not None and maps.is_file():
        raise InputError(f"{maps}: a file; -o takes the folder to write class maps in")
    if boxes is not None and deployed.task != "landmarks":
        raise InputError(f"--boxes: a model for {deployed.task} takes whole pictures; leave it out")
    pictures, places = find_pictures(files), None
    if boxes is None and deployed.task == "landmarks" and "crop" in deployed.metadata:
        warn("without --boxes each picture is taken for a crop, as the model was trained on")
    if boxes is not None:
        pictures, places = _with_boxes(pictures, read_boxes(boxes), boxes)
    named: dict[Path, str] = {}
    if maps is not None:
        stems = Counter(path.stem for path in pictures)
        named = {path: f"{path.stem}.png" if stems[path.stem] == 1 else f"{path.name}.png" for path in pictures}
        if len(set(named.values())) < len(named):
            raise InputError("pictures of equal names in different folders: their maps would overwrite each other")

    def rows_of(path: Path, said: Any, place: int) -> Iterator[dict[str, Any]]:
        if isinstance(said, ClassMaps):
            target = None if maps is None else maps / named[path]
            if target is not None:
                save_map(said.maps[place], target, said.class_names)
            alone = ClassMaps([said.maps[place]], said.class_names)
            shares = zip(said.class_names, alone.shares()[0].round(6).tolist(), strict=True)
            yield {"file": str(path), "map": None if target is None else str(target), "shares": dict(shares)}
        elif isinstance(said, FoundBoxes):
            for label, score, box in zip(said.labels[place], said.scores[place], said.boxes[place], strict=True):
                corners = dict(zip(BOX_COLUMNS[3:], box.astype(float).round(2).tolist(), strict=True))
                yield {"file": str(path), "label": label, "score": round(float(score), 6), **corners}
        elif isinstance(said, FoundPoints):
            yield _pointed(path, said, place)
        else:
            yield _classified(path, said, place, deployed.class_names)

    read, rows = 0, []
    for path, said, place in _answers(deployed, pictures, places):
        read += 1
        rows += rows_of(path, said, place)
    if not read:
        raise InputError(
            "none of the pictures could be read" + (", or none shows its box" if boxes is not None else "")
        )
    return rows


def _classified(path: Path, said: Prediction, place: int, class_names: tuple[str, ...]) -> dict[str, Any]:
    probabilities = said.probabilities[place]
    return {
        "file": str(path),
        "label": said.labels[place],
        "confidence": round(float(probabilities.max()), 6),
        "probabilities": {n: round(float(p), 6) for n, p in zip(class_names, probabilities, strict=True)},
    }


def _pointed(path: Path, said: FoundPoints, place: int) -> dict[str, Any]:
    pairs = enumerate(said.points[place].astype(float).round(3).tolist())
    row: dict[str, Any] = {"file": str(path)}
    row["points"] = {f"{axis}{i}": value for i, pair in pairs for axis, value in zip("xy", pair, strict=True)}
    if said.radii is not None:
        row["radii"] = {f"r{i}": value for i, value in enumerate(said.radii[place].astype(float).round(3).tolist())}
    return row


def read_boxes(file: Path) -> list[ListedBox]:
    """The boxes of a CSV file with the columns `name`, `x1`, `y1`, `x2`, `y2`, in pixels; `name` is the end of a picture's
    path.

    Raises:
        InputError: it cannot be read, is of another form, or a box is none.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot read the boxes ({getattr(error, 'strerror', None) or error})") from error
    found = []
    for number, row in enumerate(rows, start=2):
        where = f"{file}, line {number}"
        try:
            left, top, right, bottom = (float(row[column]) for column in BOX_COLUMNS[3:])
            name = Path(row["name"]).as_posix()
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: expected the columns name, x1, y1, x2, y2 and numbers in them ({error!r})"
            ) from error
        if not (math.isfinite(left + top + right + bottom) and left < right and top < bottom):
            raise InputError(
                f"{where}: the box of {name} is {left:g}, {top:g}, {right:g}, {bottom:g}; expected x1 < x2 and y1 < y2"
            )
        found.append(ListedBox(name, (left, top, right, bottom), where))
    if not found:
        raise InputError(f"{file}: holds no boxes; expected the columns name, x1, y1, x2, y2")
    return found


def _with_boxes(paths: list[Path], boxes: list[ListedBox], file: Path) -> tuple[list[Path], list[ListedBox]]:
    """The pictures that have boxes, once for each; the others are named in a warning."""
    known: dict[str, list[ListedBox]] = {}
    for box in boxes:
        known.setdefault(box.name, []).append(box)
    pictures, places = [], []
    for path in paths:
        here = find_by_path_end(path, known) or []
        if not here:
            warn(f"left out: {path}: no box in {file}")
        pictures += [path] * len(here)
        places += here
    if not pictures:
        raise InputError(f"{file}: has no box of any of these pictures; its names must be the ends of their paths")
    return pictures, places


def _answers(
    deployed: DeployedModel, paths: list[Path], boxes: list[ListedBox] | None = None
) -> Iterator[tuple[Path, Any, int]]:
    """Each picture that can be read, with its batch's answer and its place there."""
    crop = deployed.metadata.get("crop") or {}
    with bar("predict", len(paths), unit="picture") as progress:
        for start in range(0, len(paths), BATCH):
            chunk, pictures = [], []
            places: list[Box] = []
            for number, path in enumerate(paths[start : start + BATCH], start=start):
                try:
                    picture, here = decode(path), []
                    if boxes is not None:
                        here = [boxes[number].edges]
                        crop_window(here[0], crop, picture.shape, where=f"{boxes[number].where}: {path}")
                except InputError as error:
                    warn(f"left out: {error}")
                    continue
                pictures.append(picture)
                chunk.append(path)
                places += here
            if pictures:
                said = deployed.predict(pictures, boxes=places or None)
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
        from limbeck.pipeline.annotations import save_annotations

        save_annotations(rows, output, overwrite=overwrite)
        return
    write_text(output / SHARES if output.is_dir() else output, predictions_csv(rows))


def _spread(row: dict[str, Any]) -> list[tuple[str, Any]]:
    """Columns of a row, its inner dicts' entries in their place; a class may be called as a column is."""
    return [
        cell for name, value in row.items() for cell in (value.items() if isinstance(value, dict) else [(name, value)])
    ]
