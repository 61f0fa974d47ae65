"""What a report says of where it was made: versions of what computed, and the commit of Limbeck's own source alone."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import onnxruntime
import pytest

from limbeck import __version__
from limbeck.pipeline import report


def test_versions_are_told_where_another_package_brings_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """As onnxruntime-gpu does; and of a source tree that is not installed."""
    whole = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("onnxruntime", "limbeck"):
            raise importlib.metadata.PackageNotFoundError(name)
        return whole(name)

    monkeypatch.setattr(report, "version", version)
    told = report._versions()
    assert told["onnxruntime"] == onnxruntime.__version__
    assert told["limbeck"] == __version__
    assert told["torch"] == whole("torch")
    assert told["python"] == platform.python_version()


def git(folder: Path, *asked: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=n@n"]
    done = subprocess.run(["git", *who, "-C", str(folder), *asked], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_of_the_repository_that_holds_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment within somebody's repository is not part of it."""
    file = tmp_path / "limbeck" / "report.py"
    file.parent.mkdir()
    file.write_text("")
    monkeypatch.setattr(report, "__file__", str(file))
    assert report._commit() is None
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "theirs")
    assert report._commit() is None
    git(tmp_path, "add", "limbeck/report.py")
    git(tmp_path, "commit", "-m", "ours")
    assert report._commit() == git(tmp_path, "rev-parse", "--short=12", "HEAD")
