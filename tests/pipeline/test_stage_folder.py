"""A stage's folder: a deletion that a kill tears leaves nothing that other inputs would take for their own."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from limbeck.pipeline.folder import RunFolder


class Killed(BaseException):
    """SIGKILL's stand-in."""


def left(folder: Path) -> dict[str, Any]:
    """A stage that goes on with what it finds."""
    kept = folder / "choice.txt"
    if not kept.exists():
        kept.write_text("its own")
    return {"choice": kept.read_text()}


def killed_on_the_way(folder: Path) -> dict[str, Any]:
    (folder / "choice.txt").write_text("of other inputs")
    raise Killed


def finished_otherwise(folder: Path) -> dict[str, Any]:
    (folder / "choice.txt").write_text("of other inputs")
    return {}


@pytest.mark.parametrize("before", [killed_on_the_way, finished_otherwise])
def test_a_torn_deletion_leaves_nothing_to_other_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Any
) -> None:
    run = RunFolder(tmp_path)
    with contextlib.suppress(Killed):
        run.do("train/student", {"epochs": 1}, before)

    def torn(folder: Path, **options: Any) -> None:
        """Killed after the files that say whose the folder is."""
        if Path(folder).exists():
            for name in ("begun.json", "report.json"):
                (Path(folder) / name).unlink(missing_ok=True)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", torn)
        with pytest.raises(Killed):
            run.do("train/student", {"epochs": 2}, left)
    assert run.do("train/student", {"epochs": 2}, left).result == {"choice": "its own"}
    assert [path.name for path in (tmp_path / "stages" / "train").iterdir()] == ["student"]
