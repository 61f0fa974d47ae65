"""Segmentation networks, or detectors, trained by one protocol side by side on real pictures, and timed beside each other.

    python benchmarks/dense.py FOLDER --task segmentation --data train.parquet --validation val.parquet --test test.parquet
    python benchmarks/dense.py FOLDER --task detection --data train.parquet --test val.parquet
    python benchmarks/dense.py FOLDER --task segmentation --table     # only print what the folder holds
    python benchmarks/dense.py FOLDER --task segmentation --latency   # time the exported graphs, untrained

Networks start from random weights. Protocol: AdamW, cosine after two epochs of warm-up, batch 8, mirroring, pictures
enlarged or reduced by 0.75 to 1.5 and cut or padded; segmentation weighs classes by median frequency. Each network is
judged on the test pictures by its last epoch and by its best epoch on *validation* (a tenth of the training
pictures where no such file is given). A run that was killed goes on where it was; a finished one is not repeated.

Latency is of the whole exported graph, in turn: pictures as bytes in; probabilities of every pixel, or boxes without
suppression, out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from limbeck.data import Augment, DataSplits, Loader, balanced_weights, open_data
from limbeck.export import export_probe
from limbeck.files import atomic_path, write_json
from limbeck.measure import compare, open_device, summarize
from limbeck.models import Network, create_model
from limbeck.tasks import open_task
from limbeck.train import Supervised, TrainSettings, evaluate_network, fit

NETWORKS = {
    "segmentation": ("raspp_mobilenet_v2", "lraspp_mobilenet_v3_large"),
    "detection": ("ssdlite_mobilenet_v2", "ssdlite_mnasnet_a1", "ssdlite_mobilenet_v3_large"),
}
SIZES = {"segmentation": (512, 1024), "detection": (320, 320)}  # of --latency: half of Cityscapes' pictures, and COCO's
READERS = {"segmentation": "masks", "detection": "boxes"}
FIGURES = {"segmentation": ("miou", "pixel_accuracy"), "detection": ("map", "map50")}
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="results and unfinished trainings")
    parser.add_argument("--task", choices=NETWORKS, required=True)
    parser.add_argument(
        "--networks",
        help="names, the first is what the others' latencies are over; NAME+whole keeps the last rows' widths",
    )
    parser.add_argument("--data", help="training pictures: a parquet file")
    parser.add_argument("--validation")
    parser.add_argument("--test")
    parser.add_argument("--size", help="HEIGHTxWIDTH of the pictures; default: their own when training")
    parser.add_argument("--ignore", type=int, help="mask value of pixels that are not judged")
    parser.add_argument("--classes", help="names of the classes, where the file names none, with commas between")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--target", default="onnxruntime,threads=1")
    parser.add_argument("--runs", type=int, default=60)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    names = asked.networks.split(",") if asked.networks else list(NETWORKS[asked.task])
    size = tuple(int(side) for side in asked.size.split("x")) if asked.size else None
    if asked.latency:
        print_latencies(asked, names, size or SIZES[asked.task])
        return
    if not asked.table:
        train_all(asked, names, size)
    print_table(asked)


def train_all(asked: argparse.Namespace, names: list[str], size: tuple[int, int] | None) -> None:
    """Train what is not trained yet, seed by seed."""
    options = {"ignore": [asked.ignore]} if asked.ignore is not None else {}
    options |= {"class_names": asked.classes.split(",")} if asked.classes else {}
    splits = open_data(
        READERS[asked.task],
        path=asked.data,
        validation_path=asked.validation,
        test_path=asked.test,
        image_size=size,
        fit="squash",
        validation=0.1,
        options=options,
    )
    for seed in (int(seed) for seed in asked.seeds.split(",")):
        for name in names:
            train(asked, splits, name, seed)


def train(asked: argparse.Namespace, splits: DataSplits, name: str, seed: int) -> None:
    """Train to the end; leaves the test figures of the last and the best epoch in `NAME-SEED/result.json`."""
    folder = asked.folder / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = make_network(name, len(splits.class_names), splits.image_size)
    weights = balanced_weights(splits.train) if asked.task == "segmentation" else None
    known = {"num_classes": network.num_classes, "image_size": splits.image_size, "class_weights": weights}
    task = open_task(asked.task, **known)
    augment = Augment(crop="scaled", zoom=(0.75, 1.5), flip=True)
    settings = TrainSettings(
        epochs=asked.epochs,
        batch_size=BATCH,
        optimizer="adamw",
        learning_rate=asked.rate,
        weight_decay=1e-2,
        warmup_epochs=2,
        threads=asked.threads,
        device="cpu",
        precision="fp32",
    )
    assert splits.validation is not None
    held_out = Loader(splits.validation, batch_size=BATCH, augment=None, shuffle=False, drop_last=False)

    def evaluate(learner: torch.nn.Module) -> dict[str, float]:
        """Figures on validation; keeps the network as it now is: after the last epoch these are the last weights."""
        with atomic_path(folder / "last.safetensors") as path:
            save_file({key: value.detach().contiguous() for key, value in learner.state_dict().items()}, path)
        return evaluate_network(learner, held_out, task.metric())

    report = fit(
        Supervised(network, task.criterion),
        Loader(splits.train, batch_size=BATCH, augment=augment, seed=seed),
        settings,
        folder=folder / "fit",
        seed=seed,
        evaluate=evaluate,
        primary=task.primary,
        name=f"{name} (seed {seed})",
        identity={"data": splits.fingerprint, "network": name},
        tensorboard=False,
    )
    if (folder / "result.json").exists():
        return
    result = {"network": name, "seed": seed, "epochs": asked.epochs, "minutes": report.seconds / 60}
    result |= {"params": network.params(), "macs": network.macs(), "best": judge(network, splits, task)}
    network.load_state_dict(load_file(folder / "last.safetensors"))
    result["last"] = judge(network, splits, task)
    write_json(folder / "result.json", result)
    print_table(asked)


def make_network(name: str, num_classes: int, size: tuple[int, int]) -> Network:
    options = {"reduce_tail": False} if name.endswith("+whole") else {}
    return create_model(name.removesuffix("+whole"), num_classes=num_classes, input_size=size, **options)


def judge(network: Network, splits: DataSplits, task) -> dict[str, float]:
    """The task's figures on the test pictures."""
    batches = Loader(splits.test, batch_size=BATCH, augment=None, shuffle=False, drop_last=False)
    return evaluate_network(network, batches, task.metric())


