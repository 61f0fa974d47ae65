"""Stopping a search on request without tearing its ledger. Nothing here knows what is being stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "StopSignals"]


class StopRequest(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived. Not an `Exception`, so that no evaluation can swallow it as a failure of its own."""


class StopSignals:
    """Turns SIGINT and SIGTERM into `StopRequest`, but only where the driver can be left.

    Inside `interruptible()` (a candidate is timed or trained) the request is raised at once; elsewhere (the ledger is
    being written) it waits for the next `interruptible()` or `check()`.
    """

    def __init__(self) -> None:
        self._asked: str | None = None
        self._may_raise = False

    @contextmanager
    def listening(self) -> Iterator[StopSignals]:
        """Install the handlers (in the main thread only: elsewhere Python has none) and put the former ones back."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a request interrupt what runs inside."""
        self.check()
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False

    @property
    def asked(self) -> str:
        """What asked to stop: the signal's name, also where a library made a plain interrupt of it on its way."""
        return self._asked or "an interrupt"

    def check(self) -> None:
        """Raise a request that has been waiting.

        Raises:
            StopRequest: a signal has arrived.
        """
        if self._asked:
            raise StopRequest(self._asked)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._asked = signal.Signals(number).name
        if self._may_raise:
            raise StopRequest(self._asked)
