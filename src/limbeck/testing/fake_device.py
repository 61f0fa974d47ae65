"""A device whose latencies are known beforehand, so that what stands on measured latency can be tested anywhere."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from limbeck.errors import InputError
from limbeck.testing.artifacts import count_onnx_macs
from limbeck.types import Artifact, DeviceInfo

__all__ = ["FakeDevice"]


class FakeDevice:
    """A device that computes a latency from the file instead of taking the time; outputs are real (ONNX Runtime's).

    The latency is `base_ms + ms_per_million_macs * MACs / 1e6`, a pure function of the file's graph: equal files take
    equally long on every machine, and a larger network or picture takes longer. Open it by its target string,
    `limbeck.testing:FakeDevice,ms_per_million_macs=0.2`, or with `latency_ms` for the same figure always.

    Args:
        base_ms: latency of an empty network, ms.
        ms_per_million_macs: ms per 10^6 multiply-accumulates.
        latency_ms: the latency of every file, instead.
        latencies: ms by file name, before everything else (from Python only).
        noise: standard deviation of the logarithm of the samples; 0 = every sample is the same.
        seed: of the noise, which is a pure function of the seed, the file's name and the number of runs.
    """

    def __init__(
        self,
        *,
        base_ms: float = 0.1,
        ms_per_million_macs: float = 0.1,
        latency_ms: float | None = None,
        latencies: Mapping[str, float] | None = None,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.base_ms, self.ms_per_million_macs, self.latency_ms = base_ms, ms_per_million_macs, latency_ms
        self.latencies = dict(latencies or {})
        self.noise, self.seed = noise, seed
        self.calls: list[tuple[str, ...]] = []
        """File names of each `time` call so far: a test can see what was timed together, and in which order."""

    def describe(self) -> DeviceInfo:
        """Names itself as what it is."""
        options = {
            "base_ms": self.base_ms,
            "ms_per_million_macs": self.ms_per_million_macs,
            "latency_ms": self.latency_ms,
            "noise": self.noise,
            "seed": self.seed,
        }
        given = "".join(f",{key}={value}" for key, value in options.items() if value is not None)
        return DeviceInfo(
            target=f"limbeck.testing:FakeDevice{given}",
            device="fake device",
            runtime="fake",
            runtime_version="1",
            threads=1,
        )

    def expected_ms(self, artifact: Artifact) -> float:
        """The latency that this device has for a file, without noise."""
        if (name := Path(artifact.path).name) in self.latencies:
            return self.latencies[name]
        if self.latency_ms is not None:
            return self.latency_ms
        return self.base_ms + self.ms_per_million_macs * count_onnx_macs(artifact.path) / 1e6

    def time(
        self, artifacts: Sequence[Artifact], *, warmup: int, runs: int, interleave: bool = True
    ) -> list[list[float]]:
        """`runs` samples per artifact around its expected latency, at once."""
        self.calls.append(tuple(Path(artifact.path).name for artifact in artifacts))
        return [self._samples(artifact, runs) for artifact in artifacts]

    def run(self, artifact: Artifact, inputs: np.ndarray) -> np.ndarray:
        """The first output for a batch of inputs."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
            return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])
        except Exception as error:  # the runtime's own exception classes are not public
            raise InputError(f"{artifact.path}: {str(error).splitlines()[0]}") from error

    def peak_memory(self, artifact: Artifact) -> int | None:
        """The file's size: a network is at least its weights."""
        return artifact.size_bytes

    def _samples(self, artifact: Artifact, runs: int) -> list[float]:
        expected = self.expected_ms(artifact)
        if self.noise == 0:
            return [expected] * runs
        name = zlib.crc32(Path(artifact.path).name.encode())
        noise = np.random.default_rng([self.seed, name]).standard_normal(runs)
        return [float(value) for value in expected * np.exp(self.noise * noise)]
