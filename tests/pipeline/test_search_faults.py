"""What goes wrong in a search by recipe: told in one line, the search goes on where it can, and nothing failed is scored."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import FAKE, small_recipe

from limbeck.errors import InputError, LimbeckError
from limbeck.pipeline import budget
from limbeck.pipeline import search as search_stage
from limbeck.pipeline.run import run_recipe
from limbeck.testing import FakeDevice


def recipe(**changes: Any) -> Any:
    torch.set_num_threads(1)
    common: dict[str, Any] = {
        "teacher": None,
        "distill": None,
        "data__limit": 60,
        "budget": {"target": FAKE},
        "search": {
            "space": "outside.my_module_space:residual",  # tiny networks: exporting takes most of such a test
            "sampler": "random",
            "options": {"widths": [2, 4]},
            "trials": 4,
            "batch": 2,
            "proxy": {"epochs": 1, "limit": 20},
        },
    }
    return small_recipe(**(common | changes))


def study(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "stages" / "search" / "report.json").read_text())["result"]["study"]


@pytest.fixture(autouse=True)
def _in_the_folder_of_outside_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(Path(__file__).resolve().parents[2] / "examples")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("outside"):
            del sys.modules[name]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The points that were trained, in place of their training."""
    points: list[dict[str, Any]] = []

    def evaluate(self: Any, point: dict[str, Any], seed: int, share: float = 1.0) -> Any:
        points.append(point)
        return search_stage.Evaluation("complete", accuracy=0.5 + 0.01 * len(str(sorted(point.items()))) / 1000)

    monkeypatch.setattr(search_stage.ProxyEvaluation, "__call__", evaluate)
    return points


def vanishing(trained: list[dict[str, Any]], calls: list[int]) -> Any:
    """A device's `time` that answers no more once the first generation is through."""
    real = FakeDevice.time

    def time(self: Any, artifacts: Any, **options: Any) -> Any:
        if trained:
            calls.append(len(artifacts))
            raise InputError("ssh://pi@board: no answer within 10 s")
        return real(self, artifacts, **options)

    return time


def test_candidates_that_cannot_be_exported_or_run_fail_alone(
    tmp_path: Path, trained: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_export, real_time = budget.export_probe, FakeDevice.time

    def export(network: Any, path: Path, **options: Any) -> Any:
        if path.name == "probe1.onnx":
            raise LimbeckError(f"{path.name}: cannot export to ONNX (no such operator)")
        return real_export(network, path, **options)

    def time(self: Any, artifacts: Any, **options: Any) -> Any:
        if any(Path(one.path).name == "probe2.onnx" for one in artifacts):
            raise InputError("probe2.onnx: no kernel for this operator")
        return real_time(self, artifacts, **options)

    monkeypatch.setattr(budget, "export_probe", export)
    monkeypatch.setattr(FakeDevice, "time", time)
    section = recipe().search.model_dump() | {"trials": 4, "batch": 4}
    run_recipe(recipe(search=section), tmp_path / "run", until="search")
    trials = study(tmp_path / "run")["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "failed", "failed", "complete"]
    assert trials[1]["reason"] == "probe1.onnx: cannot export to ONNX (no such operator)"
    assert trials[2]["reason"] == "probe2.onnx: no kernel for this operator"
    for trial in trials[1:3]:
        assert (trial["accuracy"], trial["latency_ms"]) == (None, None)
        assert trial["point"] not in trained
    assert study(tmp_path / "run")["best"]["number"] in (0, 3)


def test_a_device_that_vanishes_ends_the_search_and_it_goes_on_when_it_is_back(
    tmp_path: Path, trained: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(FakeDevice, "time", vanishing(trained, calls))
        with pytest.raises(InputError, match=r"^ssh://pi@board: no answer within 10 s$"):
            run_recipe(recipe(), tmp_path / "run", until="search")
    assert len(trained) == 2
    assert calls == [3, 1]  # both candidates and the reference; then the reference alone
    run_recipe(recipe(), tmp_path / "run", until="search")
    run_recipe(recipe(), tmp_path / "unbroken", until="search")
    kept, unbroken = study(tmp_path / "run")["trials"], study(tmp_path / "unbroken")["trials"]
    of = ("slot", "point", "state", "accuracy", "latency_ms")
    assert [[one[key] for key in of] for one in kept if one["slot"] is not None] == [
        [one[key] for key in of] for one in unbroken
    ]
    assert len(trained) == 8  # none of the first generation's was trained again


def test_a_corrupt_ledger_is_told_in_one_line(tmp_path: Path, trained: list[dict[str, Any]]) -> None:
    (tmp_path / "run" / "stages" / "search").mkdir(parents=True)
    (tmp_path / "run" / "stages" / "search" / "study.journal").write_bytes(b"not a journal at all\n")
    with pytest.raises(InputError, match=r"study\.journal: cannot be read as a study") as caught:
        run_recipe(recipe(), tmp_path / "run", until="search")
    assert "\n" not in str(caught.value)
    assert trained == []


def test_a_recipe_changed_to_another_space_takes_nothing_from_the_search_before(
    tmp_path: Path, trained: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was cut off; a ledger that is handed to another search is refused (tests/search/test_study_resume.py)."""
    with monkeypatch.context() as patch:
        patch.setattr(FakeDevice, "time", vanishing(trained, []))
        with pytest.raises(InputError, match="no answer"):
            run_recipe(recipe(), tmp_path / "run", until="search")
    other = recipe().search.model_dump() | {"options": {"widths": [6, 8]}}
    run_recipe(recipe(search=other), tmp_path / "run", until="search")
    found = study(tmp_path / "run")
    assert [trial["slot"] for trial in found["trials"]] == [0, 1, 2, 3]
    assert {trial["point"]["width"] for trial in found["trials"]} <= {6, 8}


def test_a_budget_below_the_smallest_network_is_told_before_anything_is_trained(
    tmp_path: Path, trained: list[dict[str, Any]]
) -> None:
    for bound, told in (
        ({"max_latency_ms": 0.05}, r"latency_ms .* > max_latency_ms 0\.05"),
        ({"max_params": 100}, r"params [\d,]+ > max_params 100"),
    ):
        with pytest.raises(InputError, match=f"even the space's cheapest network: {told}") as caught:
            run_recipe(recipe(budget={"target": FAKE} | bound), tmp_path / "run", until="search")
        assert "\n" not in str(caught.value)
    assert trained == []
