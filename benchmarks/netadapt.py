"""NetAdapt against the width multiplier: which network of equal measured latency is more accurate.

    python benchmarks/netadapt.py FOLDER --latencies                                    # on a quiet machine
    python benchmarks/netadapt.py FOLDER --adapt --data train.parquet [--minutes 30]    # in pieces; goes on after a kill
    python benchmarks/netadapt.py FOLDER --time                                         # on a quiet machine
    python benchmarks/netadapt.py FOLDER --table

Each seed network is trained by the project's own loop and adapted to `--share` of its latency, its proposals' latencies
predicted from a table of kernels and networks that `--latencies` measured on this device; then it is fine-tuned. The rival
is the same family thinned by the least multiplier (in steps of 0.05 of the seed's width) that is no faster than the adapted
network, so that it has the advantage in time, trained for as many epochs as the adapted one had altogether. Nothing is
distilled: all learn from the labels alone. The adapted architecture is also trained from fresh weights (`scratch`).
NetAdapt chooses on validation; what is reported is the test split, after the last epoch. `--time` times seeds, adapted
networks and rivals in turn.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from limbeck.adapt import draw_narrowings, run_netadapt, split_rows
from limbeck.console import hushed
from limbeck.data import Augment, DataSplits, Loader, open_data
from limbeck.export import export_probe
from limbeck.files import read_json, write_json
from limbeck.measure import measure_artifacts, open_device
from limbeck.models import Network, Table, build, family_table, load_network, save_network
from limbeck.pipeline.latency import open_latencies
from limbeck.pipeline.latency_table import build_latency_table
from limbeck.tasks import Classification
from limbeck.train import Supervised, TrainSettings, evaluate_network, fit

NUM_CLASSES, SIDE = 20, 32
SEEDS = {"mobilenet_v3_small": 0.5, "mnasnet_a1": 0.25}  # family -> width of the seed network
MULTIPLIERS = [round(0.05 * step, 2) for step in range(5, 20)]  # shares of the seed's width
NETWORKS, KERNELS_OF = 120, 60  # random narrowings that are timed whole, and whose kernels are
BATCH = 50
ADAMW = {"optimizer": "adamw", "weight_decay": 0.02}
PASSES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latencies", action="store_true")
    parser.add_argument("--adapt", action="store_true")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--data", help="pictures: a parquet file")
    parser.add_argument("--image-column", default="img")
    parser.add_argument("--label-column", default="coarse_label")
    parser.add_argument("--pictures", type=int, default=10_000, help="for training")
    parser.add_argument("--epochs", type=int, default=10, help="of the seed")
    parser.add_argument("--finetune", type=int, default=8, help="epochs after the adaptation")
    parser.add_argument("--tune", type=int, default=1000, help="pictures that a proposal is tuned with")
    parser.add_argument("--share", type=float, default=0.75, help="of the seed's latency that is to be reached")
    parser.add_argument(
        "--delta", type=float, default=0.015, help="least gain of a step, as a share of the seed's latency"
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further piece after so long")
    parser.add_argument("--target", default="onnxruntime,threads=1")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.latencies:
        measure_latencies(asked)
    if asked.adapt:
        adapt_all(asked)
    if asked.time:
        time_all(asked)
    if asked.table:
        print_table(asked)


def family(name: str, share: float = 1.0) -> Table:
    """The seed network's table, or that of the seed's width times `share`."""
    width = round(SEEDS[name] * share, 4)
    return family_table(
        name, num_classes=NUM_CLASSES, input_size=(SIDE, SIDE), width_multiplier=width, small_images=True
    )


def measure_latencies(asked: argparse.Namespace) -> None:
    """Tables of kernels and networks, and the latencies of every width multiplier."""
    for name in SEEDS:
        table = split_rows(family(name))
        several = list(itertools.islice(draw_narrowings(table), NETWORKS))
        rivals = [split_rows(family(name, share)) for share in MULTIPLIERS]
        print(f"{name}: kernels and {len(several) + len(rivals)} networks", flush=True)
        measured = build_latency_table(
            asked.folder / f"{name}.latencies.json",
            several[:KERNELS_OF],
            networks=[*several, *rivals],
            target=asked.target,
            on_progress=lambda done, of: print(f"  {done} of {of}", flush=True),
        )
        known = {one.fingerprint(): ms for one, ms in measured.networks}
        write_json(
            asked.folder / f"{name}.multipliers.json",
            {str(share): known[one.fingerprint()] for share, one in zip(MULTIPLIERS, rivals, strict=True)},
        )
        print(f"{name}: seed {known[table.fingerprint()]:.4g} ms; {predictor(asked, name).error}")


def predictor(asked: argparse.Namespace, name: str):
    return open_latencies(
        asked.folder / f"{name}.latencies.json", source="predictor", target=asked.target, statistic="median"
    )


def open_pictures(asked: argparse.Namespace, limit: int) -> DataSplits:
    """All of validation and test, and `limit` pictures to train with."""
    return open_data(
        "table",
        path=asked.data,
        image_column=asked.image_column,
        label_column=asked.label_column,
        image_size=SIDE,
        validation=0.1,
        test=0.2,
        limit=limit,
    )


def adapt_all(asked: argparse.Namespace) -> None:
    """Every piece of every seed, those of one seed before the next; what is done is on disk."""
    started = time.monotonic()
    splits = open_pictures(asked, asked.pictures)
    for seed in range(asked.seeds):
        for name in SEEDS:
            for piece in (seed_piece, adapt_piece, finetune_piece, rival_piece, scratch_piece):
                if time.monotonic() - started > 60 * asked.minutes:
                    return
                folder = asked.folder / f"{name}-{seed}"
                path = folder / f"{piece.__name__.removesuffix('_piece')}.json"
                if path.exists():
                    continue
                folder.mkdir(parents=True, exist_ok=True)
                result = piece(Piece(asked, splits, name, seed, folder))
                write_json(path, result)
                print(f"{name} {seed} {path.stem}: {result}", flush=True)


class Piece:
    """What the parts of one seed's evidence share."""

    def __init__(self, asked: argparse.Namespace, splits: DataSplits, name: str, seed: int, folder: Path) -> None:
        self.asked, self.splits, self.name, self.seed, self.folder = asked, splits, name, seed, folder

    @property
    def whole_epochs(self) -> int:
        """Of an adapted network, and of what it is compared with."""
        return self.asked.epochs + self.asked.finetune

    def trained(self, network: Network, what: str, *, epochs: int, learning_rate: float = 3e-3) -> dict[str, Any]:
        """Train to the end (a killed training goes on), keep the weights, and judge on the test split."""
        folder = self.folder / what
        settings = TrainSettings(
            epochs=epochs,
            batch_size=BATCH,
            learning_rate=learning_rate,
            warmup_epochs=0.5,
            precision="fp32",
            **ADAMW,
            device="cpu",
        )
        started = time.process_time()
        with hushed():
            fit(
                Supervised(network, Classification(NUM_CLASSES).criterion),
                loader(self.splits.train, self.seed),
                settings,
                folder=folder / "fit",
                seed=self.seed,
                tensorboard=False,
            )
        seconds = time.process_time() - started
        save_network(network, folder)
        shutil.rmtree(folder / "fit")
        table = network.table
        return {
            "test": top1(network, self.splits.test),
            "validation": top1(network, self.splits.validation),
            "params": table.params(),
            "macs": table.macs(),
            "seconds": round(seconds, 1),
        }


