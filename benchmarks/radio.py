"""ClST beside published recognisers on every profile of the generator, and students with and without signal distillation.

    python benchmarks/radio.py FOLDER --train [--minutes 30]    # in pieces: what is there is not repeated
    python benchmarks/radio.py FOLDER --real frames.npz         # judges the networks of a profile on real frames too
    python benchmarks/radio.py FOLDER --time                    # latency of every network, on a quiet machine
    python benchmarks/radio.py FOLDER --table

Every network of a profile sees the same frames, divided by class and SNR. AdamW, one cycle, random turns of phase; the
last epoch is judged on the test split, nothing is selected. A student learns from the ClST of the same seed by `skd`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.console import hushed
from limbeck.data import Augment, DataSplits, Loader, open_data
from limbeck.data.radio import read_signals
from limbeck.distill import distillation
from limbeck.export import export_probe
from limbeck.files import read_json, write_json
from limbeck.measure import measure_artifacts, open_device
from limbeck.models import create_model, load_network, save_network
from limbeck.tasks import Classification
from limbeck.train import Supervised, TrainSettings, fit, predict_logits

PROFILES = ("radioml2016_published", "clean_snr", "rml22")
TEACHER = "clst_s"
NETWORKS = (TEACHER, "vit_1d", "pet_cgdnn", "vt_cnn2", "kd_mobilenet", "kd_cnn", "mcldnn")
STUDENTS = ("kd_cnn", "kd_mobilenet")
BANDS = {"-20..-2": (-20, -2), "0..18": (0, 18)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--real", help="a file of frames that `read_signals` takes")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--profiles", default=",".join(PROFILES))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--frames", type=int, default=40, help="per class and SNR; a fifth of them are the test split")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no training after so long")
    parser.add_argument("--target", default="onnxruntime,threads=1")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.train:
        train_all(asked)
    if asked.real:
        judge_on_real_frames(asked)
    if asked.time:
        time_all(asked)
    if asked.table:
        print_tables(asked)


def open_profile(asked: argparse.Namespace, profile: str) -> DataSplits:
    options = {"profile": profile, "frames_per_cell": asked.frames, "processes": 1}
    return open_data("radio", path=str(asked.folder / "data"), options=options, validation=0.0, test=0.2)


def train_all(asked: argparse.Namespace) -> None:
    """Seed by seed, profile by profile: first the networks, then the students of the teacher among them."""
    started = time.monotonic()
    names = asked.networks.split(",")
    for seed in range(asked.seeds):
        for profile in asked.profiles.split(","):
            splits = open_profile(asked, profile)
            for name in [*names, *(f"{student}+skd" for student in STUDENTS if student in names and TEACHER in names)]:
                folder = asked.folder / profile / f"{name}-{seed}"
                if (folder / "result.json").exists():
                    continue
                if time.monotonic() - started > 60 * asked.minutes:
                    return
                result = train(asked, splits, folder, name, seed)
                write_json(folder / "result.json", result)
                told = f"{100 * result['accuracy']:.2f} % in {result['seconds']:.0f} s"
                print(f"{profile} {folder.name}: {told}", flush=True)


def train(asked: argparse.Namespace, splits: DataSplits, folder: Path, name: str, seed: int) -> dict[str, Any]:
    """One training (a killed one goes on), judged by its last epoch."""
    student, _, method = name.partition("+")
    torch.manual_seed(seed)
    network = create_model(student, num_classes=len(splits.class_names))
    if method:
        teacher = load_network(folder.with_name(f"{TEACHER}-{seed}"))
        objective: torch.nn.Module = distillation(method, student=network, teacher=teacher)
    else:
        objective = Supervised(network, Classification(len(splits.class_names)).criterion)
    settings = TrainSettings(
        epochs=asked.epochs,
        batch_size=128,
        optimizer="adamw",
        learning_rate=3e-3,
        weight_decay=1e-3,
        warmup_epochs=1,
        precision="fp32",
        device="cpu",
    )
    augment = Augment(crop="none", flip=False, rotate="any")
    batches = Loader(splits.train, batch_size=128, augment=augment, seed=seed)
    started = time.process_time()
    with hushed():
        fit(objective, batches, settings, folder=folder / "fit", seed=seed, tensorboard=False)
    seconds = time.process_time() - started
    shutil.rmtree(folder / "fit")
    save_network(network, folder)
    logits, target = predict_logits(
        network, Loader(splits.test, batch_size=500, augment=None, shuffle=False, drop_last=False)
    )
    return {
        **accuracies(logits.argmax(1) == target, splits.test.snr),
        "classes": list(splits.class_names),
        "frames": [len(splits.train), len(splits.test)],
        "params": sum(value.numel() for value in network.parameters()),
        "macs": network.macs(),
        "seconds": seconds,
    }


def accuracies(right: np.ndarray, snr: np.ndarray) -> dict[str, Any]:
    """Over all frames, over each band, and at each SNR."""
    bands = {name: float(right[(snr >= low) & (snr <= high)].mean()) for name, (low, high) in BANDS.items()}
    curve = {f"{level:g}": float(right[snr == level].mean()) for level in np.unique(snr)}
    return {"accuracy": float(right.mean()), "bands": bands, "curve": curve}


def judge_on_real_frames(asked: argparse.Namespace) -> None:
    """Every network on frames that no generator of ours made; classes that the real set lacks cannot be answered."""
    real = read_signals(asked.real)
    for path in sorted(asked.folder.glob("*/*/result.json")):
        result, network = read_json(path), load_network(path.parent)
        if not set(real.classes) <= set(result["classes"]):
            continue
        columns = [result["classes"].index(name) for name in real.classes]
        network.eval()
        with torch.no_grad():
            logits = torch.cat([network(torch.from_numpy(part)) for part in np.array_split(np.array(real.X), 4)])
        right = logits[:, columns].argmax(1).numpy() == real.y
        write_json(path.with_name("real.json"), accuracies(right, real.snr))


def time_all(asked: argparse.Namespace) -> None:
    """All networks in turn with the teacher, five times; ratios to it, and its own latency."""
    device, probes = open_device(asked.target), asked.folder / "probes"
    probes.mkdir(parents=True, exist_ok=True)
    names = asked.networks.split(",")
    artifacts = []
    for name in names:
        network = create_model(name, num_classes=11)
        artifacts.append(export_probe(network, probes / f"{name}.onnx", sample_size=network.input_size))
    anchor = artifacts[names.index(TEACHER)]
    passes = [measure_artifacts(device, artifacts, reference=anchor, memory=False) for _ in range(5)]
    found = {}
    for place, name in enumerate(names):
        ratios = [one[place].ratio_to_reference for one in passes]
        found[name] = {
            "ratio": statistics.median(ratios),
            "ratios": ratios,
            "ms": statistics.median(one[place].latency_ms.median for one in passes),
        }
    write_json(asked.folder / "time.json", found)
    shutil.rmtree(probes)


def print_tables(asked: argparse.Namespace) -> None:
    """One table per profile, as Markdown: mean and standard deviation over the seeds."""
    timed = read_json(asked.folder / "time.json") if (asked.folder / "time.json").exists() else {}
    for profile in asked.profiles.split(","):
        print(f"\n{profile}\n")
        print("| network | seeds | accuracy, % | -20..-2 dB | 0..18 dB | real frames, % | parameters | MACs | ms | s |")
        print("|---" * 10 + "|")
        for name in [*NETWORKS, *(f"{student}+skd" for student in STUDENTS)]:
            folders = sorted(path.parent for path in (asked.folder / profile).glob(f"{name}-*/result.json"))
            if not folders:
                continue
            results = [read_json(folder / "result.json") for folder in folders]
            real = [read_json(one)["accuracy"] for folder in folders if (one := folder / "real.json").exists()]
            first, latency = results[0], timed.get(name.partition("+")[0])
            figures = [
                told([one["accuracy"] for one in results]),
                *(told([one["bands"][band] for one in results]) for band in BANDS),
                told(real) if real else "",
                f"{first['params']:,}",
                f"{first['macs'] / 1e6:.2f}M",
                f"{latency['ms']:.3g}" if latency else "",
                f"{statistics.mean(one['seconds'] for one in results):.0f}",
            ]
            print(f"| {name} | {len(results)} | " + " | ".join(figures) + " |")


def told(shares: list[float]) -> str:
    """In percent."""
    spread = f" ± {100 * statistics.stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * statistics.mean(shares):.2f}{spread}"


if __name__ == "__main__":
    main()