def print_table(asked: argparse.Namespace) -> None:
    """What the folder holds, as Markdown: mean +- standard deviation over the seeds."""
    results = [json.loads(path.read_text()) for path in sorted(asked.folder.glob("*/result.json"))]
    figures = FIGURES[asked.task]
    heads = [f"{figure} %, {epoch}" for figure in figures for epoch in ("last", "best")]
    print(f"\n| network | seeds | epochs | {' | '.join(heads)} | parameters | MACs | minutes |")
    print(f"|---|---|---|{'---|' * len(heads)}---|---|---|")
    for name in dict.fromkeys(result["network"] for result in results):
        runs = [result for result in results if result["network"] == name]
        cells = [spread([100 * run[epoch][f] for run in runs]) for f in figures for epoch in ("last", "best")]
        minutes = statistics.mean(run["minutes"] for run in runs)
        costs = f"{runs[0]['params']:,} | {runs[0]['macs'] / 1e6:.0f}M | {minutes:.0f}"
        print(f"| {name} | {len(runs)} | {runs[0]['epochs']} | {' | '.join(cells)} | {costs} |", flush=True)


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2f}"


def print_latencies(asked: argparse.Namespace, names: list[str], size: tuple[int, int]) -> None:
    """Exported graphs in turn, with ratios to the first."""
    device = open_device(asked.target)
    info = device.describe()
    print(f"{info.target} on {info.device}, {info.runtime} {info.runtime_version}; pictures of {size[0]} x {size[1]}")
    classes = {"segmentation": 19, "detection": 90}[asked.task]
    with tempfile.TemporaryDirectory() as scratch:
        networks = {name: make_network(name, classes, size) for name in names}
        files = [
            export_probe(network, Path(scratch) / f"{name}.onnx", sample_size=size)
            for name, network in networks.items()
        ]
        samples = device.time(files, warmup=10, runs=asked.runs, interleave=True)
    print(f"\n| network | median ms | MACs | over {names[0]} | 95 % interval |\n|---|---|---|---|---|")
    for (name, network), taken in zip(networks.items(), samples, strict=True):
        found = compare(taken, samples[0])
        cells = f"{summarize(taken).median:.2f} | {network.macs() / 1e6:.0f}M | {found.ratio:.3f}"
        print(f"| {name} | {cells} | {found.low:.3f} .. {found.high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
