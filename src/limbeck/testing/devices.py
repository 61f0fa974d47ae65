"""What every device must do: the conformance suite for a device of your own. The devices are `limbeck.measure`'s."""

from __future__ import annotations

import math

import numpy as np

from limbeck.protocols import Device
from limbeck.types import Artifact, DeviceInfo

__all__ = ["check_device"]


def check_device(device: Device, artifact: Artifact, *, tolerance: float = 1e-4) -> None:
    """Hold a device to the protocol, with a file that it can run (`limbeck.testing.make_artifact` writes one).

    Raises:
        AssertionError: the first rule that it breaks, in words.
    """
    assert isinstance(device, Device), f"{type(device).__name__} lacks a method of limbeck.protocols.Device"
    info = device.describe()
    assert isinstance(info, DeviceInfo), "describe() must return a DeviceInfo"
    for field in ("target", "device", "runtime", "runtime_version"):
        assert getattr(info, field), f"describe().{field} is empty"
    assert info.threads >= 1, "describe().threads must be at least 1"

    _check_samples(device, artifact)
    _check_outputs(device, artifact, tolerance)
    peak = device.peak_memory(artifact)
    assert peak is None or (isinstance(peak, int) and peak >= 0), "peak_memory must be None or a number of bytes"


def _check_samples(device: Device, artifact: Artifact) -> None:
    assert device.time([], warmup=0, runs=1) == [], "time() of no artifacts must be no samples"
    for interleave in (True, False):
        samples = device.time([artifact, artifact, artifact], warmup=1, runs=12, interleave=interleave)
        assert len(samples) == 3, "time() must return one list per artifact, also where one is given more than once"
        for taken in samples:
            assert 10 <= len(taken) <= 12, f"12 runs were asked, {len(taken)} samples came"
            assert all(isinstance(ms, float) and math.isfinite(ms) and ms > 0 for ms in taken), (
                "samples must be positive milliseconds, as floats"
            )
    assert len({len(taken) for taken in samples}) == 1, "artifacts timed together must have equally many samples"


def _check_outputs(device: Device, artifact: Artifact, tolerance: float) -> None:
    generator = np.random.default_rng(0)
    shape = (3, *artifact.input_shape)
    if artifact.input_dtype == "uint8":
        inputs = generator.integers(0, 256, shape, dtype=np.uint8)
    else:
        inputs = generator.random(shape).astype(np.float32)
    outputs = device.run(artifact, inputs)
    assert isinstance(outputs, np.ndarray), "run() must return an array"
    assert len(outputs) == 3, f"run() of 3 inputs must return 3 outputs, not {len(outputs)}"
    np.testing.assert_array_equal(device.run(artifact, inputs), outputs, "run() must give the same outputs again")
    for position in range(3):
        alone = device.run(artifact, inputs[position : position + 1])
        np.testing.assert_allclose(
            alone[0], outputs[position], atol=tolerance, err_msg="an output must not depend on its batch"
        )
    assert not np.allclose(outputs[0], outputs[1], atol=1e-9), "different inputs gave the same output"
