"""What looking at files gave, kept in a folder until one of them changes. What is looked for: `inspect`, `masks`."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.files import atomic_path, fingerprint

__all__ = ["recall", "remember", "remembered_at"]


def remembered_at(
    kind: str, files: Sequence[Any] | np.ndarray, rows: np.ndarray, cache: Path | None, *more: Any
) -> Path | None:
    """Where it is kept what was found in files; None without a folder for it, or where they are no files.

    The name is made of every file's path, size and time of change, and of bytes that stand in the place of one.

    Args:
        kind: what was found, as the name begins.
        files: paths, or a mixture that begins with one, of which `rows` were looked at.
        rows: [N].
        cache: the folder.
        more: JSON-like; with another one, it is looked for anew.
    """
    if cache is None or not len(rows) or not isinstance(files[int(rows[0])], (str, Path)):
        return None
    entries: list[list[Any]] = []
    for row in rows:
        path = files[int(row)]
        if isinstance(path, bytes):
            entries.append([int(row), hashlib.sha256(path).hexdigest()])
            continue
        if not isinstance(path, (str, Path)):
            return None
        try:
            state = os.stat(path)
            entries.append([int(row), str(path), state.st_size, state.st_mtime_ns])
        except (OSError, ValueError):  # the latter where it holds what no path can
            entries.append([int(row), str(path), -1, -1])
    return Path(cache) / f"{kind}-{fingerprint([entries, *more])}.npz"


def remember(place: Path, errors: Mapping[int, str], **found: np.ndarray) -> None:
    """Write what was found, and the reason by row of what could not be used."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, errors=np.frombuffer(json.dumps(dict(errors)).encode(), np.uint8), **found)  # type: ignore[arg-type]
    with atomic_path(place) as temporary:
        temporary.write_bytes(buffer.getvalue())


def recall(place: Path) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """What `remember` wrote: the arrays by name, and the reasons by row."""
    with np.load(place, allow_pickle=False) as stored:
        errors = {int(row): reason for row, reason in json.loads(stored["errors"].tobytes()).items()}
        return {name: stored[name] for name in stored.files if name != "errors"}, errors