def seed_piece(piece: Piece) -> dict[str, Any]:
    torch.manual_seed(piece.seed)
    return piece.trained(build(family(piece.name)), "seed", epochs=piece.asked.epochs)


def adapt_piece(piece: Piece) -> dict[str, Any]:
    asked, told = piece.asked, predictor(piece.asked, piece.name)
    source = load_network(piece.folder / "seed")
    seed_ms = told.latency(split_rows(source.table))
    subset = open_pictures(asked, asked.tune).train
    settings = TrainSettings(
        epochs=1, batch_size=BATCH, learning_rate=1e-3, warmup_epochs=0.0, precision="fp32", device="cpu", **ADAMW
    )

    def tune(network: Network, index: int, seed: int) -> float:
        folder = piece.folder / "tuning"
        shutil.rmtree(folder, ignore_errors=True)
        with hushed():
            fit(
                Supervised(network, Classification(NUM_CLASSES).criterion),
                loader(subset, seed),
                settings,
                folder=folder,
                seed=seed,
                tensorboard=False,
            )
        shutil.rmtree(folder)
        return top1(network, piece.splits.validation)

    started = time.process_time()
    result = run_netadapt(
        source,
        folder=piece.folder / "adapt",
        target_ms=asked.share * seed_ms,
        latencies=told.latencies,
        judge=lambda network: top1(network, piece.splits.validation),
        finetune_and_judge=tune,
        delta=asked.delta,
        seed=piece.seed,
        on_event=lambda event, record: (
            event == "chosen" and print(f"  {record['what']}, {record['accuracy']:.4f}", flush=True)
        ),
    )
    last = result.iterates[-1]
    return {
        "steps": last.step,
        "ended": result.ended,
        "seed_ms": seed_ms,
        "latency_ms": last.latency_ms,
        "validation": [one.accuracy for one in result.iterates],
        "changes": [one.what for one in result.iterates],
        "folder": last.folder,
        "seconds": round(time.process_time() - started, 1),
    }


