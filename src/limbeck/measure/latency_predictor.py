"""Latencies of networks from a table of kernels: looked up, or predicted by what is fitted to the table.

A predictor states its own error on networks that it was not fitted to, and refuses what lies beyond what was measured.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import spearmanr

from limbeck.errors import InputError
from limbeck.measure.kernels import Kernel, kernel_features, kernels_of
from limbeck.measure.latency_table import LatencyTable
from limbeck.models import Table

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["LatencyPredictor", "PredictionError", "usable_networks"]

LEAST_KERNELS, LEAST_NETWORKS = 20, 10
JOINING = 0.5  # share of the networks that kernels are joined by; the others tell the error
REACH = 0.05  # how far beyond the measured range a count may lie, as a share
ODD_FEATURES = ("kernel_size", "start_kernel_size", "stride")  # whole numbers: what was not measured is not between


@dataclass(frozen=True)
class PredictionError:
    """How well latencies of networks are predicted that nothing was fitted to.

    Attributes:
        networks: how many.
        within_5: share of them whose prediction is within 5 % of the measured latency.
        within_10: within 10 %.
        median: of the absolute relative errors.
        worst: the largest of them.
        rank_correlation: Spearman's, of predicted and measured latencies.
    """

    networks: int
    within_5: float
    within_10: float
    median: float
    worst: float
    rank_correlation: float

    def __str__(self) -> str:
        return (
            f"{self.within_5:.0%} within 5 % and {self.within_10:.0%} within 10 % of {self.networks} networks, "
            f"rank correlation {self.rank_correlation:.3f}"
        )

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def usable_networks(table: LatencyTable, source: str) -> list[tuple[Table, float]]:
    """The networks of a table by which kernels can be joined, each with its milliseconds.

    Raises:
        InputError: the table holds too few kernels, or too few such networks.
    """
    networks = [one for one in table.networks if source == "predictor" or _is_known(table, one[0])]
    for name, count, least in (
        ("kernels", len(table.kernels), LEAST_KERNELS),
        ("networks" if source == "predictor" else "networks of these kernels", len(networks), LEAST_NETWORKS),
    ):
        if count < least:
            raise InputError(
                f"latency table of {table.device.target}: {count} {name}; at least {least} are needed to fit and to "
                "tell the error"
            )
    return networks


class LatencyPredictor:
    """Networks' latencies from a table of kernels.

    A kernel's latency is the table's, or, with `source = "predictor"`, that of a Gaussian process on the logarithms of
    its counts where the table has none. A network's latency is a weighted sum of its kernels' latencies, its weights in
    memory, the maps that pass from kernel to kernel, the number of kernels and a constant: on its own a kernel has warm
    weights, and a reordering of its maps at either end that a whole network is spared. The error is that on
    one half of the table's networks after a fit to the other half, without the kernels that only the first half has;
    then all of the table is fitted.

    Attributes:
        error: on the networks that nothing was fitted to.

    Args:
        table: as measured.
        source: `table` (kernels are looked up only) or `predictor`.

    Raises:
        InputError: the table holds too few kernels or networks.

    **Source:** that whole fused kernels are predicted, never operators, is nn-Meter's (Zhang et al. 2021); features and
    joining are ours.
    """

    def __init__(self, table: LatencyTable, *, source: Literal["table", "predictor"] = "predictor") -> None:
        self.table, self.source = table, source
        networks = usable_networks(table, source)
        joining, judging = _halves(networks)
        measured = [one for one, _ in table.kernels.values()]
        self._names = list(kernel_features(measured[0]))
        self._ranges = {kind: self._range(kind) for kind in {kernel.kind for kernel in measured}}
        self.error = self._judge(joining, judging)
        self._use(set(table.kernels), networks)

    def latencies(self, tables: Sequence[Table]) -> list[float | Exception]:
        """Milliseconds of each network, or why it cannot be told."""
        found: list[float | Exception] = []
        for table in tables:
            try:
                found.append(self.latency(table))
            except InputError as error:
                found.append(error)
        return found

    def latency(self, table: Table) -> float:
        """Milliseconds of a network.

        Raises:
            InputError: it has a kernel that was not measured (`source = "table"`), or one beyond what was.
        """
        for kernel in kernels_of(table):
            self._check(kernel)
        return self._joined(table)

    def kernel_latency(self, kernel: Kernel) -> float:
        """Milliseconds of a kernel on its own.

        Raises:
            InputError: as `latency`.
        """
        self._check(kernel)
        return self._known[kernel.key] if kernel.key in self._known else self._predict([kernel])[0]

    def _judge(self, joining: list[tuple[Table, float]], judging: list[tuple[Table, float]]) -> PredictionError:
        """The error on networks as if they, and the kernels that only they have, had never been measured."""
        used = {kernel.key for one, _ in joining for kernel in kernels_of(one)}
        judged = {kernel.key for one, _ in judging for kernel in kernels_of(one)} - used
        self._use(set(self.table.kernels) - (judged if self.source == "predictor" else set()), joining)
        return _error([self._joined(one) for one, _ in judging], [ms for _, ms in judging])

    def _use(self, kernels: set[str], networks: list[tuple[Table, float]]) -> None:
        """Fit to these kernels, then join them by these networks."""
        self._known = {key: ms for key, (_, ms) in self.table.kernels.items() if key in kernels}
        fitted = [self.table.kernels[key][0] for key in self._known]
        if self.source == "predictor":
            self._fitted = _fit_kernels(self._rows(fitted), np.log(list(self._known.values())))
        self._weights = _join([self._terms(one) for one, _ in networks], [ms for _, ms in networks])

    def _joined(self, table: Table) -> float:
        return float(np.dot(self._terms(table), self._weights))

    def _terms(self, table: Table) -> np.ndarray:
        """What a network's latency is the weighted sum of."""
        kernels = kernels_of(table)
        unknown = [kernel for kernel in kernels if kernel.key not in self._known]
        guessed = iter(self._predict(unknown) if unknown else ())
        times = [self._known[kernel.key] if kernel.key in self._known else next(guessed) for kernel in kernels]
        counts = [kernel_features(kernel) for kernel in kernels]
        weights = sum(math.expm1(one["weights"]) for one in counts)
        passed = sum(
            math.expm1(one["entering"]) * math.expm1(one["pixels_in"])
            + math.expm1(one["leaving"]) * math.expm1(one["pixels_out"])
            for one in counts
        )
        return np.array([sum(times), weights / 1e6, passed / 1e6, len(kernels) / 10, 1.0])

    def _predict(self, kernels: list[Kernel]) -> list[float]:
        return [float(ms) for ms in np.exp(self._fitted.predict(self._rows(kernels)))]

    def _rows(self, kernels: list[Kernel]) -> np.ndarray:
        return np.array([[kernel_features(kernel)[name] for name in self._names] for kernel in kernels])

    def _range(self, kind: str) -> tuple[np.ndarray, np.ndarray, list[set[float]]]:
        """Least and most of every feature among the measured kernels of a kind, and the values that were seen."""
        rows = self._rows([kernel for kernel, _ in self.table.kernels.values() if kernel.kind == kind])
        return rows.min(0), rows.max(0), [set(column) for column in rows.T]

    def _check(self, kernel: Kernel) -> None:
        """Raise InputError where a kernel is neither measured nor, for a predictor, within what was."""
        if kernel.key in self.table.kernels:
            return
        if self.source == "table":
            self.table.look_up(kernel)
        self._check_range(kernel)

    def _check_range(self, kernel: Kernel) -> None:
        where = f"latency predictor of {self.table.device.target}: {kernel.describe()}"
        remedy = "measure more kernels, or take the device"
        if kernel.kind not in self._ranges:
            raise InputError(f"{where}: no kernel of its kind was measured; {remedy}")
        low, high, seen = self._ranges[kernel.kind]
        for i, (name, value) in enumerate(zip(self._names, self._rows([kernel])[0], strict=True)):
            is_choice = name in ODD_FEATURES or name.startswith(("is_", "does_", "has_"))
            if is_choice and value not in seen[i]:
                known = ", ".join(f"{one:g}" for one in sorted(seen[i]))
                raise InputError(f"{where}: {name} = {value:g} was not measured (only {known}); {remedy}")
            if not is_choice and not low[i] - math.log1p(REACH) <= value <= high[i] + math.log1p(REACH):
                least, most = (f"{math.expm1(one):,.0f}" for one in (low[i], high[i]))
                raise InputError(
                    f"{where}: {name} = {math.expm1(value):,.0f} is beyond what was measured ({least} to {most}); {remedy}"
                )


