"""One driver per folder. Nothing here knows what the driver does."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.errors import InputError

__all__ = ["driver_lock"]

_HELD: set[Path] = set()  # record locks do not exclude a second holder in the same process


@contextmanager
def driver_lock(folder: Path) -> Iterator[None]:
    """Hold `folder/driver.lock`; the system lets it go when this process ends, however it ends.

    A record lock, not `flock`: it does not pass to forked children, so no data-loading process can outlive the driver
    with the lock in its hand.

    Raises:
        InputError: another driver holds it, or the folder cannot be written.
    """
    path = folder.resolve() / "driver.lock"
    busy = "another search is at work in this folder{}; wait for it, stop it, or choose another folder"
    if path in _HELD:
        raise InputError(f"{folder}: {busy.format(' in this process')}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(path, "a+")  # noqa: SIM115 - it is closed below, after the lock is given back
    except OSError as error:
        raise InputError(f"{folder}: cannot write ({error.strerror or error}); choose another folder") from error
    with handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            raise InputError(f"{folder}: {busy.format(f' (process {handle.read().strip()})')}") from error
        _HELD.add(path)
        try:
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield
        finally:
            _HELD.discard(path)
            fcntl.lockf(handle, fcntl.LOCK_UN)
