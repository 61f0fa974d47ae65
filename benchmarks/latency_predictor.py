"""How well latencies of a space's networks are told from a table of their fused kernels, measured on this device.

    python benchmarks/latency_predictor.py [--reference mobilenet_v2_050] [--size 64] [--networks 120] [--kernels-of 40]
        [--target onnxruntime,threads=1] [--runs 200] [--table latencies.json] [--shared]

Networks are drawn at random from MnasNet's factorized space around the reference. The kernels of the first `--kernels-of`
are timed, then whole networks. The predictor joins kernels by one half of the networks and is judged on the other, with
every kernel that only they have left out; the table alone is judged on networks whose kernels were all timed. What was
timed is kept in `--table`, and a second call goes on.

With `--shared` the fastest twentieth of the samples stands for all: on a machine whose processors are busy with others'
work, medians tell who else was there.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import InputError
from limbeck.measure import OnnxRuntimeDevice
from limbeck.measure.latency_predictor import LatencyPredictor
from limbeck.models import family_table
from limbeck.pipeline.latency_table import build_latency_table
from limbeck.search import mnasnet_space
from limbeck.types import Artifact


class SharedMachine(OnnxRuntimeDevice):
    """ONNX Runtime on a machine with neighbours: every sample is the fastest twentieth of a file's."""

    @property
    def target(self) -> str:
        """The string that opens it again from this script."""
        return f"latency_predictor:SharedMachine,threads={self.threads}"

    def time(self, artifacts: Sequence[Artifact], **how: Any) -> list[list[float]]:
        """As its base, but steady."""
        return [[float(np.percentile(one, 5))] * len(one) for one in super().time(artifacts, **how)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="mobilenet_v2_050")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--networks", type=int, default=120)
    parser.add_argument("--kernels-of", type=int, default=40)
    parser.add_argument("--target", default="onnxruntime,threads=1")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--table", type=Path, default=Path("latencies.json"))
    parser.add_argument("--shared", action="store_true")
    given = parser.parse_args()
    reference = family_table(given.reference, num_classes=100, input_size=(given.size, given.size))
    space = mnasnet_space(reference, ops=("sepconv", "mbconv3", "mbconv6"), skips=("identity", "none"))
    draw = random.Random(0)
    points = [{name: draw.choice(list(ids)) for name, ids in space.choices.items()} for _ in range(given.networks)]
    tables = [space.build(point) for point in points]
    started = time.perf_counter()
    table = build_latency_table(
        given.table,
        tables[: given.kernels_of],
        networks=tables,
        target="latency_predictor:SharedMachine,threads=1" if given.shared else given.target,
        runs=given.runs,
        on_progress=lambda done, of: print(f"{done} of {of}, {time.perf_counter() - started:.0f} s", flush=True),
    )
    print(f"{table.device.device}, {table.device.runtime} {table.device.runtime_version}, {table.device.target}")
    print(f"{len(table.kernels)} kernels, {len(table.networks)} networks of {space.size:.3g}")
    for source in ("table", "predictor"):
        try:
            error = LatencyPredictor(table, source=source).error
            print(f"{source}: {error}; median error {error.median:.1%}, worst {error.worst:.1%}")
        except InputError as refused:
            print(f"{source}: {refused}")


if __name__ == "__main__":
    main()
