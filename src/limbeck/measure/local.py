"""This machine as a device: ONNX Runtime in a clean process of its own. No statistics, and no other machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.cores import usable_cores
from limbeck.errors import InputError, unknown_name
from limbeck.measure.artifacts import measure_artifacts
from limbeck.measure.lock import exclusive
from limbeck.types import Artifact, DeviceInfo, Measurement

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxRuntimeDevice"]

WORKER = Path(__file__).with_name("worker.py")


class OnnxRuntimeDevice:
    """ONNX Runtime on this machine.

    Timing and memory run in a process of their own that holds nothing but the runtime, one at a time on the machine
    (`limbeck.measure.exclusive`). A latency is that of one `InferenceSession.run` from Python at batch 1, called in a
    loop: the caches are warm, and the first call after a pause takes longer.

    Args:
        threads: threads of one call; None = the physical cores this process may use.
        affinity: processor numbers that the process is bound to (Linux); None = where the system puts it.
        provider: execution provider by its short name (`cpu`, `cuda`, `coreml`, ...).
        seconds: longest timing per artifact; a slow one gets fewer runs than asked, but ten at least.

    Raises:
        InputError: ONNX Runtime is not installed or has no such provider, or a value this machine cannot satisfy.
    """

    def __init__(
        self,
        *,
        threads: int | None = None,
        affinity: tuple[int, ...] | None = None,
        provider: str = "cpu",
        seconds: float = 20.0,
    ) -> None:
        self._runtime = _import_runtime()
        providers = {_short(name): name for name in self._runtime.get_available_providers()}
        if provider.lower() not in providers:
            raise unknown_name("provider", provider, providers, where="target onnxruntime")
        if threads is not None and threads < 1:
            raise InputError(f"target onnxruntime: threads={threads}: at least 1 is expected")
        if not seconds > 0:
            raise InputError(f"target onnxruntime: seconds={seconds:g}: a positive number is expected")
        self.affinity = tuple(sorted(set(affinity))) if affinity is not None else None
        if self.affinity is not None:
            _check_affinity(self.affinity)
        self.threads = threads or (len(self.affinity) if self.affinity else _physical_cores())
        self.provider = provider.lower()
        self.seconds = seconds
        fallback = [] if self.provider == "cpu" else ["CPUExecutionProvider"]
        self._providers = [providers[self.provider], *fallback]
        self._session: tuple[tuple[str, float], onnxruntime.InferenceSession] | None = None

    @property
    def target(self) -> str:
        """The string that opens this device again."""
        parts = ["onnxruntime", f"threads={self.threads}"]
        if self.affinity is not None:
            parts.append("affinity=" + "+".join(map(str, self.affinity)))
        if self.provider != "cpu":
            parts.append(f"provider={self.provider}")
        if self.seconds != 20.0:
            parts.append(f"seconds={self.seconds:g}")
        return ",".join(parts)

    def describe(self) -> DeviceInfo:
        """The processor, the runtime's version and the system."""
        return DeviceInfo(
            target=self.target,
            device=_processor_name(),
            runtime="onnxruntime",
            runtime_version=self._runtime.__version__,
            threads=self.threads,
            os=f"{platform.system()} {platform.release()} {platform.machine()}",
        )

    def time(
        self, artifacts: Sequence[Artifact], *, warmup: int, runs: int, interleave: bool = True
    ) -> list[list[float]]:
        """Raw samples in milliseconds per artifact at batch 1; equally many for all when interleaved.

        Interleaved artifacts take turns of a few calls each; untimed calls that bring the caches back open every turn.

        Raises:
            InputError: a file is missing, or the runtime refuses it.
        """
        if not artifacts:
            return []
        if runs < 1 or warmup < 0:
            raise InputError(f"warmup={warmup}, runs={runs}: at least 0 and 1 are expected")
        return self._ask("time", artifacts, warmup=warmup, runs=runs, interleave=interleave)["samples"]

    def peak_memory(self, artifact: Artifact) -> int | None:
        """Bytes of resident memory that loading and running it adds to a process which has the runtime loaded already.

        Raises:
            InputError: the file is missing, or the runtime refuses it.
        """
        return self._ask("memory", [artifact])["bytes"]

    def placement(self, artifact: Artifact) -> dict[str, int] | None:
        """Nodes by execution provider where any of them ran elsewhere than asked; None where all ran as asked."""
        if self.provider == "cpu":  # the only provider of the session: nowhere else to run
            return None
        nodes = self._ask("placement", [artifact])["nodes"]
        return None if set(nodes) <= {self._providers[0]} else nodes

    def run(self, artifact: Artifact, inputs: np.ndarray) -> np.ndarray:
        """The first output for a batch of inputs.

        Raises:
            InputError: the file is missing, or the runtime refuses it or the inputs.
        """
        session = self._open(artifact)
        try:
            return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])
        except Exception as error:  # the runtime's own exception classes are not public
            raise InputError(f"{artifact.path}: {_first_line(error)}") from error

    def measure(
        self, model: str | Path | Artifact, *, warmup: int = 30, runs: int = 300, memory: bool = True
    ) -> Measurement:
        """Time one model file, ours or anyone's.

        Raises:
            InputError: the file is missing, is no ONNX model, or has an input that a picture classifier does not have.
        """
        from limbeck.deployed import read_artifact

        artifact = model if isinstance(model, Artifact) else read_artifact(model)
        return measure_artifacts(self, [artifact], warmup=warmup, runs=runs, memory=memory)[0]

    def _open(self, artifact: Artifact) -> onnxruntime.InferenceSession:
        key = (artifact.path, _modified(artifact))
        if self._session is None or self._session[0] != key:
            options = self._runtime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.log_severity_level = 3
            try:
                session = self._runtime.InferenceSession(artifact.path, options, providers=self._providers)
            except Exception as error:  # the runtime's own exception classes are not public
                raise InputError(f"{artifact.path}: {_first_line(error)}") from error
            self._session = (key, session)
        return self._session[1]

    def _ask(self, do: str, artifacts: Sequence[Artifact], **details: Any) -> dict[str, Any]:
        for artifact in artifacts:
            _modified(artifact)
        request = {
            "do": do,
            "artifacts": [asdict(artifact) for artifact in artifacts],
            "threads": self.threads,
            "affinity": self.affinity,
            "providers": self._providers,
            "seconds": self.seconds,
            # a worker whose asker was killed must not go on holding the machine; on Windows a launcher stands between
            "asker": os.getpid() if os.name == "posix" else None,
            **details,
        }
        with exclusive() as held:
            done = subprocess.run(  # -P: the worker's folder must not shadow anyone's modules
                [sys.executable, "-P", str(WORKER)],
                input=json.dumps(request),
                capture_output=True,
                text=True,
                pass_fds=held,
                check=False,
            )
        try:
            reply = json.loads(done.stdout)
        except json.JSONDecodeError:
            names = ", ".join(artifact.path for artifact in artifacts)
            why = (done.stderr.strip().splitlines() or ["no message; out of memory?"])[-1]
            raise InputError(f"{names}: the runtime's process ended with {done.returncode} ({why})") from None
        if "error" in reply:
            raise InputError(reply["error"])
        return reply