def finetune_piece(piece: Piece) -> dict[str, Any]:
    network = load_network(piece.folder / "adapt" / read_json(piece.folder / "adapt.json")["folder"])
    return piece.trained(network, "finetune", epochs=piece.asked.finetune, learning_rate=3e-3)


def rival_piece(piece: Piece) -> dict[str, Any]:
    reached = read_json(piece.folder / "adapt.json")["latency_ms"]
    known = read_json(piece.asked.folder / f"{piece.name}.multipliers.json")
    share = min(float(share) for share, ms in known.items() if ms >= reached)
    torch.manual_seed(piece.seed)
    network = build(family(piece.name, share))
    return {"multiplier": share, **piece.trained(network, "rival", epochs=piece.whole_epochs)}


def scratch_piece(piece: Piece) -> dict[str, Any]:
    torch.manual_seed(piece.seed)
    network = build(load_network(piece.folder / "finetune").table)
    return piece.trained(network, "scratch", epochs=piece.whole_epochs)


def loader(split: Any, seed: int) -> Loader:
    return Loader(split, batch_size=BATCH, augment=Augment(crop="shift", padding=0.125, flip=True), seed=seed)


def top1(network: Network, split: Any) -> float:
    held_out = Loader(split, batch_size=250, augment=None, shuffle=False, drop_last=False)
    return evaluate_network(network, held_out, Classification(NUM_CLASSES).metric(), device="cpu")["top1"]


def time_all(asked: argparse.Namespace) -> None:
    """Seed, adapted network and rival of every seed in turn, `PASSES` times; ratios to the seed network."""
    device, probes = open_device(asked.target), asked.folder / "probes"
    probes.mkdir(exist_ok=True)
    for folder in sorted(path.parent for path in asked.folder.glob("*/rival.json")):
        networks = [load_network(folder / name) for name in ("seed", "finetune", "rival")]
        seed, *others = [
            export_probe(network, probes / f"{place}.onnx", sample_size=(SIDE, SIDE))
            for place, network in enumerate(networks)
        ]
        passes = [measure_artifacts(device, [seed, *others], reference=seed, memory=False) for _ in range(PASSES)]
        write_json(
            folder / "time.json",
            {
                "seed_ms": statistics.median(one[0].latency_ms.median for one in passes),
                "adapted": [one[1].ratio_to_reference for one in passes],
                "rival": [one[2].ratio_to_reference for one in passes],
            },
        )
        print(f"{folder.name}: timed", flush=True)
    shutil.rmtree(probes)


def print_table(asked: argparse.Namespace) -> None:
    """One line per seed, as Markdown."""
    print(
        "| seed network | run | seed, % | adapted, % | from scratch, % | multiplier | its accuracy, % "
        "| latency of the seed, ms | adapted, of it | multiplier, of it | steps |"
    )
    print("|---" * 11 + "|")
    for folder in sorted(path.parent for path in asked.folder.glob("*/rival.json")):
        seed, adapt, tuned, rival = (
            read_json(folder / f"{one}.json") for one in ("seed", "adapt", "finetune", "rival")
        )
        scratch = (
            f"{100 * read_json(folder / 'scratch.json')['test']:.2f}" if (folder / "scratch.json").exists() else ""
        )
        timed = read_json(folder / "time.json") if (folder / "time.json").exists() else None
        latency = (
            [f"{timed['seed_ms']:.3g}", *(f"{statistics.median(timed[one]):.3f}" for one in ("adapted", "rival"))]
            if timed
            else ["", "", ""]
        )
        name, _, number = folder.name.rpartition("-")
        figures = [f"{100 * one['test']:.2f}" for one in (seed, tuned)]
        print(
            "| "
            + " | ".join(
                [
                    name,
                    number,
                    *figures,
                    scratch,
                    str(rival["multiplier"]),
                    f"{100 * rival['test']:.2f}",
                    *latency,
                    str(adapt["steps"]),
                ]
            )
            + " |"
        )


if __name__ == "__main__":
    main()
