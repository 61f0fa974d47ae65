"""The lock that keeps two timings of ours on one machine from running at once. No timing here."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limbeck.console import say
from limbeck.errors import InputError

try:
    import fcntl
except ImportError:  # no such lock on Windows: there, two timings at once are the user's to avoid
    fcntl = None  # type: ignore[assignment]

__all__ = ["exclusive", "lock_path"]


def lock_path() -> Path:
    """The lock file of this machine: one per user, since another user's file may not be opened."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"limbeck-timing-{user}.lock"


@contextmanager
def exclusive() -> Iterator[tuple[int, ...]]:
    """Wait until no other timing of ours runs on this machine, then hold the machine for the block.

    What it promises: no two blocks under `exclusive` overlap, whatever processes they are in. What it cannot promise
    is a quiet machine: whoever trains in the same run must pause first, and foreign load shows in
    `Measurement.steady` and in the p90. Not reentrant. The lock goes when the last holder ends, however it ends.

    Yields:
        File descriptors to hand to a child by `subprocess`'s `pass_fds`, so that the machine stays held until the
        child has ended too, even when this process is killed.

    Raises:
        InputError: the lock file cannot be opened.
    """
    if fcntl is None:
        yield ()
        return
    try:
        descriptor = os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError(f"{lock_path()}: cannot open the lock of timings ({error.strerror or error})") from error
    try:
        _acquire(descriptor)
        yield (descriptor,)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, *, poll_seconds: float = 0.05, tell_after_seconds: float = 1.0) -> None:
    started, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told and time.monotonic() - started > tell_after_seconds:
                say("waiting: another timing runs on this machine")
                told = True
            time.sleep(poll_seconds)
