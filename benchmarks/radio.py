"""ClST beside published recognisers on every profile of the generator, and students with and without signal distillation.

    python benchmarks/radio.py FOLDER --train [--minutes 30]    # in pieces: what is there is not repeated
    python benchmarks/radio.py FOLDER --ablations [--minutes 30] # the first profile: ClST without its parts, lambda and T of SKD
    python benchmarks/radio.py FOLDER --few-shot [--minutes 30] # the first profile: fewer training frames of each class and SNR
    python benchmarks/radio.py FOLDER --int8                    # int8 files of the teacher and the students, on the test split
    python benchmarks/radio.py FOLDER --real frames.npz         # judges the networks of a profile on real frames too
    python benchmarks/radio.py FOLDER --captures captures.npz   # what the teachers of all profiles call recordings off the air
    python benchmarks/radio.py FOLDER --time                    # latency of every network, on a quiet machine
    python benchmarks/radio.py FOLDER --table

Every network of a profile sees the same frames, divided by class and SNR. AdamW, one cycle, random turns of phase; the
last epoch is judged on the test split, nothing is selected. A student learns from the ClST of the same seed by `skd`. With
fewer frames there are as many more epochs, so that all take equally many steps.
A training's name is `network[,option=value ...][+method[,option=value ...]]`; its folder ends in the seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.console import hushed
from limbeck.data import Augment, DataSplits, Loader, open_data
from limbeck.data.radio import read_signals
from limbeck.distill import distillation
from limbeck.export import export_onnx, export_probe, quantize_onnx, run_pictures
from limbeck.files import read_json, write_json
from limbeck.measure import measure_artifacts, open_device
from limbeck.models import create_model, load_network, save_network
from limbeck.report.snr import BANDS as report_bands
from limbeck.tasks import Classification
from limbeck.train import Supervised, TrainSettings, fit, predict_logits

PROFILES = ("radioml2016_published", "clean_snr", "rml22")
TEACHER = "clst_s"
NETWORKS = (TEACHER, "vit_1d", "pet_cgdnn", "vt_cnn2", "kd_mobilenet", "kd_cnn", "mcldnn")
STUDENTS = ("kd_cnn", "kd_mobilenet")
ABLATIONS = (TEACHER, *(f"{TEACHER},{part}=false" for part in ("psca", "conv_projection", "hierarchy")))
SWEPT = "kd_cnn"
SWEEP = (
    SWEPT,
    f"{SWEPT}+label_smoothing",  # what softer labels alone are worth, without a teacher
    *(f"{SWEPT}+skd,share={share}" for share in (0.3, 0.5)),  # the paper's lambda; 0.7 by default
    f"{SWEPT}+skd",
    f"{SWEPT}+skd,share=0.9",
    *(f"{SWEPT}+skd,temperature={temperature}" for temperature in (1, 2, 8)),  # 4 by default
)
QUANTIZED = (TEACHER, *STUDENTS, *(f"{student}+skd" for student in STUDENTS))
FEW_SHOT = (4, 8, 16)
SHOWN = (TEACHER, SWEPT, f"{SWEPT}+skd")  # of the few-shot axis
CALIBRATION = 256  # training frames, as a recipe takes them
LENGTH = 128  # samples of a frame
BANDS = {f"{low}..{high}": (low, high) for low, high in report_bands.values()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--few-shot", action="store_true")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--real", help="a file of frames that `read_signals` takes")
    parser.add_argument("--captures", help="an .npz of recordings, complex [samples] each")
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
    asked.started = time.monotonic()
    profiles, names = asked.profiles.split(","), asked.networks.split(",")
    if asked.train:
        taught = [f"{student}+skd" for student in STUDENTS if student in names and TEACHER in names]
        train_all(asked, profiles, [*names, *taught])
    if asked.ablations:
        train_all(asked, profiles[:1], list(dict.fromkeys([*ABLATIONS, *SWEEP])))
    if asked.few_shot:
        for few in FEW_SHOT:
            train_all(asked, profiles[:1], list(SHOWN), few=few)
    if asked.int8:
        judge_int8(asked)
    if asked.real:
        judge_on_real_frames(asked)
    if asked.captures:
        name_captures(asked)
    if asked.time:
        time_all(asked)
    if asked.table:
        print_tables(asked)


def open_profile(asked: argparse.Namespace, profile: str, *, few: int | None = None) -> DataSplits:
    options = {"profile": profile, "frames_per_cell": asked.frames, "processes": 1}
    path = str(asked.folder / "data")
    return open_data("radio", path=path, options=options, validation=0.0, test=0.2, limit_per_cell=few)


def is_late(asked: argparse.Namespace) -> bool:
    """Whether no further training may begin."""
    return time.monotonic() - asked.started > 60 * asked.minutes


def train_all(asked: argparse.Namespace, profiles: list[str], names: list[str], *, few: int | None = None) -> None:
    """Seed by seed, profile by profile, in the order of the names: the teacher comes before who learns from it."""
    for seed in range(asked.seeds):
        for profile in profiles:
            splits = open_profile(asked, profile, few=few)
            epochs = asked.epochs if few is None else round(asked.epochs * 0.8 * asked.frames / few)
            for name in names:
                folder = asked.folder / (profile if few is None else few_folder(profile, few)) / f"{name}-{seed}"
                if (folder / "result.json").exists():
                    before = read_json(folder / "result.json").get("epochs", epochs)
                    if before != epochs:
                        sys.exit(f"{folder}: trained for {before} epochs, not {epochs}; give another FOLDER")
                    continue
                if is_late(asked):
                    return
                result = train(epochs, splits, folder, name, seed)
                write_json(folder / "result.json", result)
                shutil.rmtree(folder / "fit")  # only now: one that is killed before goes on from it
                told = f"{100 * result['accuracy']:.2f} % in {result['seconds']:.0f} s"
                print(f"{profile} {folder.name}: {told}", flush=True)


def few_folder(profile: str, few: int) -> str:
    return f"{profile}@{few}"


def named(text: str) -> tuple[str, dict[str, Any]]:
    """A name and its options: `clst_s,psca=false` -> `clst_s`, {"psca": False}."""
    name, *options = text.split(",")
    pairs = (option.partition("=") for option in options)
    return name, {key: json.loads(value) for key, _, value in pairs}


def train(epochs: int, splits: DataSplits, folder: Path, name: str, seed: int) -> dict[str, Any]:
    """One training (a killed one goes on), judged by its last epoch."""
    (student, options), (method, settings_of) = map(named, (name + "+").split("+")[:2])
    torch.manual_seed(seed)
    network = create_model(student, num_classes=len(splits.class_names), **options)
    if method:
        teacher = load_network(folder.with_name(f"{TEACHER}-{seed}")) if method == "skd" else None
        objective: torch.nn.Module = distillation(method, student=network, teacher=teacher, **settings_of)
    else:
        objective = Supervised(network, Classification(len(splits.class_names)).criterion)
    settings = TrainSettings(
        epochs=epochs,
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
        "epochs": epochs,
        "seconds": seconds,
    }


def judge_int8(asked: argparse.Namespace) -> None:
    """The fp32 and the int8 file of every teacher and student that is trained, as the target runs them."""
    device = open_device(asked.target)
    for profile in asked.profiles.split(","):
        folders = [folder for name in QUANTIZED for folder in trained(asked, profile, name)]
        left = [folder for folder in folders if not (folder / "int8.json").exists()]
        if not left:
            continue
        splits = open_profile(asked, profile)
        rows = np.linspace(0, len(splits.train) - 1, min(CALIBRATION, len(splits.train))).astype(np.int64)
        test = splits.test.samples(np.arange(len(splits.test)))
        for folder in left:
            if is_late(asked):
                return
            with hushed():
                network = load_network(folder).eval()
                artifact = export_onnx(network, folder / "fp32.onnx", sample_size=network.input_size)
                calibration = (splits.train.samples(part) for part in np.array_split(rows, 8))
                int8 = quantize_onnx(artifact, folder / "int8.onnx", calibration)
            told = {}
            for name, one in (("fp32", artifact), ("int8", int8)):
                said = run_pictures(device, one, test, batch_size=500).argmax(1)
                told[name] = {**accuracies(said == splits.test.labels, splits.test.snr), "size_bytes": one.size_bytes}
                Path(one.path).unlink()
            write_json(folder / "int8.json", told)
            words = ", ".join(f"{name} {100 * one['accuracy']:.2f} %" for name, one in told.items())
            print(f"{profile} {folder.name}: {words}", flush=True)


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


def name_captures(asked: argparse.Namespace) -> None:
    """Prints what the networks of the teacher's name call the frames of each recording, all seeds of a profile together."""
    with np.load(asked.captures) as archive:
        found = {name: archive[name] for name in archive.files if np.iscomplexobj(archive[name])}
    print_row("profile", "recording", "frames", "what `clst_s` calls them")
    print("|---" * 4 + "|")
    for profile in asked.profiles.split(","):
        folders = trained(asked, profile, TEACHER)
        for name, samples in found.items():
            frames = samples[: len(samples) // LENGTH * LENGTH].reshape(-1, LENGTH)
            frames = frames[np.abs(frames).any(1)]
            inputs = torch.from_numpy(np.stack([frames.real, frames.imag], 1).astype(np.float32))
            told: Counter[str] = Counter()
            for folder in folders:
                classes = read_json(folder / "result.json")["classes"]
                with torch.no_grad():
                    said = load_network(folder).eval()(inputs).argmax(1)
                told.update(classes[one] for one in said.tolist())
            shares = ", ".join(f"{one} {100 * count / told.total():.0f} %" for one, count in told.most_common(3))
            print_row(profile, name, str(len(frames)), shares)


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


def trained(asked: argparse.Namespace, profile: str, name: str) -> list[Path]:
    """The folders of a network's finished trainings, by seed."""
    return sorted(path.parent for path in (asked.folder / profile).glob(f"{name}-*/result.json"))


def print_tables(asked: argparse.Namespace) -> None:
    """Tables per profile, as Markdown, of what is there: mean and standard deviation over the seeds."""
    for profile in asked.profiles.split(","):
        print_networks(asked, profile)
        print_changes(asked, profile, f"{profile}: {TEACHER} without its parts", ABLATIONS, base=TEACHER)
        title = f"{profile}: {SWEPT} by lambda (share) and T (temperature) of SKD, 0.7 and 4 where none is named"
        print_changes(asked, profile, title, SWEEP, base=SWEPT)
        print_few_shot(asked, profile)
        print_real(asked, profile)


def print_real(asked: argparse.Namespace, profile: str) -> None:
    """All networks of a profile on real frames, by band of SNR."""
    found = {
        name: [read_json(one) for folder in trained(asked, profile, name) if (one := folder / "real.json").exists()]
        for name in [*NETWORKS, *(f"{student}+skd" for student in STUDENTS)]
    }
    if not any(found.values()):
        return
    print(f"\n{profile}, on real frames\n")
    print_row("network", "seeds", "accuracy, %", *(f"{band} dB" for band in BANDS))
    print("|---" * (3 + len(BANDS)) + "|")
    for name, results in found.items():
        if results:
            bands = (told([one["bands"][band] for one in results]) for band in BANDS)
            print_row(name, str(len(results)), told([one["accuracy"] for one in results]), *bands)


def print_few_shot(asked: argparse.Namespace, profile: str) -> None:
    """Accuracy by training frames of each class and SNR."""
    whole = round(0.8 * asked.frames)
    folders = {few: few_folder(profile, few) for few in FEW_SHOT} | {whole: profile}
    found = {
        (name, few): [read_json(one / "result.json")["accuracy"] for one in trained(asked, folder, name)]
        for name in SHOWN
        for few, folder in folders.items()
    }
    if not any(found[name, few] for name in SHOWN for few in FEW_SHOT):
        return
    print(f"\n{profile}: accuracy, %, by training frames of each class and SNR (seeds)\n")
    print_row("network", *map(str, folders))
    print("|---" * (1 + len(folders)) + "|")
    for name in SHOWN:
        print_row(name, *(f"{told(found[name, few])} ({len(found[name, few])})" for few in folders))


def print_networks(asked: argparse.Namespace, profile: str) -> None:
    """All networks of a profile; int8 stands beside what the same networks' fp32 files say."""
    timed = read_json(asked.folder / "time.json") if (asked.folder / "time.json").exists() else {}
    print(f"\n{profile}\n")
    titles = (
        "network",
        "seeds",
        "accuracy, %",
        *(f"{band} dB" for band in BANDS),
        "int8, %",
        "int8 - fp32",
        "real frames, %",
    )
    print_row(*titles, "parameters", "MACs", "ms", "s")
    print("|---" * (len(titles) + 4) + "|")
    for name in [*NETWORKS, *(f"{student}+skd" for student in STUDENTS)]:
        folders = trained(asked, profile, name)
        if not folders:
            continue
        results = [read_json(folder / "result.json") for folder in folders]
        real = [read_json(one)["accuracy"] for folder in folders if (one := folder / "real.json").exists()]
        files = [read_json(one) for folder in folders if (one := folder / "int8.json").exists()]
        first, latency = results[0], timed.get(name.partition("+")[0])
        print_row(
            name,
            str(len(results)),
            told([one["accuracy"] for one in results]),
            *(told([one["bands"][band] for one in results]) for band in BANDS),
            told([one["int8"]["accuracy"] for one in files]),
            told([one["int8"]["accuracy"] - one["fp32"]["accuracy"] for one in files], signed=True),
            told(real),
            f"{first['params']:,}",
            f"{first['macs'] / 1e6:.2f}M",
            f"{latency['ms']:.3g}" if latency else "",
            f"{statistics.mean(one['seconds'] for one in results):.0f}",
        )


def print_changes(asked: argparse.Namespace, profile: str, title: str, names: tuple[str, ...], *, base: str) -> None:
    """Variants beside what they are variants of; differences are taken seed by seed."""
    found = {name: {one.name[len(name) + 1 :]: one for one in trained(asked, profile, name)} for name in names}
    if not any(by_seed for name, by_seed in found.items() if "," in name):
        return
    print(f"\n{title}\n")
    print_row("network", "seeds", "accuracy, %", *(f"{band} dB" for band in BANDS), f"over {base}", "parameters", "s")
    print("|---" * (6 + len(BANDS)) + "|")
    for name, by_seed in found.items():
        if not by_seed:
            continue
        results = {seed: read_json(folder / "result.json") for seed, folder in by_seed.items()}
        gains = [
            one["accuracy"] - read_json(found[base][seed] / "result.json")["accuracy"]
            for seed, one in results.items()
            if seed in found[base] and name != base
        ]
        print_row(
            name,
            str(len(results)),
            told([one["accuracy"] for one in results.values()]),
            *(told([one["bands"][band] for one in results.values()]) for band in BANDS),
            told(gains, signed=True),
            f"{next(iter(results.values()))['params']:,}",
            f"{statistics.mean(one['seconds'] for one in results.values()):.0f}",
        )


def print_row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |")


def told(shares: list[float], *, signed: bool = False) -> str:
    """In percent; nothing of nothing."""
    if not shares:
        return ""
    spread = f" ± {100 * statistics.stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{100 * statistics.mean(shares):{'+' if signed else ''}.2f}{spread}"


if __name__ == "__main__":
    main()
