"""Models of accuracy and latency fitted to the networks of `search_table.py`, their error, and the table they fill.

    python benchmarks/search_table_fit.py benchmarks/data/search_networks.csv --table benchmarks/data/search_table.parquet

A network is described by how many layers of each kind every block has, its multiply-accumulates and its parameters. Three
kinds of model are judged by repeated cross-validation (whole networks are held out, seeds and all); the one in CHOSEN
fills the table. The error of a held-out network holds the chance of its own training too, so it is
printed beside the spread over seeds.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from scipy.stats import spearmanr
from search_table import spaces
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from limbeck.files import atomic_path
from limbeck.search import Point, Space

OPS = ("conv", "sepconv", "mbconv3", "mbconv6")
BLOCKS = 3
FOLDS, REPEATS = 10, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path, help="CSV of search_table.py --networks-to")
    parser.add_argument("--table", type=Path, help="where to write the whole space; only its name tells: .parquet")
    asked = parser.parse_args()
    networks = read_networks(asked.networks)
    print_trained(networks)
    print_errors(networks)
    if asked.table:
        write_table(networks, asked.table)


@dataclass(frozen=True)
class Trained:
    """One network with all its trainings."""

    space: str
    point: Point
    accuracies: tuple[float, ...]  # of its seeds
    latency_ms: float
    ratio_spread: float  # NaN of a single pass

    @property
    def accuracy(self) -> float:
        """The mean over seeds."""
        return statistics.mean(self.accuracies)


def read_networks(path: Path) -> list[Trained]:
    """The networks of the CSV, seeds together."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            found.setdefault((line["space"], line["number"]), []).append(line)
    return [
        Trained(
            space,
            json.loads(lines[0]["point"]),
            tuple(float(line["accuracy"]) for line in lines),
            float(lines[0]["latency_ms"]),
            float(lines[0]["ratio_spread"] or "nan"),
        )
        for (space, _), lines in found.items()
    ]


def layers(point: Point, block: int) -> list[dict[str, Any]]:
    """The layers of a block, of a point of either space."""
    depth = 1 + int(point[f"block{block}.depth"])
    is_flat = f"block{block}.layer0.op" in point
    places = [f"block{block}.layer{layer}" if is_flat else f"block{block}" for layer in range(depth)]
    return [{name: point[f"{place}.{name}"] for name in ("op", "kernel", "se", "width")} for place in places]


def describe(space: Space, point: Point) -> list[float]:
    """What the models read of a network."""
    table = space.build(point)
    described = [np.log(table.macs()), np.log(table.params())]
    for block in range(BLOCKS):
        found = layers(point, block)
        described += [sum(one["op"] == op for one in found) for op in OPS]
        described += [
            sum(one["kernel"] > 3 for one in found),
            sum(one["kernel"] > 3 and one["op"] == "conv" for one in found),
            sum(one["se"] > 0 and one["op"] != "conv" for one in found),  # a regular convolution has none
            sum(np.log(one["width"]) for one in found) / len(found),
            len(found),
        ]
    return [float(value) for value in described]


def gaussian_process(least_noise: float) -> Any:
    """Linear effects and smooth ones; so few networks do not tell noise from detail, so the least noise is given.

    Args:
        least_noise: variance of a figure by chance, as a share of its variance over networks.
    """
    kernel = (
        ConstantKernel(0.5) * DotProduct(0, "fixed")
        + ConstantKernel(0.5) * RBF(5.0, (2.0, 50.0))
        + WhiteKernel(2 * least_noise, (least_noise, 1.0))
    )
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0)
    return make_pipeline(StandardScaler(), process)


FIGURES = ("accuracy", "latency_ms")
LEAST_NOISE = {"accuracy": 0.1, "latency_ms": 1e-4}
MODELS: dict[str, Callable[[str], Any]] = {
    "mean": lambda figure: DummyRegressor(),  # what a model must beat
    "Bayesian ridge": lambda figure: make_pipeline(StandardScaler(), BayesianRidge()),
    "Gaussian process": lambda figure: gaussian_process(LEAST_NOISE[figure]),
    "extra trees": lambda figure: ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0),
}
CHOSEN = {"accuracy": "Gaussian process", "latency_ms": "Gaussian process"}


def make_model(figure: str, kind: str) -> Any:
    """A model of a figure; of latencies it is the logarithm that is fitted."""
    if figure == "latency_ms":
        return TransformedTargetRegressor(MODELS[kind](figure), func=np.log, inverse_func=np.exp)
    return MODELS[kind](figure)


