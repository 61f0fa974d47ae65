"""A device of your own: ONNX's reference interpreter in NumPy. As a target: `my_device:ReferenceDevice,rounds=2`.

A device is anything with these four methods. Its constructor's arguments are the options of the target string, read by
their annotations. Statistics are Limbeck's: a device only returns raw samples.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from limbeck.measure import exclusive
from limbeck.types import Artifact, DeviceInfo


class ReferenceDevice:
    """Runs ONNX files with the interpreter that comes with ONNX: slow, and right by definition.

    Args:
        rounds: calls per sample, whose mean is the sample.
    """

    def __init__(self, *, rounds: int = 1) -> None:
        self.rounds = rounds

    def describe(self) -> DeviceInfo:
        """What this is, in words and versions."""
        return DeviceInfo(
            target=f"my_device:ReferenceDevice,rounds={self.rounds}",
            device=platform.processor() or platform.machine(),
            runtime="onnx.reference",
            runtime_version=onnx.__version__,
            threads=1,
            os=platform.system(),
        )

    def time(
        self, artifacts: Sequence[Artifact], *, warmup: int, runs: int, interleave: bool = True
    ) -> list[list[float]]:
        """Samples in milliseconds of one picture each, the artifacts in turn."""
        calls = [self._call(artifact) for artifact in artifacts]
        samples: list[list[float]] = [[] for _ in artifacts]
        order = range(len(artifacts))
        turns = [n for _ in range(runs) for n in order] if interleave else [n for n in order for _ in range(runs)]
        with exclusive():  # never two timings on this machine at once
            for call in calls:
                for _ in range(warmup):
                    call()
            for n in turns:
                started = time.perf_counter_ns()
                for _ in range(self.rounds):
                    calls[n]()
                samples[n].append((time.perf_counter_ns() - started) / 1e6 / self.rounds)
        return samples

    def run(self, artifact: Artifact, inputs: np.ndarray) -> np.ndarray:
        """The first output for a batch."""
        interpreter = ReferenceEvaluator(artifact.path)
        return interpreter.run(None, {interpreter.input_names[0]: inputs})[0]

    def peak_memory(self, artifact: Artifact) -> int | None:
        """Unknown: the interpreter lives in this process."""
        return None

    def _call(self, artifact: Artifact):
        interpreter = ReferenceEvaluator(artifact.path)
        picture = np.zeros((1, *artifact.input_shape), artifact.input_dtype)
        return lambda: interpreter.run(None, {interpreter.input_names[0]: picture})
