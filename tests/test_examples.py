"""Every example of `examples/` runs, with small arguments, and shows what it says it shows."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from limbeck.errors import InputError
from limbeck.export import export_onnx

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


class Centres(nn.Module):
    """Where red, green and blue lie in a picture: a network of points that needs no training."""

    num_classes, input_size = 6, (32, 32)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        weights = (pictures - 0.5).clamp(min=0)
        places = (torch.arange(32) + 0.5) / 32
        across, down = (weights.sum(axis) @ places for axis in (2, 3))
        return torch.stack([across, down], 2).div(weights.sum((2, 3)).unsqueeze(2) + 1e-6).flatten(1)


@pytest.mark.usefixtures("quick_export")
def test_track(tmp_path):
    """Three dots that wander, the lot out of the first crop by the end, are followed; what trembles is told from motion."""
    export_onnx(
        Centres(), tmp_path / "model.onnx", sample_size=(32, 32), class_names=["r", "g", "b"], gives="points",
        metadata={"crop": {"pad": 0.3, "pad_pixels": 0.0, "square": True}},
    )  # fmt: skip
    frames = tmp_path / "frames"
    frames.mkdir()
    places = np.array([[12.0, 12], [32, 14], [22, 30]])
    truth = [places + number * np.array([2.0, 1.5]) for number in range(20)]
    for number, points in enumerate(truth):
        image = Image.new("RGB", (110, 90))
        draw = ImageDraw.Draw(image)
        for (x, y), colour in zip(points.tolist(), ("#ff0000", "#00ff00", "#0000ff"), strict=True):
            draw.ellipse((x - 3, y - 3, x + 2, y + 2), fill=colour)
        image.save(frames / f"{number:03d}.png")
    track = load_example("track")
    box = [*places.min(0), *places.max(0)]
    figures = track.main(str(tmp_path / "model.onnx"), str(frames), box=box, output=str(tmp_path / "points.csv"))
    rows = np.loadtxt(tmp_path / "points.csv", delimiter=",", skiprows=1, usecols=range(1, 7)).reshape(20, 3, 2)
    assert np.abs(rows - np.stack(truth)).max() < 1.0
    assert (figures["frames"], figures["lost"]) == (20, 0)
    assert figures["motion"] == pytest.approx(2.5, abs=0.15)
    assert figures["jitter"] < 0.4
    noise = np.random.default_rng(0).normal(0, 0.7, (4000, 5, 2))
    steady = np.arange(4000)[:, None, None] * 0.3 + np.arange(10).reshape(5, 2) * 4.0
    assert track.steadiness(steady + noise)["jitter"] == pytest.approx(0.7, rel=0.03)
    with pytest.raises(InputError, match="no pictures in it"):
        track.main(str(tmp_path / "model.onnx"), str(tmp_path / "frames" / ".."))
    with pytest.raises(InputError, match=r"frames: .*gone: no such folder"):
        track.main(str(tmp_path / "model.onnx"), str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"output: .*gone: no such folder"):
        track.main(str(tmp_path / "model.onnx"), str(frames), output=str(tmp_path / "gone" / "points.csv"))
    assert not track.is_lost([-50, -40, 150, 130], (90, 110))
    assert track.is_lost([-200, -20, 200, 110], (90, 110))  # wider with each frame: it follows its own padding
