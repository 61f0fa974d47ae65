import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest

from limbeck.errors import InputError
from limbeck.measure import OnnxRuntimeDevice, exclusive, lock, measure_artifacts, open_device
from limbeck.testing import check_device, make_artifact


@pytest.fixture(scope="module")
def device():
    return OnnxRuntimeDevice(threads=1)


@pytest.mark.parametrize("input_dtype", ["uint8", "float32"])
def test_device_conforms(device, tmp_path, input_dtype):
    check_device(device, make_artifact(tmp_path / "small.onnx", input_dtype=input_dtype))


def test_described_in_words_and_versions(device):
    import onnxruntime

    info = device.describe()
    assert info.runtime_version == onnxruntime.__version__
    assert info.threads == 1
    assert info.device
    assert info.os


def test_run_gives_what_the_graph_computes(device, tmp_path):
    artifact = make_artifact(tmp_path / "small.onnx")
    inputs = np.random.default_rng(0).random((5, *artifact.input_shape)).astype(np.float32)
    probabilities = device.run(artifact, inputs)
    assert probabilities.shape == (5, 4)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    # a file that changed under the same name is opened anew
    make_artifact(tmp_path / "small.onnx", num_classes=6)
    os.utime(artifact.path, (1, 1))
    assert device.run(artifact, inputs).shape == (5, 6)
    with pytest.raises(InputError, match=r"small\.onnx: .*") as caught:
        device.run(artifact, inputs[:, :, :, :, None])
    assert "\n" not in str(caught.value)


def test_measurement_of_a_larger_network_is_larger(device, tmp_path):
    # 200 times the arithmetic: no neighbour can turn this round
    small = make_artifact(tmp_path / "small.onnx", channels=4, image_size=16)
    large = make_artifact(tmp_path / "large.onnx", channels=48, image_size=48)
    first, second = measure_artifacts(device, [large, small], warmup=3, runs=30, reference=small)
    assert first.latency_ms.n == second.latency_ms.n == 30
    assert first.latency_ms.median > second.latency_ms.median
    assert first.ratio_to_reference > 1.5
    assert first.ratio_interval[0] <= first.ratio_to_reference <= first.ratio_interval[1]
    assert first.size_bytes == os.path.getsize(large.path)
    assert first.placement is None
    record = first.as_json()
    assert record["threads"] == 1
    assert record["latency_ms"]["n"] == 30


def test_peak_memory_grows_with_the_weights(device, tmp_path):
    small = make_artifact(tmp_path / "small.onnx", channels=4)
    large = make_artifact(tmp_path / "large.onnx", channels=1024, image_size=2)
    assert large.size_bytes > 30e6
    slight, heavy = device.peak_memory(small), device.peak_memory(large)
    if slight is None:
        pytest.skip("the system does not tell")
    assert heavy > slight + 0.9 * large.size_bytes


def test_slow_artifacts_get_fewer_runs(tmp_path):
    artifact = make_artifact(tmp_path / "large.onnx", channels=64, image_size=64)
    (samples,) = OnnxRuntimeDevice(threads=1, seconds=0.01).time([artifact], warmup=1000, runs=1000)
    assert 10 <= len(samples) < 1000


def test_no_reference_no_ratio_and_no_memory_on_request(device, tmp_path):
    artifact = make_artifact(tmp_path / "small.onnx")
    (measurement,) = measure_artifacts(device, [artifact], warmup=1, runs=12, memory=False)
    assert measurement.ratio_to_reference is None
    assert measurement.ratio_interval is None
    assert measurement.peak_memory_bytes is None
    assert measure_artifacts(device, []) == []


def test_placement_names_the_provider_that_did_the_work(device, tmp_path):
    import onnxruntime

    if "AzureExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("no provider here that leaves the graph to the CPU")
    artifact = make_artifact(tmp_path / "small.onnx")
    nodes = OnnxRuntimeDevice(threads=1, provider="azure").placement(artifact)
    assert set(nodes) == {"CPUExecutionProvider"}
    assert nodes["CPUExecutionProvider"] >= 4
    assert device.placement(artifact) is None


