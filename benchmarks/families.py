"""The families' exported graphs against timm's own export of the same networks, and against each other.

    python benchmarks/families.py [--runs 200] [--target onnxruntime,threads=1] [--only timm,tail,swish,papers] [--name V3]

- `timm`: ours and timm's file of one network with the same weights, in turn. Both take float pictures in [0, 1] and give
  probabilities; that the two say the same is checked first. Aim: a ratio of at most 1.00 within the noise.
- `tail`: MobileNetV3-Large with MnasNet's last stage instead of the redesigned one, over MobileNetV3-Large. The paper
  gives 7 ms, 11 %.
- `swish`: MobileNetV3-Large with h-swish everywhere and nowhere, over the paper's second half.
- `papers`: the networks that the papers compare, over MobileNetV2-1.4. MnasNet-A1 is given 1.8 times as fast as it, and
  MobileNetV3-Large is to be 15 % faster than MnasNet-A1 is in its paper's comparison.

Weights are random: nothing is downloaded or read. Files are timed in a process of their own, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from timm.utils.onnx import onnx_export
from torch import Tensor, nn

from limbeck.deployed import read_artifact
from limbeck.export import export_onnx, export_probe
from limbeck.measure import OnnxRuntimeDevice, compare, open_device, summarize
from limbeck.models import Head, Row, Table, TableNetwork, build, create_model, family_table, fill_library
from limbeck.types import Artifact

PAIRS = (
    "mobilenetv1_100",
    "mobilenetv2_100",
    "mobilenetv2_140",
    "mnasnet_small",
    "mnasnet_100",
    "semnasnet_100",
    "mobilenetv3_small_100",
    "mobilenetv3_large_100",
    "tf_mobilenetv3_large_100",
    "tf_mobilenetv3_large_minimal_100",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_medium",
    "efficientnet_lite0",
    "efficientnet_b0",
)
PAPERS = (
    "mobilenet_v2_140",
    "mobilenet_v2",
    "mnasnet_b1",
    "mnasnet_a1",
    "mobilenet_v3_large",
    "mobilenet_v3_large_minimal",
    "mobilenet_v3_small",
    "mnasnet_small",
    "mobilenet_v4_conv_small",
)
Exporter = Callable[..., Artifact]


class Whole(nn.Module):
    """Timm's network from pictures in [0, 1] to probabilities, as ours are exported."""

    def __init__(self, module: nn.Module, like: TableNetwork) -> None:
        super().__init__()
        self.module = module
        self.register_buffer("mean", like.mean)
        self.register_buffer("std", like.std)

    def forward(self, pictures: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, K]."""
        return self.module((pictures - self.mean) / self.std).softmax(1)


@contextlib.contextmanager
def quiet():
    """Exporters talk."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def some_pictures(count: int, side: tuple[int, int]) -> Tensor:
    """Soft random blots in [0, 1], of which every one is another; plain noise would look all the same to a network."""
    return nn.functional.interpolate(torch.rand(count, 3, 6, 6), size=side, mode="bicubic").clamp(0, 1)


