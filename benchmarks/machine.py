"""What benchmarks tell and ask of the machine they run on. No torch: for some, what a process imports is in the figure."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def high_water() -> int:
    """Largest resident memory of this process so far, in kB (Linux: getrusage would tell that of its parent)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


if __name__ == "__main__":
    print(f"{cpu_name()}, {os.cpu_count()} processors, Python {platform.python_version()}")
