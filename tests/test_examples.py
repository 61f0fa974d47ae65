"""Every example of `examples/` runs, with small arguments, and shows what it says it shows."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load_example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_a_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tested


def test_every_example_opens_with_what_it_shows_and_how_to_run_it():
    for path in EXAMPLES.glob("*.py"):
        docstring = load_example(path.stem).__doc__ or ""
        assert f"python examples/{path.name}" in docstring, path.name


def test_own_loop():
    accuracy = load_example("own_loop").main(epochs=4)
    assert accuracy["teacher"] > 0.9
    assert accuracy["student"] > 0.6


def test_distill_in_python(tmp_path):
    main = load_example("distill_in_python").main
    accuracy = main(str(tmp_path), epochs=1, limit=200)
    assert set(accuracy) == {"teacher", "student"}
    assert all(0 <= value <= 1 for value in accuracy.values())
    assert (tmp_path / "student" / "selected.safetensors").exists()
    assert main(str(tmp_path), epochs=1, limit=200) == accuracy  # finished trainings are not done again


def test_measure_a_model(tmp_path, capsys):
    whole, half = load_example("measure_a_model").main(str(tmp_path), side=64, runs=20)
    assert whole.size_bytes > half.size_bytes
    assert whole.latency_ms.n == half.latency_ms.n == 20
    low, high = half.ratio_interval
    assert low <= half.ratio_to_reference <= high
    assert "parameters" in capsys.readouterr().out


def test_calibrate_a_model():
    figures = load_example("calibrate_a_model").main()
    assert figures["temperature"] > 1.2  # it was too sure of itself
    assert figures["ece_after"] < figures["ece_before"] / 2
    assert figures["nll_after"] < figures["nll_before"]


def test_search_with_own_evaluator(tmp_path):
    example = load_example("search_with_own_evaluator")
    study = example.main(str(tmp_path), trials=4)
    slots = [trial["slot"] for trial in study.trials if trial["slot"] is not None]
    assert sorted(slots) == [0, 1, 2, 3]
    assert study.trials[0]["point"] == dict(example.SPACE.reference)
    assert study.best["params"] <= 8000
    again = example.main(str(tmp_path), trials=4)
    assert again.as_json() == study.as_json()  # kept, not searched again


def test_predict_on_device(finished_run, tmp_path):
    """As a script of its own, in a process where torch cannot be imported."""
    picture = tmp_path / "new.png"
    Image.new("RGB", (20, 30), "white").save(picture)
    script = (
        "import sys, runpy\n"
        "sys.modules['torch'] = None\n"
        f"sys.argv = ['predict', {str(finished_run)!r}, {str(picture)!r}]\n"
        f"runpy.run_path({str(EXAMPLES / 'predict_on_device.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{picture}: ")
    assert "10 classes" in done.stderr


STUBS = {
    "scontrol": 'tr "," "\\n" <<<"$3"',
    "srun": 'while [[ $1 == --* ]]; do [[ $1 == --nodelist=* ]] && export NODE=${1#--nodelist=}; shift; done; exec "$@"',
    "ray": '[[ $1 == start ]] || exit 0; echo "$NODE $*" >>calls; echo $$ >>pids; exec sleep 60',
    "limbeck": "until (($(cat pids 2>/dev/null | wc -l) == 2)); do sleep 0.02; done\n"
    'echo "$RAY_ADDRESS ${#RAY_AUTH_TOKEN} $*" >>calls; [[ $* != *wait* ]] || { echo up >up; exec sleep 60; }; exit 3',
}


@pytest.mark.parametrize("is_stopped", [False, True])
def test_slurm_ray(tmp_path, is_stopped):
    """With stand-ins for Slurm's commands and Ray's: which node starts what, how it ends, and that nothing outlives it."""
    for name, body in STUBS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = {"SLURM_CPUS_PER_TASK": "8", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a1,a2"}
    more = ["--set", "name=wait"] if is_stopped else ["--plain"]
    script = subprocess.Popen(
        ["bash", EXAMPLES / "slurm_ray.sh", "my.toml", *more],
        env={**os.environ, **job, "PATH": path, "WORKERS_PER_NODE": "2"},
        cwd=tmp_path,
    )
    if is_stopped:
        deadline = time.monotonic() + 30
        while not (tmp_path / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        script.terminate()
    assert script.wait(timeout=30) == (128 + 15 if is_stopped else 3)
    calls = (tmp_path / "calls").read_text().splitlines()
    shared = "--num-cpus=8 --num-gpus=0 --block"
    assert sorted(calls) == [
        f"a1 start --head --port=20007 --include-dashboard=false {shared}",
        "a1:20007 64 search my.toml --set search.engine=ray --set search.workers=4 --set search.ray.cpus=4 "
        + " ".join(more),
        f"a2 start --address=a1:20007 {shared}",
    ]
    started = [Path(f"/proc/{pid}") for pid in (tmp_path / "pids").read_text().split()]
    assert len(started) == 2
    deadline = time.monotonic() + 10
    while any(process.exists() for process in started) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(process.exists() for process in started)