def test_bad_files_are_one_line_each(device, tmp_path):
    artifact = make_artifact(tmp_path / "small.onnx")
    missing = replace(artifact, path=str(tmp_path / "none.onnx"))
    broken = replace(artifact, path=str(tmp_path / "broken.onnx"))
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    wrong = replace(artifact, input_shape=(1, 2, 3))
    asks = [
        lambda a: device.time([artifact, a], warmup=1, runs=10),
        device.peak_memory,
        lambda a: device.run(a, np.zeros((1, *a.input_shape), np.float32)),
    ]
    for bad in (missing, broken, wrong):
        for ask in asks:
            with pytest.raises(InputError) as caught:
                ask(bad)
            assert str(caught.value).startswith(bad.path)
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="runs=0"):
        device.time([artifact], warmup=0, runs=0)


def test_only_one_holds_the_machine(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "lock_path", lambda: tmp_path / "lock")
    code = (
        "import sys, time; from pathlib import Path; from limbeck.measure import exclusive, lock\n"
        f"lock.lock_path = lambda: Path({str(tmp_path / 'lock')!r})\n"
        "with exclusive():\n    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        started = time.monotonic()
        with pytest.raises(BlockingIOError):
            _try_lock(tmp_path / "lock")
        # killed, not closed: the lock must not outlive its holder
        other.kill()
        other.wait()
    with exclusive():
        assert time.monotonic() - started < 30
        with pytest.raises(BlockingIOError):
            _try_lock(tmp_path / "lock")
    _try_lock(tmp_path / "lock")


def _try_lock(path):
    import fcntl

    with open(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_timing_waits_for_the_other_timing(device, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "lock_path", lambda: tmp_path / "lock")
    artifact = make_artifact(tmp_path / "small.onnx")
    script = (
        "import sys; from pathlib import Path; from limbeck.measure import OnnxRuntimeDevice, lock\n"
        "from limbeck.types import Artifact\n"
        f"lock.lock_path = lambda: Path({str(tmp_path / 'lock')!r})\n"
        f"OnnxRuntimeDevice(threads=1).time([{artifact!r}], warmup=1, runs=10); print('timed', flush=True)\n"
    )
    with exclusive():
        other = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert "another timing" in other.stderr.readline()
        assert other.poll() is None
    out, _ = other.communicate(timeout=60)
    assert out == "timed\n"


def test_the_machine_stays_held_while_an_orphan_still_times_and_it_soon_stops(tmp_path):
    artifact = make_artifact(tmp_path / "small.onnx")
    path = tmp_path / "lock"
    script = (
        "from pathlib import Path; from limbeck.measure import OnnxRuntimeDevice, lock\n"
        "from limbeck.types import Artifact\n"
        f"lock.lock_path = lambda: Path({str(path)!r})\n"
        f"OnnxRuntimeDevice(threads=1, seconds=600).time([{artifact!r}], warmup=1, runs=10**9)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as asker:
        processes = psutil.Process(asker.pid)
        while not (children := processes.children()):
            assert asker.poll() is None
            time.sleep(0.05)
        worker = children[0]
        worker.suspend()
        asker.kill()
        asker.wait()
        with pytest.raises(BlockingIOError):
            _try_lock(path)
        worker.resume()
    worker.wait(timeout=60)  # 600 seconds were asked
    _try_lock(path)


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "lock_path", lambda: tmp_path / "none" / "lock")
    with pytest.raises(InputError, match="cannot open the lock of timings"), exclusive():
        pass


def test_one_line_of_python_measures_a_file(tmp_path):
    artifact = make_artifact(tmp_path / "model.onnx")
    measurement = open_device("onnxruntime,threads=1").measure(artifact, warmup=2, runs=20, memory=False)
    assert measurement.latency_ms.n == 20
    assert measurement.artifact == artifact.path
    from_path = pytest.importorskip("limbeck.deployed")
    assert from_path.read_artifact(artifact.path).input_shape == artifact.input_shape
    assert (
        open_device("onnxruntime,threads=1").measure(artifact.path, warmup=1, runs=12).size_bytes == artifact.size_bytes
    )
    with pytest.raises(InputError, match=r"none\.onnx"):
        open_device("onnxruntime,threads=1").measure(tmp_path / "none.onnx")
