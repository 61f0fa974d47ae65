"""Use a finished model where it is deployed: onnxruntime, NumPy and Pillow, no torch.

Copy this file and the run's `export` folder to the device. Run: python examples/predict_on_device.py RUN PICTURES...
"""

from __future__ import annotations

import argparse
import sys

import limbeck
from limbeck.deployed import Prediction


def main(run: str, pictures: list[str], *, precision: str = "fp32", threads: int = 1) -> Prediction:
    model = limbeck.load(run, precision=precision, threads=threads)
    print(
        f"{model.path.name}: {len(model.class_names)} classes, pictures of {model.input_size} pixels", file=sys.stderr
    )
    if model.task != "classification" or model.takes_signals:
        sys.exit(
            f"error: {model.path}: is of {model.task}, not for classes of pictures; docs/export.md says what it gives"
        )
    prediction = model.predict(pictures)  # paths, bytes, PIL images or uint8 arrays, of any size
    for picture, label, confidence in zip(pictures, prediction.labels, prediction.confidence, strict=True):
        print(f"{picture}: {label} ({confidence:.1%})")
    return prediction


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder, an export folder or an ONNX file")
    parser.add_argument("pictures", nargs="+")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    main(given.run, given.pictures, precision=given.precision, threads=given.threads)
