"""A process of its own that runs models in ONNX Runtime under the clock: one JSON request in, one JSON reply out.

It imports nothing of ours, and neither statistics nor records live here: alone with the runtime, no thread pool, heap
or garbage of the calling process disturbs a sample, and the same script can be copied to any machine with Python.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from typing import Any

import numpy as np
import onnxruntime

SETTLE_RUNS = 5  # untimed calls at the start of a turn, at most
TURN_RUNS = 10  # timed calls of a turn, at most
SETTLE_MS = 30.0
TURN_MS = 50.0
FEWEST_SAMPLES = 10


def open_session(
    artifact: dict[str, Any], request: dict[str, Any], *, profile: str = ""
) -> onnxruntime.InferenceSession:
    """Open a session as a deployment would, but for one thing: its threads stop spinning when a call ends.

    With several sessions in one process, the spinning threads of the last one would take the cores of the next: on two
    cores and two threads that doubles the next one's time for some 70 ms, while stopping them moves a session that is
    alone by less than 5 %.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    session = onnxruntime.InferenceSession(artifact["path"], options, providers=request["providers"])
    if len(session.get_inputs()) != 1:
        raise ValueError(f"has {len(session.get_inputs())} inputs; a model with one input is expected")
    return session


def feed(artifact: dict[str, Any], session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Fixed random input of one sample: times must not depend on chance, and zeros can be faster than pictures."""
    generator = np.random.default_rng(0)
    shape = (1, *artifact["input_shape"])
    if artifact["input_dtype"] == "uint8":
        values: np.ndarray = generator.integers(0, 256, shape, dtype=np.uint8)
    else:
        values = generator.random(shape, dtype=np.float32)
    return {session.get_inputs()[0].name: values}


class Timed:
    """One artifact under the clock."""

    def __init__(self, artifact: dict[str, Any], request: dict[str, Any]) -> None:
        self.session = open_session(artifact, request)
        self.feed = feed(artifact, self.session)
        self.samples: list[float] = []

    def call(self) -> float:
        """Milliseconds of one call."""
        started = time.perf_counter_ns()
        self.session.run(None, self.feed)
        return (time.perf_counter_ns() - started) / 1e6

    def warm_up(self, runs: int, seconds: float) -> float:
        """Call `runs` times, or fewer when `seconds` are over; milliseconds of the last call."""
        started, last = time.monotonic(), self.call()
        for _ in range(runs - 1):
            if time.monotonic() - started > seconds:
                break
            last = self.call()
        return last

    def turn(self, settle: int, runs: int) -> None:
        """Take some samples, after untimed calls that bring this artifact's code and weights back into the caches.

        Directly after another network ran, a small one takes twice its time, and it needs four or five calls to settle.
        """
        for _ in range(settle):
            self.call()
        self.samples += [self.call() for _ in range(runs)]


def measure_time(request: dict[str, Any]) -> dict[str, Any]:
    """Time every artifact `runs` times: in turns (A A B B A A B B ...) when interleaved, else one after the other."""
    timed = [each(artifact, lambda a: Timed(a, request)) for artifact in request["artifacts"]]
    seconds, runs, asker = request["seconds"], request["runs"], request["asker"]
    gc.collect()
    gc.disable()
    for group in [timed] if request["interleave"] else [[one] for one in timed]:
        last_ms = [one.warm_up(request["warmup"], seconds / 4) for one in group]
        # equal turns for all, so that the n-th samples of two artifacts are of the same moment
        turn = max(2, min(TURN_RUNS, math.ceil(TURN_MS / max(last_ms))))
        settle = [max(1, min(SETTLE_RUNS, math.ceil(SETTLE_MS / ms))) for ms in last_ms]
        deadline = time.monotonic() + seconds * len(group)
        while (done := len(group[0].samples)) < runs:
            if done >= FEWEST_SAMPLES and time.monotonic() > deadline:
                break
            if asker is not None and os.getppid() != asker:
                sys.exit("the process that asked has gone")
            for one, calls in zip(group, settle, strict=True):
                one.turn(calls, min(turn, runs - done))
    return {"samples": [one.samples for one in timed]}


def measure_memory(request: dict[str, Any]) -> dict[str, Any]:
    """Peak resident bytes that loading and running the artifact added to a process that had the runtime already."""
    artifact = request["artifacts"][0]
    gc.collect()
    try:
        with open("/proc/self/clear_refs", "w") as handle:
            handle.write("5")  # forget the peak of start-up
    except OSError:
        pass
    before = resident_bytes(peak=False)
    session = each(artifact, lambda a: open_session(a, request))
    inputs = feed(artifact, session)
    for _ in range(2):
        session.run(None, inputs)
    after = resident_bytes(peak=True)
    return {"bytes": None if before is None or after is None else max(0, after - before)}


def resident_bytes(*, peak: bool) -> int | None:
    """Resident memory of this process, now or at its peak; None where the system does not tell."""
    try:
        with open("/proc/self/status") as handle:  # not ru_maxrss, which starts at the parent's peak on Linux
            fields = dict(line.split(":", 1) for line in handle if ":" in line)
        return int(fields["VmHWM" if peak else "VmRSS"].split()[0]) * 1024
    except (OSError, KeyError):
        pass
    try:
        import psutil
    except ImportError:
        return None
    memory = psutil.Process().memory_info()
    if not peak:
        return memory.rss
    if hasattr(memory, "peak_wset"):
        return memory.peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts it in bytes


def find_placement(request: dict[str, Any]) -> dict[str, Any]:
    """Number of executed nodes by execution provider, from the runtime's own profile of one call."""
    artifact = request["artifacts"][0]
    with tempfile.TemporaryDirectory() as folder:
        session = each(artifact, lambda a: open_session(a, request, profile=os.path.join(folder, "profile")))
        session.run(None, feed(artifact, session))
        with open(session.end_profiling()) as handle:
            events = json.load(handle)
    # a node has several events (fence before, kernel time, fence after): its kernel time names the provider
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    return {"nodes": dict(Counter(event["args"]["provider"] for event in kernels if event["args"].get("provider")))}


class ArtifactError(Exception):
    """The runtime refused an artifact."""


def each(artifact: dict[str, Any], work: Any) -> Any:
    """Do `work` on the artifact; the runtime's complaint becomes one line that names the file."""
    try:
        return work(artifact)
    except Exception as error:  # the runtime raises many kinds, none of them public
        raise ArtifactError(f"{artifact['path']}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The first line of a message, without the runtime's prefix."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removeprefix("[ONNXRuntimeError] : ")


def main() -> None:
    """Answer the one request on stdin."""
    request = json.load(sys.stdin)
    if request["affinity"]:
        os.sched_setaffinity(0, request["affinity"])  # before any session: its threads inherit it
    answers = {"time": measure_time, "memory": measure_memory, "placement": find_placement}
    try:
        reply = answers[request["do"]](request)
    except ArtifactError as error:
        reply = {"error": str(error)}
    except Exception as error:
        names = ", ".join(artifact["path"] for artifact in request["artifacts"])
        reply = {"error": f"{names}: {one_line(error)}"}
    json.dump(reply, sys.stdout)


if __name__ == "__main__":
    main()
