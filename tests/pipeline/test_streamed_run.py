"""A set that can only be read in order: what goes all the way, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import small_recipe
from streamed_digits import read

from limbeck.errors import InputError
from limbeck.files import read_json
from limbeck.pictures import fit_picture
from limbeck.pipeline import export
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.run import run_recipe
from limbeck.types import Artifact

STREAMED: dict[str, Any] = {"data": {"name": "streamed_digits:read", "image_size": 16, "workers": 0}, "teacher": None}


@pytest.mark.usefixtures("quick_export")
def test_a_search_and_an_int8_file_of_streamed_pictures(tmp_path: Path) -> None:
    brief = {"trials": 2, "batch": 2, "proxy": {"epochs": 1, "limit": 64}}
    run_recipe(small_recipe(**STREAMED, distill=None, search=brief), tmp_path / "run")
    report = read_json(tmp_path / "run" / "report.json")
    assert [model["name"] for model in report["models"]] == ["student", "student_int8"]
    assert len(report["search"]["trials"]) == 2


def test_int8_ranges_come_from_as_many_streamed_pictures_as_asked(tmp_path: Path) -> None:
    context = Context(small_recipe(**STREAMED, export__calibration_pictures=70), RunFolder(tmp_path))
    takes_bytes = Artifact("model.onnx", "onnx", "fp32", (16, 16, 3), "uint8", 1)
    batches = list(export._calibration(context, takes_bytes))
    assert [len(one) for one in batches] == [32, 32, 6]
    stream = read().stream
    assert stream is not None
    known = {
        fit_picture(np.stack([picture] * 3, -1) if picture.ndim == 2 else picture, (16, 16), "crop").tobytes()
        for shard in range(4)
        for picture, _ in stream.open_shard(shard)
    }
    given = [picture.tobytes() for batch in batches for picture in batch]
    assert set(given) <= known
    assert len(set(given)) == 70


@pytest.mark.parametrize("method", ["ps_kd", "nkd_memory"])
def test_what_keeps_something_of_every_sample_is_refused_before_any_stage(tmp_path: Path, method: str) -> None:
    recipe = small_recipe(**STREAMED, search=None, distill={"method": method}, budget__max_latency_ms=None)
    with pytest.raises(InputError, match=r"^distill: .*size of the data set.* not streamed"):
        run_recipe(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "stages").exists()
