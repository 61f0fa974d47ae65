"""A made-up but plausible report of a full run, for the tests of the page and its sentences."""

from __future__ import annotations

import base64
import io
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

N_TEST = 360


def diagram(confidence_shift: float, n: int = N_TEST, bins: int = 15) -> dict[str, Any]:
    """Bins with most samples at high confidence, whose accuracy lies `confidence_shift` below it."""
    rows: list[dict[str, Any]] = []
    weights = [math.exp(16 * (k + 0.5) / bins) if k >= 3 else 0 for k in range(bins)]
    left = n
    for k in range(bins):
        count = min(left, round(n * weights[k] / sum(weights))) if k < bins - 1 else left
        left -= count
        middle = (k + 0.5) / bins
        accuracy = min(1.0, max(0.0, middle - confidence_shift + 0.03 * math.sin(5 * k)))
        rows.append(
            {
                "low": k / bins,
                "high": (k + 1) / bins,
                "count": count,
                "confidence": middle if count else None,
                "accuracy": accuracy if count else None,
            }
        )
    gaps = [(row["count"], abs(row["confidence"] - row["accuracy"])) for row in rows if row["count"]]
    return {"bins": rows, "ece": sum(c * g for c, g in gaps) / n, "mce": max(g for _, g in gaps)}


