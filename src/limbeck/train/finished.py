"""What a finished training leaves: the selected weights, and `fit.json` to say that all is there. No training state."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from limbeck.console import say
from limbeck.errors import InputError
from limbeck.files import atomic_path, read_json, write_json
from limbeck.train.checkpoint import remove_checkpoints
from limbeck.train.standing import FitReport

__all__ = ["read_finished", "write_finished"]

REPORT, WEIGHTS = "fit.json", "selected.safetensors"


def write_finished(folder: Path, report: FitReport, weights: dict[str, Tensor], *, identity: str) -> None:
    """Write the weights, then the report, then remove the checkpoints: a kill between any two loses nothing."""
    with atomic_path(folder / WEIGHTS) as temporary:
        try:
            save_file(weights, temporary)
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(None, str(error)) from error
    write_json(folder / REPORT, {"identity": identity, "report": report.as_json()})
    remove_checkpoints(folder)


def read_finished(folder: Path, *, identity: str, name: str) -> tuple[FitReport, dict[str, Tensor]] | None:
    """The report and weights of a training that is done; None where there is none, or one of another training.

    Raises:
        InputError: the report or the weights cannot be read.
    """
    path, weights = folder / REPORT, folder / WEIGHTS
    if not path.exists():
        return None
    record = read_json(path)
    if not isinstance(record, dict) or record.get("identity") != identity:
        say(f"{name}: {path} is of a training with other settings or data; it is replaced")
        path.unlink()
        return None
    try:
        found = load_file(weights)
        report = FitReport(**record["report"])
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise InputError(f"{weights}: missing or corrupt ({error}); delete {path} to train again") from error
    remove_checkpoints(folder)  # a kill may have come between the report and their removal
    return report, found
