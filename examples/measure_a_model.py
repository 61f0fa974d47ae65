"""What does a network cost on a device? Export it and time the file in the device's own runtime.

Two widths are timed in turn with each other, so that a neighbour's load moves both. Run: python examples/measure_a_model.py
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from limbeck.export import export_onnx
from limbeck.measure import measure_artifacts, open_device
from limbeck.models import create_model
from limbeck.types import Measurement


def main(folder: str, *, side: int = 224, runs: int = 200) -> list[Measurement]:
    device = open_device("onnxruntime,threads=1")
    artifacts = []
    for width in (1.0, 0.5):
        network = create_model("mobilenet_v3_small", width_multiplier=width, input_size=side)
        print(f"width {width}: {network.params():,} parameters, {network.macs():,} multiply-accumulates")
        artifacts.append(export_onnx(network, Path(folder) / f"width_{width}.onnx", sample_size=(side, side)))

    alone = device.measure(artifacts[0], runs=runs)
    print(f"{alone.info.device}: median {alone.latency_ms.median:.2f} ms, p90 {alone.latency_ms.p90:.2f} ms")
    whole, half = measure_artifacts(device, artifacts, runs=runs, reference=artifacts[0])
    low, high = half.ratio_interval or (0.0, 0.0)
    print(f"half the width takes {half.ratio_to_reference:.2f} of the time (95 % interval {low:.2f} to {high:.2f})")
    return [whole, half]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=224, help="of the picture, in pixels")
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(folder, side=given.side, runs=given.runs)