def _import_runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"target onnxruntime: ONNX Runtime is not usable ({error}); pip install onnxruntime (or onnxruntime-gpu)"
        ) from error
    return onnxruntime


def _short(provider: str) -> str:
    return provider.removesuffix("ExecutionProvider").lower()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removeprefix("[ONNXRuntimeError] : ")


def _modified(artifact: Artifact) -> float:
    try:
        return os.stat(artifact.path).st_mtime
    except OSError as error:
        raise InputError(f"{artifact.path}: cannot read the model file ({error.strerror or error})") from error


def _check_affinity(affinity: tuple[int, ...]) -> None:
    if not hasattr(os, "sched_getaffinity"):
        raise InputError(f"target onnxruntime: affinity cannot be set on {platform.system()}; leave it out")
    allowed = os.sched_getaffinity(0)
    if not affinity or not set(affinity) <= allowed:
        given = "+".join(map(str, affinity))
        raise InputError(
            f"target onnxruntime: affinity={given}: this process may use {'+'.join(map(str, sorted(allowed)))}"
        )


def _physical_cores() -> int:
    import psutil

    usable = usable_cores()
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))


@cache
def _processor_name() -> str:
    """The board's name where there is one (a Raspberry Pi says it), else the processor's."""
    try:
        board = Path("/proc/device-tree/model").read_text().strip("\0\n ")
        if board:
            return board
    except OSError:
        pass
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()