def _fit_kernels(rows: np.ndarray, times: np.ndarray) -> Pipeline:
    """A Gaussian process on the logarithm of the latency: smooth in counts, exact in what the noise leaves."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kernel = ConstantKernel(1.0) * RBF(5.0, (0.5, 1e3)) + DotProduct(1.0) + WhiteKernel(1e-2)
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at its bound is no fault
        return make_pipeline(StandardScaler(), process).fit(rows, times)


def _halves(
    networks: list[tuple[Table, float]],
) -> tuple[list[tuple[Table, float]], list[tuple[Table, float]]]:
    """Networks to join kernels by, and networks to tell the error on: parted by their hash, not by when they were timed."""
    ordered = sorted(networks, key=lambda one: one[0].fingerprint())
    cut = round(JOINING * len(ordered))
    return ordered[:cut], ordered[cut:]


def _join(terms: list[np.ndarray], measured: list[float]) -> np.ndarray:
    """Weights of the terms, by least squares of relative errors, held near a plain sum where the networks say little."""
    rows, times = np.array(terms), np.array(measured)
    plain = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    scale = np.abs(rows).mean(0)
    a = rows / times[:, None]
    pull = np.diag(0.01 * math.sqrt(len(times)) * scale / times.mean())
    found: np.ndarray = (
        plain
        + np.linalg.lstsq(np.vstack([a, pull]), np.concatenate([1 - a @ plain, np.zeros(len(plain))]), rcond=None)[0]
    )
    return found


def _error(predicted: Sequence[float], measured: Sequence[float]) -> PredictionError:
    off = np.abs(np.array(predicted) / np.array(measured) - 1)
    return PredictionError(
        networks=len(off),
        within_5=float((off <= 0.05).mean()),
        within_10=float((off <= 0.10).mean()),
        median=float(np.median(off)),
        worst=float(off.max()),
        rank_correlation=float(spearmanr(predicted, measured).statistic),
    )


def _is_known(table: LatencyTable, network: Table) -> bool:
    return all(kernel.key in table.kernels for kernel in kernels_of(network))
