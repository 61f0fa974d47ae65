"""Recordings for a model: which there are, and how it wants them read, which is written into its file and found there.

Not here: reading them (`data.radio`).
"""

from __future__ import annotations

import inspect as introspection
from pathlib import Path
from typing import Any

from limbeck.console import warn
from limbeck.data.radio.sigmf import find_recordings
from limbeck.data.signal_readers import read_sigmf_set
from limbeck.deployed import DeployedModel
from limbeck.files import read_json
from limbeck.recipe import Data

__all__ = ["ARRAYS", "find_reading", "reading_facts", "recordings_of"]

RECORDINGS = "sigmf"
ARRAYS = (".npy", ".npz")
"""Files of frames, which no reader needs."""


def recordings_of(paths: list[Path]) -> list[Path]:
    """The metadata files behind paths that are no arrays, each once.

    Raises:
        InputError: a path that holds no recording.
    """
    found = [meta for path in paths if path.suffix not in ARRAYS for meta in find_recordings(path)]
    return find_recordings(found) if found else []


def reading_facts(data: Data) -> dict[str, Any]:
    """What a file of signals says of its data: the reader, and of recordings every option by which they were read."""
    reader: dict[str, Any] = {"name": data.name}
    if data.name == RECORDINGS:
        asked = data.model_dump(mode="json")["options"]
        parameters = introspection.signature(read_sigmf_set).parameters.values()
        defaults = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
        reader["options"] = _of_recordings({**defaults, **asked})
    return {"reader": reader}


def find_reading(model: str, deployed: DeployedModel) -> dict[str, Any]:
    """Options of the reader of recordings by which a model's own were read; none where it learned from other data, which
    is told in a line.

    Args:
        model: as the user named it: a run's folder says it too, where the file is older than what it says of itself.
        deployed: the same, opened.
    """
    reader = deployed.metadata.get("reader")
    recipe = Path(model) / "recipe.json"
    if reader is None and recipe.is_file():
        reader = read_json(recipe)["data"]
    if reader is not None and reader["name"] == RECORDINGS:
        return _of_recordings(reader["options"])
    warn(
        f"{deployed.path}: does not say at what sample rate its frames were taken; recordings are read as they are, "
        "their channel 0"
    )
    return {}


def _of_recordings(options: dict[str, Any]) -> dict[str, Any]:
    """Without the length of frames, which is the network's own."""
    return {name: value for name, value in options.items() if name != "frame_length"}
