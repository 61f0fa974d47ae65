import builtins
import os

import pytest

from limbeck.errors import InputError
from limbeck.measure import TARGETS, OnnxRuntimeDevice, open_device, read_target
from limbeck.testing import FakeDevice


def test_reading_a_target_string():
    assert read_target("onnxruntime") == ("onnxruntime", {})
    assert read_target(" onnxruntime , threads = 4") == ("onnxruntime", {"threads": "4"})
    assert read_target("my.part:Board,port=/dev/tty0") == ("my.part:Board", {"port": "/dev/tty0"})


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("", "a runtime is expected"),
        ("onnxruntime,threads", "'threads' is not of the form option=value"),
        ("onnxruntime,threads=", "not of the form"),
        ("onnxruntime,threads=1,threads=2", "'threads' is given twice"),
        ("onnxruntim", "did you mean 'onnxruntime'"),
        ("onnxruntime,thread=1", "unknown option 'thread'; did you mean 'threads'"),
        ("onnxruntime,threads=two", "threads=two: a whole number is expected"),
        ("onnxruntime,threads=1.5", "threads=1.5: a whole number is expected"),
        ("onnxruntime,threads=0", "threads=0: at least 1"),
        ("onnxruntime,seconds=nan", "seconds=nan: a number is expected"),
        ("onnxruntime,seconds=-1", "seconds=-1: a positive number"),
        ("onnxruntime,affinity=a", "a whole number .several joined by .. is expected"),
        ("onnxruntime,provider=cpuu", "unknown provider 'cpuu'; did you mean 'cpu'"),
        ("limbeck.testing:NoDevice", "module 'limbeck.testing' has no 'NoDevice'"),
        ("limbeck.nowhere:Device", "cannot import 'limbeck.nowhere'"),
        ("limbeck.testing:make_artifact,path=x", "without describe, time, run, peak_memory"),
        ("limbeck.testing:__all__", "is not a class or function that makes a device"),
        ("json:loads", "'json:loads' makes no device of these options"),
    ],
)
def test_bad_targets_are_one_line_each(target, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        open_device(target)
    assert "\n" not in str(caught.value)
    assert "target" in str(caught.value)


def test_options_are_read_by_their_annotation():
    device = open_device("limbeck.testing:FakeDevice,latency_ms=2,seed=7,noise=0.5")
    assert isinstance(device, FakeDevice)
    assert (device.latency_ms, device.seed, device.noise) == (2.0, 7, 0.5)
    assert isinstance(device.latency_ms, float)


def test_outside_device_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_board_of_test.py").write_text(
        "from limbeck.testing import FakeDevice\n"
        "class Board(FakeDevice):\n"
        "    def __init__(self, port, fast: bool = False, speeds: tuple[float, ...] = ()):\n"
        "        super().__init__(latency_ms=1.0)\n"
        "        self.port, self.fast, self.speeds = port, fast, speeds\n"
    )
    monkeypatch.chdir(tmp_path)
    board = open_device("my_board_of_test:Board,port=7,fast=true,speeds=1+2.5")
    assert (board.port, board.fast, board.speeds) == ("7", True, (1.0, 2.5))
    with pytest.raises(InputError, match="fast=yes: true or false is expected"):
        open_device("my_board_of_test:Board,port=7,fast=yes")


def test_missing_runtime_is_one_line_with_the_remedy(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        open_device("onnxruntime")


def test_target_opens_the_same_device_again():
    usable = sorted(os.sched_getaffinity(0))[:1] if hasattr(os, "sched_getaffinity") else []
    affinity = f",affinity={usable[0]}" if usable else ""
    for target in ("onnxruntime", "onnxruntime,threads=3,seconds=2.5", f"onnxruntime,threads=1{affinity}"):
        device = open_device(target)
        assert open_device(device.target).target == device.target == device.describe().target
    assert open_device("onnxruntime").threads >= 1
    assert TARGETS["onnxruntime"] is OnnxRuntimeDevice


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system cannot bind a process")
def test_affinity_must_be_processors_of_this_process():
    with pytest.raises(InputError, match="affinity=4095: this process may use"):
        open_device("onnxruntime,affinity=4095")
    usable = sorted(os.sched_getaffinity(0))
    every = "+".join(map(str, usable))
    assert open_device(f"onnxruntime,affinity={every}").threads == len(usable)