def settle(network: TableNetwork) -> TableNetwork:
    """Norm statistics of a batch: a fresh network's features grow from layer to layer until nothing can be compared."""
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(some_pictures(8, network.input_size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def export_pair(name: str, folder: Path, export: Exporter) -> tuple[Artifact, Artifact]:
    """One network of timm and ours, of the same weights, as files; they must say the same."""
    torch.manual_seed(0)
    module = timm.create_model(name, exportable=True).eval()
    network = settle(create_model(name, pretrained=module))
    fill_library(module, network)
    size = network.input_size
    ours = export(network, folder / f"{name}.onnx", sample_size=size, preprocess="float32")
    path = folder / f"{name}.timm.onnx"
    with quiet():
        onnx_export(Whole(module, network), str(path), example_input=torch.rand(1, 3, *size))
    theirs = read_artifact(path, input_size=size)
    pictures = some_pictures(2, size).numpy()
    device = OnnxRuntimeDevice(threads=1)
    first, second = (device.run(one, pictures) for one in (ours, theirs))
    far, spread = np.abs(first / second - 1).max(), second.std() / second.mean()
    if not far < 0.01 * spread:  # also where either is not a number
        raise SystemExit(f"{name}: the two files' probabilities differ by {far:.2%}: not the same network")
    return ours, theirs


def export_tables(tables: Mapping[str, Table], folder: Path, export: Exporter) -> dict[str, Artifact]:
    """Networks of tables with random weights, as files."""
    made = {}
    for number, (label, table) in enumerate(tables.items()):
        torch.manual_seed(0)
        network = settle(build(table))
        made[label] = export(network, folder / f"{number}.onnx", sample_size=table.input_size, preprocess="float32")
    return made


def with_old_tail(table: Table) -> Table:
    """MobileNetV3-Large before its last stage was redesigned: MnasNet's last block, and 1280 channels before pooling."""
    last = Row("inverted", 320, expansion=6.0, activation="hard_swish")
    head = Head(conv_channels=1280, activation="hard_swish")
    return replace(table, name="old tail", rows=(*table.rows, last), head=head)


def with_activation(table: Table, activation: str, *, head: bool) -> Table:
    """One activation in all rows; in stem and head too where asked."""
    rows = tuple(replace(row, activation=activation) for row in table.rows)
    changed = replace(table, rows=rows)
    if not head:
        return changed
    return replace(
        changed,
        stem=replace(table.stem, activation=activation),
        head=replace(table.head, activation=activation),
    )


def groups() -> dict[str, dict[str, Table]]:
    """What is timed together; the first of each is what the others' ratios are over."""
    large = family_table("mobilenet_v3_large")
    return {
        "tail": {"redesigned tail": large, "MnasNet's tail": with_old_tail(large)},
        "swish": {
            "h-swish in the second half": large,
            "h-swish everywhere": with_activation(large, "hard_swish", head=False),
            "h-swish nowhere": with_activation(large, "relu", head=True),
        },
        "papers": {name: family_table(name) for name in PAPERS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="onnxruntime,threads=1")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=20)
    parser.add_argument("--only", default="timm,tail,swish,papers", help="which of the comparisons")
    parser.add_argument("--name", default="", help="only pairs whose name holds this")
    parser.add_argument("--quick", action="store_true", help="ours by the quick exporter that the search uses")
    asked = parser.parse_args()
    device, wanted = open_device(asked.target), asked.only.split(",")
    export: Exporter = export_probe if asked.quick else export_onnx
    info = device.describe()
    print(f"{info.target} on {info.device}, {info.runtime} {info.runtime_version}, timm {timm.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "timm" in wanted:
            print(f"\n{'ours over timm':34} {'ours ms':>9} {'timm ms':>9} {'ratio':>7}  95 % interval")
            for name in (name for name in PAIRS if asked.name.lower() in name):
                ours, theirs = device.time(
                    export_pair(name, folder, export), warmup=asked.warmup, runs=asked.runs, interleave=True
                )
                found = compare(ours, theirs)
                print(
                    f"{name:34} {summarize(ours).median:9.3f} {summarize(theirs).median:9.3f} {found.ratio:7.3f}  "
                    f"{found.low:.3f} .. {found.high:.3f}",
                    flush=True,
                )
        for group, tables in groups().items():
            if group not in wanted:
                continue
            samples = device.time(
                list(export_tables(tables, folder, export).values()), warmup=asked.warmup, runs=asked.runs
            )
            print(f"\n{group + ', over the first':34} {'ms':>9} {'MACs':>9} {'ratio':>7}  95 % interval")
            for (label, table), taken in zip(tables.items(), samples, strict=True):
                found = compare(taken, samples[0])
                print(
                    f"{label:34} {summarize(taken).median:9.3f} {table.macs() / 1e6:8.1f}M {found.ratio:7.3f}  "
                    f"{found.low:.3f} .. {found.high:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
