"""What a running command says: plain lines on stderr, and one progress bar on a terminal (none elsewhere)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Bar", "bar", "hushed", "is_quiet", "say", "set_quiet", "warn"]

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence `say` and bars (warnings stay): for `--json` and for worker processes."""
    global _quiet
    _quiet = quiet


@contextmanager
def hushed() -> Iterator[None]:
    """Silence `say` and bars for the block: for the many small trainings inside one larger piece of work."""
    before = _quiet
    set_quiet(True)
    try:
        yield
    finally:
        set_quiet(before)


def is_quiet() -> bool:
    """Whether `say` and bars are silenced."""
    return _quiet or int(os.environ.get("RANK", "0")) != 0


def say(text: str) -> None:
    """Print one line of news to stderr."""
    if not is_quiet():
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print one warning line to stderr, also when quiet."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Bar:
    """A progress bar with rate and time left; a silent counter off a terminal."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress = progress
        self._task = task

    def advance(self, steps: float = 1, *, text: str | None = None) -> None:
        """Move on by `steps`, optionally changing the text behind the bar."""
        if self._progress is not None:
            self._progress.update(self._task, advance=steps, **({"note": text} if text is not None else {}))


@contextmanager
def bar(description: str, total: float, *, done: float = 0, unit: str = "step") -> Iterator[Bar]:
    """Show a bar while the block runs; `NO_COLOR` is honoured and nothing is drawn off a terminal."""
    if is_quiet() or not sys.stderr.isatty():
        yield Bar(None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:.1f} {unit}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bar(progress, progress.add_task(description, total=total, completed=done, note=""))