def known_figures(networks: list[Trained]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """[N, F] descriptions and the measured figures, [N] each."""
    known = spaces()
    described = np.array([describe(known[one.space], one.point) for one in networks])
    return described, {figure: np.array([getattr(one, figure) for one in networks]) for figure in FIGURES}


def held_out(figure: str, kind: str, described: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """[REPEATS, N] predictions by models that did not see the network."""
    predicted = np.empty((REPEATS, len(measured)))
    for repeat in range(REPEATS):
        for seen, unseen in KFold(FOLDS, shuffle=True, random_state=repeat).split(described):
            model = make_model(figure, kind).fit(described[seen], measured[seen])
            predicted[repeat, unseen] = model.predict(described[unseen])
    return predicted


def mean_error(figure: str, predicted: np.ndarray, measured: np.ndarray) -> float:
    """Mean absolute error: points of accuracy in per cent, or per cent of the latency."""
    error = np.abs(predicted - measured)
    return 100 * float(np.mean(error if figure == "accuracy" else error / measured))


def print_trained(networks: list[Trained]) -> None:
    """How far apart networks are, beside how far apart seeds and passes are."""
    counts = {space: sum(one.space == space for one in networks) for space in ("factorized", "flat")}
    accuracy = np.array([100 * one.accuracies[0] for one in networks])
    latency = np.array([one.latency_ms for one in networks])
    several = [100 * np.array(one.accuracies) for one in networks if len(one.accuracies) > 1]
    print(f"{counts['factorized']} networks of the factorized space, {counts['flat']} of the flat one")
    print(f"accuracy: {accuracy.min():.2f} to {accuracy.max():.2f} %, standard deviation {accuracy.std(ddof=1):.2f}")
    if several:
        pooled = np.sqrt(np.mean([one.var(ddof=1) for one in several]))
        print(f"spread over seeds: {pooled:.2f} ({len(several)} networks, {len(several[0])} seeds)")
    print(f"latency: {latency.min():.4f} to {latency.max():.4f} ms")
    spread = np.median([one.ratio_spread * networks[0].latency_ms / one.latency_ms for one in networks])
    if np.isfinite(spread):
        print(f"spread of a ratio over passes: {100 * spread:.1f} % (median network)")


def print_errors(networks: list[Trained]) -> None:
    """Cross-validated errors, as Markdown."""
    described, figures = known_figures(networks)
    print("\n| figure | model | mean absolute error | rank correlation | within 5 % | within 10 % |")
    print("|---|---|---|---|---|---|")
    for figure, measured in figures.items():
        for kind in MODELS:
            predicted = held_out(figure, kind, described, measured)
            rank = np.mean([spearmanr(one, measured).statistic for one in predicted]) if kind != "mean" else np.nan
            shares = [100 * float(np.mean(np.abs(predicted / measured - 1) <= bound)) for bound in (0.05, 0.1)]
            unit = "points" if figure == "accuracy" else "%"
            error = mean_error(figure, predicted, measured)
            print(f"| {figure} | {kind} | {error:.2f} {unit} | {rank:.3f} | {shares[0]:.0f} % | {shares[1]:.0f} % |")


def fitted(networks: list[Trained]) -> dict[str, Any]:
    """Per figure the chosen kind of model, fitted to all networks."""
    described, figures = known_figures(networks)
    return {figure: make_model(figure, CHOSEN[figure]).fit(described, figures[figure]) for figure in FIGURES}


def write_table(networks: list[Trained], path: Path) -> None:
    """Every point of the factorized space: a column per choice, predicted accuracy and latency, whether it was trained."""
    space = spaces()["factorized"]
    models = fitted(networks)
    points = [dict(zip(space.choices, ids, strict=True)) for ids in itertools.product(*space.choices.values())]
    described = np.array([describe(space, point) for point in points])
    trained = {json.dumps(space.check(one.point)) for one in networks if one.space == "factorized"}
    columns: dict[str, Any] = {
        name: pa.array([point[name] for point in points]).dictionary_encode()
        for name in space.choices
        if len(space.choices[name]) > 1
    }
    for figure, digits in (("accuracy", 5), ("latency_ms", 6)):
        predicted = np.concatenate([models[figure].predict(part) for part in np.array_split(described, 64)])
        columns[figure] = pa.array(predicted.round(digits), pa.float32())
    columns["trained"] = pa.array([json.dumps(point) in trained for point in points])
    with atomic_path(path) as unfinished:
        pyarrow.parquet.write_table(pa.table(columns), unfinished, compression="zstd", compression_level=19)
    print(
        f"\n{path}: {len(points):,} points, {sum(columns['trained'].to_pylist())} of them trained; {path.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    main()
