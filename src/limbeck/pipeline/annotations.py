"""What a model says of recordings as SigMF metadata: annotations beside other people's, in files that open where they lie.

Not here: what it says (`predict_signals`), tables of it (`predict`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from limbeck.console import say, warn
from limbeck.data.radio.sigmf import DATA, META, open_recording
from limbeck.errors import InputError
from limbeck.files import read_json, write_json
from limbeck.pipeline.recordings import ARRAYS, recordings_of

__all__ = ["annotated_metadata", "check_annotations", "save_annotations"]

EXTENSION = {"name": "limbeck", "version": "1.0.0", "optional": True}
GENERATOR = "limbeck"
TABLES = (".csv", ".json")


def annotated_metadata(recording: Path, rows: list[dict[str, Any]], *, stem: str) -> dict[str, Any]:
    """A recording's metadata with an annotation for each frame; earlier ones of ours go, all others stay.

    Args:
        recording: its metadata.
        rows: of `predict_signals`, of this recording.
        stem: name of the file that it is written to; under another one it says where the data is.
    """
    meta = read_json(recording)
    facts = dict(meta["global"])
    known = [one for one in _extensions(facts, recording) if one.get("name") != EXTENSION["name"]]
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


def _extensions(facts: Mapping[str, Any], recording: Path) -> list[Mapping[str, Any]]:
    """The extensions that a recording's metadata names.

    Raises:
        InputError: they are no list of objects.
    """
    known = facts.get("core:extensions", [])
    if not isinstance(known, list) or not all(isinstance(one, Mapping) for one in known):
        raise InputError(f"{recording}: core:extensions must be a list of objects, got {known!r}")
    return known


def check_annotations(paths: list[Path], output: Path | None, *, overwrite: bool) -> None:
    """Refuse before the work what `save_annotations` would refuse after it.

    Args:
        paths: that are to be predicted.
        output: None, or where the rows go; a table of any kind has no annotations.
        overwrite: as `save_annotations`.

    Raises:
        InputError: as `save_annotations`, or a recording whose metadata cannot be written again.
    """
    if output is None or output.suffix in TABLES:
        return
    recordings = recordings_of(paths)
    if (recordings or output.suffix == META) and (sets := [path for path in paths if path.suffix in ARRAYS]):
        raise _no_recording(sets[0])
    _targets([str(meta) for meta in recordings], output, overwrite=overwrite)
    for meta in recordings:
        _extensions(open_recording(meta).facts, meta)


def _no_recording(path: str | Path) -> InputError:
    return InputError(f"{path}: is no recording, so that no annotations can be written; take -o NAME.csv")


def _targets(files: list[str], output: Path, *, overwrite: bool) -> dict[str, Path]:
    """Where the metadata of each recording goes.

    Raises:
        InputError: as `save_annotations`.
    """
    is_file = output.suffix == META
    if is_file and len(files) > 1:
        raise InputError(f"{output}: one file for {len(files)} recordings; give a folder")
    targets = {file: output if is_file else output / Path(file).name for file in files}
    if len(set(targets.values())) < len(targets):
        raise InputError(f"{output}: recordings of equal names would overwrite each other; write them one by one")
    for file, target in targets.items():
        if target.exists() and not overwrite:
            raise InputError(f"{target}: exists; choose another -o, or add --overwrite")
        data = _data_of(Path(file))
        if (beside := target.with_name(data.name)).exists() and not beside.samefile(data):
            raise InputError(f"{target}: another {data.name} lies beside it; choose another -o")
    return targets


def _data_of(recording: Path) -> Path:
    facts = open_recording(recording).facts
    return recording.with_name(facts.get("core:dataset") or recording.with_suffix(DATA).name)


def save_annotations(rows: list[dict[str, Any]], output: Path, *, overwrite: bool = False) -> list[Path]:
    """Write what a model says of recordings as SigMF metadata, which opens where it lies.

    SigMF wants the data in the folder of its metadata. In another folder than the recording's it is linked (a further name
    of the same file, no copy); where no link can be made, that is told.

    Args:
        rows: of `predict_signals`.
        output: a file that ends in `.sigmf-meta`, for one recording; or a folder, for any number: each gets its own name
            there.
        overwrite: whether metadata that is there already, the recording's own among it, may be replaced.

    Returns:
        what was written.

    Raises:
        InputError: rows that are of no recordings, one file for several of them, metadata that is there already, or beside
            which other data lies.
    """
    by_file: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if "sample_start" not in row:
            raise _no_recording(row["file"])
        by_file.setdefault(row["file"], []).append(row)
    targets = _targets([*by_file], output, overwrite=overwrite)
    linked = 0
    for file, found in by_file.items():
        target, data = targets[file], _data_of(Path(file))
        write_json(target, annotated_metadata(Path(file), found, stem=target.stem))
        beside = target.with_name(data.name)
        if beside.exists():
            continue
        try:
            os.link(data, beside)
            linked += 1
        except OSError as error:
            why = error.strerror or str(error)
            warn(f"{target}: opens only with {data.name} beside it, which could not be linked there ({why}); copy it")
    if linked:
        say(f"{output}: the data of {linked} recording{'s' * (linked > 1)} is linked beside the metadata")
    return list(targets.values())
