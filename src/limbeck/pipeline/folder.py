"""A run's folder: which stages are done, with what inputs, and who is working in it. Knows nothing of what stages do."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from limbeck.console import say
from limbeck.errors import InputError
from limbeck.files import fingerprint, hold_lock, read_json, write_json
from limbeck.train import World

__all__ = ["RunFolder", "StageRecord"]

FORMAT = 1  # of a stage's report.json; raised when a stage's meaning changes, so that old results, shared ones too, are redone


@dataclass(frozen=True)
class StageRecord:
    """What a finished stage left behind.

    Attributes:
        name: such as `train/teacher`.
        fingerprint: of everything the stage read.
        inputs: what was read, for telling what changed.
        result: the stage's own figures.
        seconds: wall time of the work over all its restarts, but for what a kill cut off before it could be noted.
        files: bytes of each file that it left, by its path in the run's folder.
    """

    name: str
    fingerprint: str
    inputs: dict[str, Any]
    result: dict[str, Any]
    seconds: float
    files: dict[str, int] = field(default_factory=dict)


class RunFolder:
    """One run on disk: `recipe.json`, `stages/<stage>/`, `export/`, `report.json`, `report.html`.

    Args:
        path: the folder.
        home: where runs lie beside each other and share trained teachers; default the folder's parent.
        siblings: runs of the same recipe with other seeds, whose equal stages are copied instead of redone.
    """

    def __init__(self, path: str | Path, *, home: Path | None = None, siblings: tuple[RunFolder, ...] = ()) -> None:
        self.path = Path(path)
        self.home = home or self.path.parent
        self.siblings = siblings
        self.stages = self.path / "stages"
        self.export = self.path / "export"

    def stage(self, name: str) -> Path:
        """Folder of a stage."""
        return self.stages / name

    def record(self, name: str) -> StageRecord | None:
        """What a finished stage left, or None where it is not finished."""
        path = self.stage(name) / "report.json"
        if not path.exists():
            return None
        try:
            tree = read_json(path)
        except InputError as error:
            raise InputError(f"{error}; delete the file to redo the stage") from error
        try:
            files = dict(tree.get("files", {}))
            return StageRecord(
                tree["stage"], tree["fingerprint"], tree["inputs"], tree["result"], tree["seconds"], files
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path}: not a stage report (field {error} is missing); delete the file to redo the stage"
            ) from error

    def need(self, name: str) -> StageRecord:
        """The record of a stage that must be finished.

        Raises:
            InputError: it is not.
        """
        record = self.record(name)
        if record is None:
            raise InputError(f"{self.path}: stage '{name}' is not finished; run the recipe first")
        return record

    def do(
        self,
        name: str,
        inputs: dict[str, Any],
        work: Callable[[Path], dict[str, Any]],
        *,
        world: World | None = None,
        together: bool = False,
        also: Path | None = None,
    ) -> StageRecord:
        """Run a stage, unless it is finished with the same inputs and has its files still; say why when it is redone.

        Every process of a distributed run calls this for the same stages in the same order. What is finished is rank 0's
        to say, and its record is everyone's: processes that judged for themselves could wait for each other for ever.

        Args:
            name: of the stage.
            inputs: everything that the result depends on, JSON-like.
            work: does the stage inside its folder and returns its result; it must go on where it was when called again.
            world: the processes of this run; None = this one alone.
            together: whether all processes work along, or rank 0 alone while the others wait.
            also: a folder of the run, beside the stage's own, whose files are this stage's too.
        """
        world = world or World()
        inputs = {"format": FORMAT, **inputs}
        key = fingerprint(inputs)
        record = world.share(self._finished(name, key, inputs) if world.writes else None)
        if record is not None:
            return record
        folder = self.stage(name)
        begun, before = folder / "begun.json", 0.0
        if world.writes:
            if begun.exists() and read_json(begun)["fingerprint"] != key:  # half done with other inputs
                self._clear(name)
            shutil.rmtree(self._aside(name), ignore_errors=True)  # where a kill left some of it
            before = read_json(begun).get("seconds", 0.0) if begun.exists() else 0.0
            write_json(begun, {"fingerprint": key, "seconds": before})
        world.wait()
        if world.writes or together:
            started = time.perf_counter() - before
            try:
                result = work(folder)
            except BaseException:  # also Stopped and Ctrl-C: the next start goes on counting from here
                if world.writes:
                    with contextlib.suppress(InputError):  # of a full disk, which may be what ended the work
                        write_json(begun, {"fingerprint": key, "seconds": time.perf_counter() - started})
                raise
            record = StageRecord(name, key, inputs, result, round(time.perf_counter() - started, 3))
        if world.writes:
            record = replace(record, files=self._sizes(folder, also))
            tree = {"stage": name, "fingerprint": key, "inputs": inputs, "result": result, "seconds": record.seconds}
            write_json(folder / "report.json", {**tree, "files": record.files})
            begun.unlink()
        return world.share(record)

    def _finished(self, name: str, key: str, inputs: dict[str, Any]) -> StageRecord | None:
        """The record of a stage that was done with the same inputs, here or by a sibling; what is outdated is deleted."""
        done = self.record(name)
        if done is not None and done.fingerprint == key:
            if (lost := self._lost(done)) is None:
                return done
            say(f"{name}: redone, because {lost}")  # what its work can go on with stays: a finished training, a ledger
            (self.stage(name) / "report.json").unlink()
            return None
        if done is not None:
            say(f"{name}: redone, because {changed(done.inputs, inputs)}")
            self._clear(name)
        return self._borrow(name, key)

    def _sizes(self, *folders: Path | None) -> dict[str, int]:
        """Bytes of the files right in some folders; what lies deeper is for going on after a kill, or for looking at."""
        found = (
            path for folder in folders if folder is not None and folder.is_dir() for path in sorted(folder.iterdir())
        )
        ours = (path for path in found if path.is_file() and path.name not in ("begun.json", "report.json"))
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in ours}

    def _lost(self, done: StageRecord) -> str | None:
        """What a finished stage left that is no longer there as it was, in words."""
        for name, size in done.files.items():
            path = self.path / name
            if not path.is_file():
                return f"{path} is gone"
            if path.stat().st_size != size:
                return f"{path} has {path.stat().st_size:,} bytes in place of {size:,}"
        return None

    def _clear(self, name: str) -> None:
        """Delete a stage, renamed first: a kill midway leaves nothing where a stage with other inputs would look."""
        shutil.rmtree(self._aside(name), ignore_errors=True)
        if self.stage(name).exists():
            self.stage(name).rename(self._aside(name))
            shutil.rmtree(self._aside(name))

    def _aside(self, name: str) -> Path:
        return self.stage(name).with_name(f".{self.stage(name).name}.old")

    def _borrow(self, name: str, key: str) -> StageRecord | None:
        for sibling in self.siblings:
            record = sibling.record(name)
            if record is not None and record.fingerprint == key:
                draft = self.stage(name).with_name(f".{self.stage(name).name}.tmp")
                shutil.rmtree(draft, ignore_errors=True)
                self._clear(name)
                shutil.copytree(sibling.stage(name), draft)
                draft.rename(self.stage(name))
                say(f"{name}: taken from {sibling.path}")
                return record
        return None

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder for one command.

        Raises:
            InputError: another command is working in it, or it cannot be written.
        """
        return hold_lock(self.path / ".lock", busy="another limbeck is at work in this folder")


def changed(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Name the first input that differs, in words.

    Example:
        >>> changed({"train": {"epochs": 3, "seed": 0}}, {"train": {"epochs": 5, "seed": 0}})
        'train.epochs changed from 3 to 5'
    """
    a, b = dict(_leaves(old)), dict(_leaves(new))
    for key in sorted({*a, *b}):
        if a.get(key) != b.get(key):
            return f"{key} changed from {_short(a.get(key))} to {_short(b.get(key))}"
    return "its inputs changed"


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
