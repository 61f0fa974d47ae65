"""Searches on a real Ray: a cluster of three nodes on this machine, one with another version, one with other data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import toy_search as toy
from small_run import small_recipe

from limbeck import __version__
from limbeck.errors import InputError
from limbeck.pipeline.run import run_recipe
from limbeck.search import CandidateCost, Ceilings, RayCluster
from limbeck.search.ray_nodes import connect, import_ray

if find_spec("ray") is None:
    pytest.skip("needs limbeck[ray]", allow_module_level=True)
ray = import_ray()
import ray_parts as parts  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

ALL = {"ceilings": Ceilings(), "trials": 8}  # every candidate is evaluated


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    old = tmp_path_factory.mktemp("old") / "limbeck-0.0.9.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: limbeck\nVersion: 0.0.9\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        made.stale = made.add_node(num_cpus=1, wait=False, env_vars={"PYTHONPATH": str(old.parent)})
        made.other = made.add_node(num_cpus=1, wait=False, env_vars={parts.DATA: "others"})
        made.wait_for_nodes()
        patch.setenv("RAY_ADDRESS", made.address)
        assert connect(1)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The same search in one process."""
    return toy.trajectory(toy.search(tmp_path_factory.mktemp("unbroken"), **ALL))


def on_ray(folder, evaluate=None, **more):
    evaluator = partial(RayCluster, facts=more.pop("facts", parts.data_here))
    return toy.search(folder, workers=2, evaluator=evaluator, evaluate=evaluate, **ALL | more)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(holds, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def test_the_same_search_and_nodes_that_differ_get_no_candidates(cluster, unbroken, tmp_path, capfd):
    timed = []

    def timing(points):
        begun = time.time()
        time.sleep(0.1)
        timed.append((begun, time.time()))
        return [CandidateCost(latency_ms=toy.latency(point), size_bytes=4 * toy.params(point)) for point in points]

    found = on_ray(tmp_path, parts.Witness(str(tmp_path / "seen.log"), sleep=0.1), timing=timing)
    assert toy.trajectory(found) == unbroken
    seen = parts.seen(tmp_path / "seen.log")
    assert {one["node"] for one in seen} == {cluster.head_node.node_id}
    for begun, ended in timed:  # nothing is evaluated while candidates are timed
        assert not [one for one in seen if begun < one["at"] < ended]
        assert sum(one["at"] < begun and one["what"] == "begun" for one in seen) == sum(
            one["at"] < begun and one["what"] == "ended" for one in seen
        )
    out, err = capfd.readouterr()
    assert out == ""
    refused = sorted(line.split(": ", 3)[3] for line in err.splitlines() if line.startswith("warning: ray: node "))
    assert refused == [
        "data others there, digits here; it gets no candidates",
        f"limbeck 0.0.9 there, {__version__} here; it gets no candidates",
    ]


def test_without_a_node_that_is_like_the_driver_the_search_ends_in_one_line(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv(parts.DATA, "a third set")
    with pytest.raises(InputError, match=r"no node can take a worker: .*data digits there, a third set here") as caught:
        on_ray(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no node can take a worker: .*less than the 64 processors of a worker"):
        toy.search(tmp_path / "large", evaluator=partial(RayCluster, cpus=64), **ALL)


def test_a_worker_killed_mid_trial_costs_nothing_but_time(cluster, unbroken, tmp_path):
    trainer = toy.Trainer(str(tmp_path / "evaluations.log"), kills_once=str(tmp_path / "killed"))
    assert toy.trajectory(on_ray(tmp_path, trainer)) == unbroken
    assert (tmp_path / "killed").exists()
    counted = Counter(json.dumps(one["point"], sort_keys=True) for one in toy.evaluations(tmp_path))
    assert set(counted.values()) == {1}


def test_a_candidate_that_kills_its_worker_each_time_fails_alone(cluster, unbroken, tmp_path, capfd):
    chosen = {name: unbroken[0]["point"][name] for name in toy.NAMES}
    trainer = toy.Trainer(str(tmp_path / "evaluations.log"), kills_always=json.dumps(chosen))
    states = [(one["state"], one["reason"]) for one in on_ray(tmp_path, trainer, batch=8).trials]
    assert states[0] == ("failed", "its worker process died, twice")
    assert [state for state, _ in states].count("failed") == 1
    assert "failed" not in [one["state"] for one in unbroken]
    assert capfd.readouterr().out == ""  # Ray's own account of it would spoil `--json`


def test_a_recipe_asks_for_it_and_keeps_no_address_and_no_password(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_TEST_SECRET", "hush-hush")
    section = {"trials": 2, "batch": 2, "proxy": {"epochs": 1, "limit": 64}}
    far = {"engine": "ray", "storage": f"sqlite:///{tmp_path}/${{LIMBECK_TEST_SECRET}}.db"}
    found = []
    for name, asked in (("here", section), ("far", section | far)):
        recipe = small_recipe(search=asked, teacher=None, distill=None)
        stages = run_recipe(recipe, tmp_path / name, until="search")["stages"]
        found.append(stages["search"]["study"]["trials"])
    told = ("point", "state", "accuracy", "latency_ms")
    assert [[one[key] for key in told] for one in found[0]] == [[one[key] for key in told] for one in found[1]]
    assert [one["state"] for one in found[1]] == ["complete"] * 2
    assert (tmp_path / "hush-hush.db").exists()
    host = cluster.address.partition(":")[0]
    written = [path for path in (tmp_path / "far").rglob("*") if path.is_file()]
    assert tmp_path / "far" / "recipe.json" in written
    for path in written:
        assert b"hush" not in path.read_bytes(), path
        assert host.encode() not in path.read_bytes(), path


def start_driver(folder, sleep, environment):
    folder.mkdir()
    path = os.pathsep.join(sys.path)
    with open(folder / "err", "w") as err:
        return subprocess.Popen(
            [sys.executable, parts.__file__, str(folder), str(sleep)],
            env={**environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )


def begun_in(folder, count):
    return lambda: len(parts.seen(folder / "seen.log")) >= count


def test_ctrl_c_ends_the_evaluations_and_a_killed_driver_leaves_none(cluster, unbroken, tmp_path):
    own = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    stopped, killed = tmp_path / "stopped", tmp_path / "killed"
    drivers = [start_driver(stopped, 600.0, os.environ), start_driver(killed, 0.4, own)]
    wait_until(begun_in(stopped, 2))
    os.killpg(drivers[0].pid, signal.SIGINT)  # as a terminal sends it, to all of the group
    drivers[0].wait(timeout=30)
    assert "Stopped: search stopped by SIGINT" in (stopped / "err").read_text()
    workers = {one["pid"] for one in parts.seen(stopped / "seen.log")}
    wait_until(lambda: not any(map(is_running, workers)), 5)
    wait_until(begun_in(killed, 6))
    drivers[1].kill()
    drivers[1].wait()
    workers = {one["pid"] for one in parts.seen(killed / "seen.log")}
    wait_until(lambda: not any(map(is_running, workers)), 10)
    for folder in (stopped, killed):
        assert toy.trajectory(toy.search(folder, **ALL)) == unbroken  # without Ray: the ledger knows of no engine


def test_a_node_that_vanishes_mid_trial_loses_no_candidate(cluster, unbroken, tmp_path):
    log = tmp_path / "seen.log"

    def vanish():
        wait_until(lambda: any(one["data"] == "others" for one in parts.seen(log)))
        cluster.remove_node(cluster.other, allow_graceful=False)

    thread = threading.Thread(target=vanish)
    thread.start()
    witness = parts.Witness(str(log), sleep=0.2, stuck_with="others")
    evaluator = partial(RayCluster, facts=dict)
    found = toy.search(tmp_path, workers=3, evaluator=evaluator, evaluate=witness, **ALL)
    thread.join()
    assert toy.trajectory(found) == unbroken
    assert any(one["data"] == "others" for one in parts.seen(log))
    ended = Counter(json.dumps(one["point"]) for one in parts.seen(log) if one["what"] == "ended")
    assert set(ended.values()) == {1}