def history(final: float, epochs: int, seed: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    rows = []
    for epoch in range(1, epochs + 1):
        share = 1 - math.exp(-4 * epoch / epochs)
        rows.append(
            {
                "epoch": epoch,
                "loss": 2.3 * math.exp(-(3 + 30 * (final - 0.95)) * epoch / epochs) + 0.05 + 0.02 * draw.random(),
                "top1": min(1.0, 0.1 + (final - 0.1) * share + 0.01 * draw.standard_normal()),
            }
        )
    return rows


def model(
    name: str, top1: float, ms: float, params: int, macs: int, size: int, shift: float, seed: int
) -> dict[str, Any]:
    before, after = diagram(shift), diagram(shift / 6)
    epochs = 30
    timing = {"median": ms, "p90": ms * 1.12, "iqr": ms * 0.05, "n": 300}
    return {
        "name": name,
        "role": {
            "teacher": "teaches the student",
            "plain": "the same student without distillation",
            "off_the_shelf": "timm:mobilenetv3_small_050, fine-tuned as long",
            "student": "distilled by nkd",
            "student_int8": "the student, quantized",
        }[name],
        "metrics": {"top1": top1, "top5": 0.998, "macro_accuracy": top1 - 0.003, "nll": 0.11, "ece": after["ece"]},
        "primary": {"name": "top1", "value": top1, "higher_is_better": True},
        "top1": top1,
        "ece": after["ece"],
        "nll": 0.11 + shift,
        "params": params,
        "macs": macs,
        "size_bytes": size,
        "latency_ms": timing,
        "measurements": [
            {
                "target": "onnxruntime,threads=1",
                "device": "8-core x86 processor",
                "runtime": "onnxruntime",
                "runtime_version": "1.31.1",
                "threads": 1,
                "os": "Linux 6.1",
                "artifact": f"export/{name}.onnx",
                "precision": "int8" if name.endswith("int8") else "fp32",
                "latency_ms": timing,
                "peak_memory_bytes": 38_200_000,
                "size_bytes": size,
                "drift": 1.012,
                "steady": True,
                "ratio_to_reference": ms / 1.21,
                "placement": None,
            }
        ],
        "seeds": {},
        "artifact": f"export/{name}.onnx",
        "reliability": {"before": before, "after": after, "temperature": 1.0 + 4 * shift},
        "fit": None
        if name == "student_int8"
        else {
            "epochs": epochs,
            "best_epoch": 27,
            "selected": "best top1 on validation",
            "seconds": 41.5,
            "images_per_second": 2210.0,
            "history": history(top1, epochs, seed),
        },
    }


def trials() -> list[dict[str, Any]]:
    draw = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for number in range(24):
        width, depth = float(draw.choice([0.25, 0.5, 0.75, 1.0])), int(draw.integers(1, 4))
        ms = round(0.35 + 1.5 * width * (0.6 + 0.25 * depth) + 0.1 * draw.random(), 3)
        state = "pruned" if ms > 2.0 else "failed" if number == 17 else "complete"
        rows.append(
            {
                "number": number,
                "slot": number,
                "state": state,
                "point": {"width": width, "depth": depth, "kernel": int(draw.choice([3, 5])), "input_size": 32},
                "accuracy": round(0.88 + 0.06 * (1 - math.exp(-2 * ms)) + 0.012 * draw.standard_normal(), 4)
                if state == "complete"
                else None,
                "latency_ms": ms if number != 17 else None,
                "params": int(400_000 * width**2 * depth),
                "macs": int(14_000_000 * width * depth),
                "size_bytes": int(1_700_000 * width**2 * depth) if state == "complete" else None,
                "reason": {
                    "pruned": f"{ms} ms is over the ceiling of 2 ms",
                    "failed": "loss became NaN",
                    "complete": "",
                }[state],
                "seconds": 4.2,
                "reused": number == 5,
                "rows": f"stem 3x3 {int(32 * width)}\n{depth} x bottleneck k3 c{int(24 * width)}\nhead {int(576 * width)}",
            }
        )
    return rows


def front_of(rows: list[dict[str, Any]]) -> list[int]:
    done = [row for row in rows if row["state"] == "complete"]
    return [
        row["number"]
        for row in done
        if not any(
            (o["latency_ms"] <= row["latency_ms"] and o["accuracy"] > row["accuracy"])
            or (o["latency_ms"] < row["latency_ms"] and o["accuracy"] >= row["accuracy"])
            for o in done
        )
    ]


@pytest.fixture
def report() -> dict[str, Any]:
    """A full run in which everything was asked for."""
    rows = trials()
    front = front_of(rows)
    best = max((row for row in rows if row["number"] in front), key=lambda row: row["accuracy"])["number"]
    return {
        "schema": 1,
        "run": "handwriting",
        "task": "classification",
        "models": [
            model("teacher", 0.9889, 9.84, 4_230_000, 182_000_000, 16_900_000, 0.05, 1),
            model("plain", 0.9528, 1.42, 412_000, 11_300_000, 1_690_000, 0.07, 2),
            model("off_the_shelf", 0.9639, 1.91, 1_010_000, 19_800_000, 4_080_000, 0.06, 3),
            model("student", 0.9750, 1.41, 412_000, 11_300_000, 1_690_000, 0.06, 4),
            model("student_int8", 0.9722, 0.83, 412_000, 11_300_000, 512_000, 0.06, 5),
        ],
        "search": {
            "trials": rows,
            "front": front,
            "best": best,
            "sampler": "tpe",
            "ceiling_ms": 2.0,
            "statistic": "median",
            "asked": 24,
            "seconds": {"timing": 12.3, "training": 101.0},
            "reference": {"accuracy": 0.871, "latency_ms": 1.55},
        },
        "parity": [
            {
                "artifact": "export/student.onnx",
                "device": "onnxruntime,threads=1",
                "kind": "fp32 tensors",
                "passed": True,
                "text": "largest difference of probabilities 2.1e-06, allowed 1e-03",
            },
            {
                "artifact": "export/student_int8.onnx",
                "device": "onnxruntime,threads=1",
                "kind": "int8 metric",
                "passed": True,
                "text": "0.28 points of top1 lost, allowed 1.00",
            },
        ],
        "budget": {"target": "onnxruntime,threads=1", "max_latency_ms": 2.0, "statistic": "median", "max_params": None},
        "data": {
            "name": "digits",
            "classes": 10,
            "counts": {"train": 1293, "validation": 144, "test": N_TEST},
            "left_out": [{"source": "train/7/broken.png", "reason": "not a picture"}],
            "leakage": 0,
            "warnings": ["class '8' has 11 % fewer pictures than the mean"],
        },
        "warnings": [],
        "paired": {
            "student_vs_plain": {"difference": 0.0222, "p_value": 0.021, "low": 0.0042, "high": 0.0403, "n": N_TEST},
            "student_int8_vs_student": {
                "difference": -0.0028,
                "p_value": 1.0,
                "low": -0.0082,
                "high": 0.0027,
                "n": N_TEST,
            },
        },
        "confusions": [
            {"true": "8", "predicted": "1", "count": 3},
            {"true": "9", "predicted": "5", "count": 2},
            {"true": "3", "predicted": "8", "count": 1},
        ],
        "stages": [
            {"name": "train", "seconds": 61.2, "note": ""},
            {"name": "search", "seconds": 113.3, "note": "24 candidates"},
            {"name": "distill", "seconds": 44.0, "note": "not redone"},
        ],
        "provenance": {
            "recipe": {
                "name": "handwriting",
                "seed": 0,
                "student": {"model": "mobilenet_v2", "pretrained": False},
                "distill": {"method": "nkd", "epochs": None},
            },
            "versions": {"limbeck": "0.1.0", "torch": "2.15.0", "python": "3.11.9"},
            "seed": 0,
            "commit": "1f2e3d4",
            "host": "Linux, 8-core x86 processor",
            "command": "limbeck quickstart",
            "started": "2026-03-02T10:11:12+00:00",
            "finished": "2026-03-02T10:15:01+00:00",
        },
    }


@pytest.fixture
def pictures() -> dict[str, Any]:
    """Example pictures of two of the confusions, as data URIs."""
    draw = np.random.default_rng(0)

    def uri() -> str:
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(buffer, format="PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    return {
        "confusions": [
            {"true": "8", "predicted": "1", "examples": [uri() for _ in range(3)]},
            {"true": "9", "predicted": "5", "examples": [uri() for _ in range(2)]},
        ]
    }
