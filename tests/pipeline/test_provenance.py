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
