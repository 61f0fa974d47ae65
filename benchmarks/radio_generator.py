"""How many frames per second one core makes, by profile, and what writing a file of them takes in memory.

    python benchmarks/radio_generator.py
    python benchmarks/radio_generator.py --frames 400

Processor time of this process, so that a busy machine tells the same; the median of `--rounds`.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

from limbeck.data.radio import PROFILES, make_signals, write_signals


def frames_per_second(profile: str, length: int, frames: int, rounds: int) -> float:
    """Median over the rounds, all classes and four SNRs."""
    rates = []
    for seed in range(rounds + 1):
        start = time.process_time()
        made = make_signals(profile, frames_per_cell=frames, seed=seed, snrs=[-10, 0, 10, 18], length=length)
        rates.append(len(made) / (time.process_time() - start))
    return statistics.median(rates[1:])  # the first round fills caches


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=128, help="per class and SNR")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{'profile':14}{'length':>8}{'frames/s':>12}{'Msamples/s':>12}")
    for profile in PROFILES:
        for length in (128, 1024):
            rate = frames_per_second(profile, length, max(options.frames * 128 // length, 16), options.rounds)
            print(f"{profile:14}{length:8}{rate:12,.0f}{rate * length / 1e6:12.2f}")
    with tempfile.TemporaryDirectory() as folder:
        for frames in (100, 1000):
            before, start = peak_bytes(), time.process_time()
            path = write_signals(Path(folder) / "a.npz", frames_per_cell=frames, seed=0)
            print(
                f"{path.stat().st_size / 2**20:7.0f} MiB written in {time.process_time() - start:.1f} s of processor time; "
                f"peak memory rose by {(peak_bytes() - before) / 2**20:.0f} MiB"
            )


if __name__ == "__main__":
    main()
