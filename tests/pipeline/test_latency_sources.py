"""Latencies of a search from a table of kernels, and the verb that measures one; on a device whose law is known."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import FAKE, small_recipe

from limbeck.cli import app
from limbeck.console import Bar, set_quiet
from limbeck.errors import InputError
from limbeck.files import hold_lock
from limbeck.measure import open_device
from limbeck.measure.kernels import kernel_features, kernels_of
from limbeck.measure.latency_table import LatencyTable, distinct_kernels
from limbeck.models import Table, build
from limbeck.pipeline import latency, latency_table
from limbeck.pipeline import search as search_stage
from limbeck.pipeline.context import Context
from limbeck.pipeline.folder import RunFolder
from limbeck.pipeline.latency_table import draw_networks, latencies_text, measure_latencies
from limbeck.pipeline.resolve import resolve
from limbeck.pipeline.run import run_recipe

SEARCH = {
    "trials": 6,
    "batch": 3,
    "sampler": "random",
    "options": {"input_sizes": [16]},
    "proxy": {"epochs": 1, "limit": 32},
}


def recipe(search: dict | None = None, **changes: object):
    known = {"teacher": None, "distill": None, "search": SEARCH | (search or {}), "budget__max_latency_ms": None}
    return small_recipe(**(known | changes))


def law(kernel) -> float:
    """The fake device's, kernel by kernel."""
    one = kernel_features(kernel)
    return 0.2 * (math.expm1(one["dense"]) + math.expm1(one["depthwise"])) / 1e6


def whole(table: Table) -> float:
    return 0.1 + sum(law(kernel) for kernel in kernels_of(table))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    context = Context(recipe(), RunFolder(tmp_path_factory.mktemp("drawn")))
    return list(itertools.islice(draw_networks(context), 60))


@pytest.fixture
def measured(tables: list[Table], tmp_path: Path) -> Path:
    return save(tables, tmp_path / "latencies.json")


def save(tables: list[Table], path: Path, *, kernels_from: int = 40, target: str = FAKE, **fields: object) -> Path:
    kernels = {kernel.key: (kernel, law(kernel)) for kernel in distinct_kernels(tables[:kernels_from])}
    fields = {"sample_size": (16, 16), "statistic": "median"} | fields
    networks = [(one, whole(one)) for one in tables]
    LatencyTable(open_device(target).describe(), kernels=kernels, networks=networks, **fields).save(path)
    return path


def told(path: Path, source: str = "predictor", **further: object):
    return recipe({"latency": source, "latency_table": str(path)} | further)


def test_a_predictor_stands_in_for_the_device(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latency.DeviceLatencies, "time", lambda *_: pytest.fail("files were timed"))
    run_recipe(told(measured, retrain_top=2), tmp_path / "run", until="search")
    study = RunFolder(tmp_path / "run").need("search").result["study"]
    complete = [trial for trial in study["trials"] if trial["state"] == "complete"]
    assert len(complete) >= 3
    for trial in complete:
        assert trial["latency_ms"] == pytest.approx(0.1 + 0.2 * trial["macs"] / 1e6, rel=0.05)
        assert trial["size_bytes"] is None
        assert not {"ratio", "raw_ms"} & set(trial["metrics"])
    source = study["latencies"]
    assert (source["source"], source["table"]) == ("predictor", str(measured))
    assert source["error"]["within_10"] > 0.9
    assert {one["number"] for one in source["beside"]} == {one["number"] for one in study["retrained"]}
    for one in source["beside"]:  # the device's own figures, of the exported files
        assert one["measured_ms"] == pytest.approx(one["told_ms"], rel=0.1)
        assert one["measured_ms"] != one["told_ms"]
    assert not (tmp_path / "run" / "stages" / "search" / "probes").exists()
    err = capsys.readouterr().err
    assert f"search: latencies from {measured}, by predictor: " in err
    assert "% within 10 % of 30 networks, rank correlation" in err
    save(json_tables(measured), measured, kernels_from=60)
    inputs = RunFolder(tmp_path / "run").need("search").inputs
    assert inputs["latency_table"] != latency.table_key(told(measured).search)  # more latencies: another search


def json_tables(path: Path) -> list[Table]:
    return [table for table, _ in LatencyTable.load(path).networks]


def test_what_the_table_does_not_know_fails_alone_and_is_never_scored(tables: list[Table], tmp_path: Path) -> None:
    """Kernels of a few networks only: the reference is known, most others are not."""
    path = save(tables, tmp_path / "few.json", kernels_from=20)
    run_recipe(told(path, "table"), tmp_path / "run", until="search")
    study = RunFolder(tmp_path / "run").need("search").result["study"]
    states = {trial["state"] for trial in study["trials"]}
    assert states == {"complete", "failed"}
    for trial in study["trials"]:
        if trial["state"] == "failed":
            assert "was not measured; measure it too, or use the predictor or the device" in trial["reason"]
            assert trial["accuracy"] is None
            assert trial["latency_ms"] is None
        else:
            assert trial["latency_ms"] == pytest.approx(0.1 + 0.2 * trial["macs"] / 1e6, rel=0.02)


@pytest.mark.parametrize(
    ("fields", "changes", "message"),
    [
        ({}, {"budget__target": FAKE + ",noise=0.1"}, "latencies.json: latencies of another device .*noise=0.1"),
        ({}, {"budget__statistic": "p90"}, "another statistic .median, the budget's is p90."),
        ({"sample_size": (32, 24)}, {}, "latencies with 32x24 pictures, the recipe's are 16x16"),
        ({"kernels_from": 0}, {}, "0 kernels; at least 20 are needed"),
    ],
)
def test_a_table_of_something_else_is_told_before_any_training(
    tables: list[Table], tmp_path: Path, fields: dict, changes: dict, message: str
) -> None:
    path = save(tables, tmp_path / "latencies.json", **fields)
    search = {"latency": "predictor", "latency_table": str(path)}
    with pytest.raises(InputError, match=f"search.latency_table: .*{message}") as caught:
        resolve(Context(recipe(search, **changes), RunFolder(tmp_path / "run")))
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(InputError, match=r"search.latency_table: .*latencies.json: no such file"):
        resolve(Context(recipe(search), RunFolder(tmp_path / "run")))


