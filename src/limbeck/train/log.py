"""What a training writes as it goes: `log.jsonl` and TensorBoard events, continued exactly where a resume begins."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from limbeck.console import warn

__all__ = ["TrainingLog", "finite"]


class TrainingLog:
    """One JSON line per record, flushed as written.

    Args:
        folder: gets `log.jsonl` and `tensorboard/`.
        length: bytes of `log.jsonl` to keep: what had been written when the checkpoint was; later lines are dropped.
        step: first step that is written now; TensorBoard forgets what an earlier process showed from there on.
        tensorboard: whether to write events.
    """

    def __init__(self, folder: Path, *, length: int = 0, step: int = 0, tensorboard: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "log.jsonl"
        if path.exists() and path.stat().st_size > length:
            os.truncate(path, length)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._events = _open_events(folder / "tensorboard", step) if tensorboard else None

    def write(self, kind: str, record: dict[str, Any]) -> None:
        """Write one line, its `step` and its numbers (also those of inner records) to TensorBoard."""
        record = finite(record)
        self._file.write(json.dumps({"kind": kind, **record}, allow_nan=False) + "\n")
        self._file.flush()
        if self._events is None:
            return
        for key, value in _numbers(record):
            self._events.add_scalar(f"{kind}/{key}", value, record["step"])

    def settle(self) -> int:
        """Bring every line to the disk and return the length of `log.jsonl` in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close both; nothing is written afterwards."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def _open_events(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # 0.2 s, and seconds where TensorFlow is installed
    except ImportError as error:
        warn(f"no TensorBoard events are written ({error}); log.jsonl holds the same figures")
        return None
    return SummaryWriter(str(folder), purge_step=step or None)


def _numbers(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for key, value in record.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and key not in ("step", "epoch"):
            found.append((prefix + key, value))
    return found


def finite(value: Any) -> Any:
    """The same JSON-like value with None for every NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
