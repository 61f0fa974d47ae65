"""Checkpoints that survive a kill at any moment: written whole, one generation kept back, read without running code."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from limbeck.console import say, warn
from limbeck.errors import InputError
from limbeck.files import atomic_path

__all__ = ["load_checkpoint", "remove_checkpoints", "save_checkpoint"]

CURRENT, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


def save_checkpoint(folder: Path, state: dict[str, Any], *, identity: str) -> None:
    """Write tensors and plain values; the checkpoint before this one is kept as `checkpoint.previous.pt`.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    with atomic_path(folder / CURRENT) as temporary:
        try:
            torch.save({"identity": identity, "state": state}, temporary)
        except RuntimeError as error:  # torch's own writer reports a full disk so
            raise OSError(None, str(error).splitlines()[0]) from error
        if (folder / CURRENT).exists():
            os.replace(folder / CURRENT, folder / PREVIOUS)


def load_checkpoint(folder: Path, *, identity: str, name: str) -> dict[str, Any] | None:
    """Read the newest whole checkpoint; None where there is none, or where it is of another training (which is said).

    Raises:
        InputError: there are checkpoints and none can be read.
    """
    for torn in folder.glob(f".{CURRENT}.*.tmp"):  # what a kill in the middle of a write leaves
        torn.unlink(missing_ok=True)
    failure: InputError | None = None
    for path in (folder / CURRENT, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            found = _read(path)
        except InputError as error:
            failure = failure or error
            continue
        if found["identity"] != identity:
            say(f"{name}: {path} is of a training with other settings or data; it is replaced and training starts anew")
            remove_checkpoints(folder)
            return None
        if failure is not None:
            warn(f"{failure}; going on from the one before it")
        return found["state"]
    if failure is not None:
        raise InputError(f"{failure}; delete it to train from the start")
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
            if (broken := archive.testzip()) is not None:
                raise InputError(f"{path}: corrupt checkpoint ({broken} has a wrong checksum)")
        # Loaded on the CPU: the state is copied to wherever the training computes now.
        found = torch.load(path, map_location="cpu", weights_only=True)
        return {"identity": found["identity"], "state": found["state"]}
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: not a checkpoint (it holds more than tensors and plain values)") from error
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: corrupt checkpoint ({reason})") from error


def remove_checkpoints(folder: Path) -> None:
    """Remove both generations."""
    for name in (CURRENT, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
