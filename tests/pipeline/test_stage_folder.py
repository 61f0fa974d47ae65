"""A stage's folder and what decides whether it is redone: the data rather than its address, and no torn leftovers."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_run import small_recipe

from limbeck.errors import InputError, Stopped
from limbeck.pipeline.context import Context
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


def test_the_time_of_a_stage_is_that_of_all_its_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds until it was stopped and five until it was done; what other inputs took is not counted."""
    run, clock = RunFolder(tmp_path), [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def works(seconds: float, ends: type[BaseException] | None = None) -> Any:
        def work(folder: Path) -> dict[str, Any]:
            clock[0] += seconds
            if ends is not None:
                raise ends
            return {}

        return work

    for ends in (Stopped, KeyboardInterrupt):
        with pytest.raises(ends):
            run.do("adapt", {"steps": 1}, works(100.0, ends))
    for ends in (Stopped, InputError):
        with pytest.raises(ends):
            run.do("adapt", {"steps": 2}, works(10.0, ends))
    assert run.do("adapt", {"steps": 2}, works(5.0)).seconds == 25.0
    assert run.do("adapt", {"steps": 2}, works(5.0)).seconds == 25.0  # finished already
    assert run.do("adapt", {"steps": 3}, works(5.0)).seconds == 5.0


def draw_pictures(folder: Path, *, seed: int = 0) -> Path:
    """Ten pictures of two classes each, and two without a class."""
    draw = np.random.default_rng(seed)
    for name, count in (("classes/cat", 10), ("classes/dog", 10), ("unlabelled", 2)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


def read_by_a_stage(tmp_path: Path, folder: str, **changes: Any) -> dict[str, Any]:
    data = {"name": "folder", "path": f"{folder}/classes", "unlabelled": f"{folder}/unlabelled", "image_size": 8}
    return Context(small_recipe(data=data | changes), RunFolder(tmp_path / "run")).inputs("data")


def test_a_moved_set_is_the_same_and_a_changed_one_is_not(tmp_path: Path) -> None:
    """A path's spelling changes nothing; each picture, the division, and whether others join do."""
    here, moved = draw_pictures(tmp_path / "here"), draw_pictures(tmp_path / "moved")
    found = read_by_a_stage(tmp_path, str(here))
    assert read_by_a_stage(tmp_path, f"{tmp_path}/./here") == found
    assert read_by_a_stage(tmp_path, str(moved)) == found
    (moved / "classes/cat/3.png").write_bytes((moved / "classes/dog/3.png").read_bytes())
    others = [
        read_by_a_stage(tmp_path, str(moved)),
        read_by_a_stage(tmp_path, str(here), unlabelled=None),
        read_by_a_stage(tmp_path, str(here), unlabelled=str(draw_pictures(tmp_path / "other", seed=1) / "unlabelled")),
        read_by_a_stage(tmp_path, str(here), seed=1),
    ]
    prints = {found["data"]["fingerprint"], *(one["data"]["fingerprint"] for one in others)}
    assert len(prints) == 5


def test_the_address_of_a_stream_is_all_that_is_known_of_it(tmp_path: Path) -> None:
    data = {"name": "streamed_digits:read", "image_size": 16, "options": {}}
    found = Context(small_recipe(data=data), RunFolder(tmp_path / "run")).inputs("data")["data"]
    assert {"path", "validation_path", "test_path"} <= set(found)


def test_a_stage_whose_files_are_gone_or_cut_short_is_redone_from_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, done = RunFolder(tmp_path), []

    def work(folder: Path) -> dict[str, Any]:
        done.append([path.name for path in sorted(folder.iterdir())])
        (folder / "fit").mkdir(exist_ok=True)
        (folder / "fit" / "weights").write_text("trained")
        (folder / "model").write_text("whole")
        (tmp_path / "export").mkdir(exist_ok=True)
        (tmp_path / "export" / "model.onnx").write_text("file")
        return {}

    def again() -> list[list[str]]:
        run.do("train/student", {"epochs": 1}, work, also=tmp_path / "export")
        return done

    assert len(again()) == len(again()) == 1
    (tmp_path / "stages/train/student/model").write_text("who")
    assert len(again()) == 2
    assert "fit" in done[1]  # nothing is trained again that was
    assert "train/student: redone, because" in (told := capsys.readouterr().err)
    assert "model has 3 bytes in place of 5" in told
    shutil.rmtree(tmp_path / "export")
    assert len(again()) == 3
    assert "export/model.onnx is gone" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "stages/train/student/fit")  # for going on, which is over
    assert len(again()) == 3
    report = tmp_path / "stages/train/student/report.json"
    report.write_text(report.read_text()[:20])
    with pytest.raises(InputError, match=r"report\.json: .*; delete the file to redo the stage"):
        again()