def test_a_table_without_the_resize_refuses_networks_of_another_size(tables: list[Table], tmp_path: Path) -> None:
    other = replace(tables[1], input_size=(12, 12))
    path = save(tables, tmp_path / "own.json", sample_size=None)
    given = told(path)
    context = Context(given, RunFolder(tmp_path / "run"))
    source = latency.open_latency_source(context, given.search, build(tables[0]), tmp_path, where="search")
    refused, told_of = source.time([other, tables[1]])
    assert "was measured without the resize of 16x16 pictures to 12x12" in str(refused)
    assert told_of["latency_ms"] == pytest.approx(whole(tables[1]), rel=0.05)


def test_the_verb_measures_what_a_search_asks_for_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    timed: list[str] = []
    locked: set[int] = set()
    real = latency_table.measure_artifacts

    def counted(device, artifacts, **options):
        timed.extend(Path(one.path).stem for one in artifacts)
        locked.update(one.stat().st_ino for one in tmp_path.rglob("*lock"))
        if len(timed) > 25 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            raise KeyboardInterrupt
        return real(device, artifacts, **options)

    monkeypatch.setattr(latency_table, "measure_artifacts", counted)
    asked = {"networks": 10, "kernels_of": 3, "runs": 20}
    with pytest.raises(KeyboardInterrupt):
        measure_latencies(recipe(), **asked)
    left = LatencyTable.load("latencies.json")
    assert 16 <= len(left.kernels) < len(timed)  # whole batches
    assert not list(tmp_path.glob("*.parts"))
    with hold_lock(tmp_path / ".latencies.json.lock", busy="mine"):  # the same file as whoever waited for it has open
        assert (tmp_path / ".latencies.json.lock").stat().st_ino in locked
        with pytest.raises(InputError, match=r"another measurement of latencies.json is at work"):
            measure_latencies(recipe(), **asked)
    del timed[:]
    (tmp_path / "my.json").write_text(json.dumps(recipe().resolved()))
    words = ["latencies", "my.json", "-o", "latencies.json", "--networks", "10", "--kernels-of", "3", "--runs", "20"]
    try:
        app([*words, "--json"], standalone_mode=False)
    finally:
        set_quiet(False)
    tree = json.loads(capsys.readouterr().out)
    assert "anchor" not in timed  # its latency is in the file
    assert len(timed) == tree["kernels"] + tree["networks"] - len(left.kernels) - len(left.networks)
    table = LatencyTable.load("latencies.json")
    assert (table.anchor, table.sample_size) == (left.anchor, (16, 16))
    for network, ms in table.networks:
        assert ms == pytest.approx(whole(network), rel=0.1)
    assert (tree["networks"], tree["failed"], tree["device"]) == (10, [], table.device.target)
    assert tree["errors"]["predictor"]["rank_correlation"] > 0.8  # of five networks
    assert "networks of these kernels; at least 10 are needed" in tree["errors"]["table"]
    told = latencies_text(tree).splitlines()
    assert told[0].startswith(
        f"latencies.json: {tree['kernels']} kernels and 10 networks on limbeck.testing:FakeDevice"
    )
    assert "of 5 networks, rank correlation" in told[2]


def test_a_ceiling_that_starves_the_controller_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told_after(latencies: list[float], **search: object) -> str:
        given = recipe({"sampler": "controller", "trials": 20, "batch": 2} | search, budget__max_latency_ms=1.0)
        tell = search_stage._tell(Context(given, RunFolder(tmp_path)), Bar(None, None))
        for slot, ms in enumerate(latencies):
            tell("finished", {"slot": slot, "latency_ms": ms, "reason": ""})
        return capsys.readouterr().err

    starved = told_after([2.0, 0.5, 2.0, 3.0, 2.0, 2.0, 2.0])
    assert (
        starved.count("search: 3 of the first 4 candidates are over the ceiling of 1 ms and teach the controller") == 1
    )
    assert "teach the controller" not in told_after([2.0, 0.5, 2.0, 0.5, 2.0, 2.0])
    assert "teach the controller" not in told_after([2.0] * 8, sampler="tpe")  # told what is within the ceilings


def test_networks_for_a_table_are_those_that_the_recipe_may_ask_for(tmp_path: Path) -> None:
    def drawn(given, count: int = 6) -> list[Table]:
        return list(itertools.islice(draw_networks(Context(given, RunFolder(tmp_path))), count))

    narrow = {"max_latency_ms": 0.2}
    adapted = drawn(small_recipe(search=None, teacher=None, distill=None, adapt=narrow))
    assert adapted[0].macs() > max(one.macs() for one in adapted[1:])
    both = drawn(recipe(adapt=narrow), 8)
    points = drawn(recipe(), 4)
    assert both[::2] == points
    assert all(one.macs() < point.macs() for one, point in zip(both[1::2], points, strict=True))
    least = min(one.params() for one in drawn(recipe(), 30))
    light = drawn(recipe(budget__max_params=2 * least), 10)
    assert all(one.params() <= 2 * least for one in light)
    with pytest.raises(InputError, match=r"the recipe has neither \[search\] nor \[adapt\]"):
        drawn(small_recipe(search=None))
