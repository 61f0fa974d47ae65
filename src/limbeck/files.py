"""Files that are whole or absent: atomic writes, JSON, fingerprints, and a lock. No knowledge of what the files mean."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from limbeck.errors import InputError

__all__ = [
    "atomic_path",
    "file_sha256",
    "fingerprint",
    "hold_lock",
    "read_json",
    "read_lines",
    "write_json",
    "write_text",
]

_HELD: set[Path] = set()  # record locks do not exclude a second holder in the same process


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on a clean exit it is synced and renamed over `path`, else removed.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:  # the rename itself must survive a power cut
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write ({error.strerror or error}); free some space or choose another folder"
        ) from error
    finally:
        with suppress(OSError):  # a parent that is a file was told above
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; NaN and infinity are refused (they are not JSON)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file.

    Raises:
        InputError: the file cannot be read, or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as text ({getattr(error, 'strerror', None) or error})") from error


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except RecursionError as error:
        raise InputError(f"{path}: not readable as JSON (nested too deep)") from error
    except (ValueError, OSError) as error:  # also of text that is no UTF-8, and of numbers of thousands of digits
        raise InputError(f"{path}: not readable as JSON ({error})") from error


def fingerprint(value: Any) -> str:
    """Hash a JSON-like value; equal values give equal hashes whatever the key order. 16 hex digits.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, hex.

    Raises:
        InputError: the file is missing.
    """
    try:
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error


@contextmanager
def hold_lock(path: str | Path, *, busy: str, on_busy: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file for the block; the system lets it go when this process ends, however it ends.

    A record lock, not `flock`: it does not pass to forked children, so no data-loading process can outlive its parent
    with the lock in its hand.

    Args:
        path: of the lock file; its folder is made.
        busy: what holds it otherwise, as a clause for the error: "another search is at work in this folder".
        on_busy: called each time another process is found to hold it, before it is tried again (so it should sleep);
            None = an error.

    Raises:
        InputError: it is held already, or cannot be written.
    """
    path = Path(path).resolve()
    advice = "wait for it, stop it, or choose another folder"
    if path in _HELD:
        raise InputError(f"{path.parent}: {busy} in this process; {advice}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a+")  # noqa: SIM115 - it is closed below, after the lock is given back
    except OSError as error:
        raise InputError(f"{path.parent}: cannot write ({error.strerror or error}); choose another folder") from error
    with handle:
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if on_busy is None:
                    handle.seek(0)
                    raise InputError(f"{path.parent}: {busy} (process {handle.read().strip()}); {advice}") from error
            on_busy()
        _HELD.add(path)
        try:
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield
        finally:
            _HELD.discard(path)
            fcntl.lockf(handle, fcntl.LOCK_UN)
