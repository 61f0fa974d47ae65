"""What tests of several rooms share: one small run of the whole pipeline, made once and looked at by many."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one finished run of `small_run.small_recipe()`; copy it before changing anything in it."""
    import torch
    from small_run import small_recipe

    from limbeck.pipeline.run import run_recipe

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "small"
    run_recipe(small_recipe(), folder)
    return folder


@pytest.fixture
def quick_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliverables by the exporter of the probes: the same operators in a twentieth of the time.

    For tests of whole runs that look at something else than the file; `finished_run` and `tests/export` have the real one.
    """
    from limbeck.export import onnx, trace

    if trace.has_quick_exporter():
        monkeypatch.setattr(onnx, "trace", lambda *args, **options: trace.trace(*args, **(options | {"quick": True})))
