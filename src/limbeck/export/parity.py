"""Gates: does an exported file, on the device that will run it, say what the network said?

fp32 is judged on tensors and must leave the metric unchanged; int8 only on the metric, by a paired test. Not here: what
becomes of a file that fails (the pipeline withholds it), computing metrics for reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError
from limbeck.export.paired import exact_mcnemar, paired_interval
from limbeck.types import Artifact

if TYPE_CHECKING:
    from limbeck.protocols import Device

__all__ = [
    "Agreement",
    "check_drop",
    "check_int8",
    "check_metric",
    "check_tensors",
    "decision_gate",
    "figure_gate",
    "run_pictures",
    "tensor_gate",
]


def run_pictures(device: Device, artifact: Artifact, inputs: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
    """The artifact's outputs on the device, [N, ...], for inputs as the file takes them."""
    if len(inputs) == 0:
        raise InputError(f"{artifact.path}: no pictures to prove it on; at least one is needed")
    return np.concatenate(
        [device.run(artifact, inputs[start : start + batch_size]) for start in range(0, len(inputs), batch_size)]
    )


@dataclass
class Agreement:
    """How far a file's outputs agree with what they should be, gathered batch by batch.

    Attributes:
        tolerance: largest difference that is let through; best classes within twice of it are a tie.
        worst: largest difference so far.
        finite: whether all values were.
        pictures: added so far.
        decisions: choices of a class so far: one per picture, or per pixel.
        changed: of these, how many are another class than they should be.
        undecided: of those, how many were ties.
    """

    tolerance: float
    worst: float = 0.0
    finite: bool = True
    pictures: int = 0
    decisions: int = 0
    changed: int = 0
    undecided: int = 0

    def add(self, artifact: Artifact, found: np.ndarray, expected: np.ndarray, *, classes: bool = True) -> None:
        """Add a batch: [N, ...] of the file and of the network; with `classes`, axis 1 is what is chosen among.

        Raises:
            InputError: shapes that differ.
        """
        if found.shape != expected.shape:
            raise InputError(
                f"{artifact.path}: gives {list(found.shape)} where the network gives {list(expected.shape)}"
            )
        difference = np.abs(found - expected)  # in the wider of their precisions
        self.finite = self.finite and bool(np.isfinite(difference).all())
        self.worst = max(self.worst, float(difference.max(initial=0.0)))
        if classes:
            self.add_decisions(artifact, found.argmax(axis=1), expected)
        else:
            self.pictures += len(found)

    def add_decisions(self, artifact: Artifact, found: np.ndarray, expected: np.ndarray) -> None:
        """Add a batch: [N, ...] chosen classes of the file, [N, K, ...] probabilities of the network.

        Raises:
            InputError: shapes that do not fit.
        """
        if found.shape != expected.shape[:1] + expected.shape[2:]:
            raise InputError(f"{artifact.path}: gives {list(found.shape)} classes of {list(expected.shape)} scores")
        self.pictures += len(found)
        self.decisions += found.size
        changed = found != expected.argmax(axis=1)
        self.changed += int(changed.sum())
        if expected.shape[1] > 1:
            best = np.partition(expected, -2, axis=1)[:, -2:]
            self.undecided += int((changed & (best[:, 1] - best[:, 0] <= 2 * self.tolerance)).sum())


def tensor_gate(
    device: Device, artifact: Artifact, agreement: Agreement, *, samples: str = "pictures"
) -> dict[str, Any]:
    """The fp32 gate on tensors: passes when no value of any picture differs by more than the tolerance.

    Returns:
        The gate's record: `artifact, device, kind = "tensor", passed, figure` (the largest difference)`, tolerance,
        pictures, text`.
    """
    # NaN compares false with everything: it must fail the gate, and JSON has no NaN to report it by
    worst = agreement.worst if agreement.finite else None
    passed = worst is not None and worst <= agreement.tolerance
    told = "it gives values that are not finite" if worst is None else f"largest difference {worst:.2g}"
    return {
        **_names(device, artifact),
        "kind": "tensor",
        "passed": passed,
        "figure": worst,
        "tolerance": agreement.tolerance,
        "pictures": agreement.pictures,
        "text": f"{artifact.precision} tensors {_verdict(passed)}: {told} on {agreement.pictures} {samples} "
        f"(tolerance {agreement.tolerance:g})",
    }


def decision_gate(
    device: Device, artifact: Artifact, agreement: Agreement, *, name: str, value: float, reference: float
) -> dict[str, Any]:
    """The gate on decisions: passes when no class changed but where the network itself was undecided.

    Where the two best classes lie within twice the tolerance, either may be chosen without the tensors being wrong; any
    other change fails the gate.

    Args:
        device: where the file was run.
        artifact: the file.
        agreement: of its outputs or decisions.
        name: of the figure, in words.
        value: the figure by the file's decisions.
        reference: by the network's own.

    Returns:
        The gate's record: `artifact, device, kind = "metric", passed, figure` (the change)`, reference, value, changed,
        undecided, pictures, text`.
    """
    passed = bool(agreement.changed == agreement.undecided and agreement.finite)
    return {
        **_names(device, artifact),
        "kind": "metric",
        "passed": passed,
        "figure": value - reference,
        "reference": reference,
        "value": value,
        "changed": agreement.changed,
        "undecided": agreement.undecided,
        "pictures": agreement.pictures,
        "text": f"{artifact.precision} metric {_verdict(passed)}: {name} {value:.4f} for {reference:.4f}, "
        f"{agreement.changed} of {agreement.decisions} decisions changed, {agreement.undecided} of them ties",
    }


def figure_gate(
    device: Device,
    artifact: Artifact,
    *,
    name: str,
    value: float,
    reference: float,
    tolerance: float,
    pictures: int,
) -> dict[str, Any]:
    """The fp32 gate on a figure of answers that cannot be held against each other one by one, such as lists of boxes.

    Args:
        device: where the file was run.
        artifact: the file.
        name: of the figure, in words.
        value: the figure by what the file says.
        reference: by what the network says.
        tolerance: largest change either way.
        pictures: that it was computed on.

    Returns:
        The gate's record: `artifact, device, kind = "metric", passed, figure` (the change)`, tolerance, reference, value,
        pictures, text`.
    """
    passed = abs(value - reference) <= tolerance
    return {
        **_names(device, artifact),
        "kind": "metric",
        "passed": passed,
        "figure": value - reference,
        "tolerance": tolerance,
        "reference": reference,
        "value": value,
        "pictures": pictures,
        "text": f"{artifact.precision} metric {_verdict(passed)}: {name} {value:.4f} for {reference:.4f} on {pictures} "
        f"pictures (tolerance {tolerance:g})",
    }


def check_tensors(
    device: Device,
    artifact: Artifact,
    inputs: np.ndarray,
    expected: np.ndarray,
    *,
    tolerance: float = 1e-3,
    batch_size: int = 32,
    samples: str = "pictures",
) -> dict[str, Any]:
    """The gate on tensors (`tensor_gate`) of pictures that are all at hand.

    Args:
        device: where the file has to be right.
        artifact: the file.
        inputs: real pictures as the file takes them.
        expected: [N, ...] outputs of the network itself, temperature included, for the same pictures.
        tolerance: largest difference that is let through.
        batch_size: pictures per call; the last call takes the rest, so that an open batch axis is proven too.
        samples: what the pictures are called.

    Raises:
        InputError: no pictures, or shapes that do not fit.
    """
    agreement = Agreement(tolerance)
    agreement.add(artifact, run_pictures(device, artifact, inputs, batch_size=batch_size), expected, classes=False)
    return tensor_gate(device, artifact, agreement, samples=samples)


def check_metric(
    device: Device,
    artifact: Artifact,
    probabilities: np.ndarray,
    expected: np.ndarray,
    target: np.ndarray,
    *,
    tolerance: float = 1e-3,
) -> dict[str, Any]:
    """The fp32 gate on the metric of a classifier: `decision_gate`.

    Args:
        device: where `probabilities` were computed.
        artifact: the file.
        probabilities: [N, K] of the file, as `run_pictures` gives them.
        expected: [N, K] of the network itself.
        target: [N] class indices.
        tolerance: that of the tensor gate.
    """
    _same_length(artifact, probabilities, expected, target)
    agreement = Agreement(tolerance)
    agreement.add(artifact, probabilities, expected)
    value, reference = (float((said.argmax(axis=1) == target).mean()) for said in (probabilities, expected))
    return decision_gate(device, artifact, agreement, name="top-1", value=value, reference=reference)


def check_int8(
    device: Device,
    artifact: Artifact,
    probabilities: np.ndarray,
    reference: np.ndarray,
    target: np.ndarray,
    *,
    max_drop: float = 0.01,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """The int8 gate: the loss of accuracy against fp32 on the same pictures, by a paired test.

    Both forms saw the same pictures, so only those that one has right and the other wrong say anything: with b lost and
    c won of N, the drop is (b - c) / N and its interval comes from b and c alone, far narrower than that of two
    unpaired accuracies. The interval decides where it can: wholly within the tolerance passes (`shown within`), wholly
    beyond it fails (`shown beyond`). Where it holds the tolerance (`undecided`, usual on small test sets) the observed
    drop decides, without a bonus for having few pictures: a lenient rule ("fails only when significant") would pass a
    loss of 8 % on 50 pictures, a strict one would withhold every int8 form proven on fewer than 300.

    Args:
        device: where `probabilities` were computed.
        artifact: the int8 file.
        probabilities: [N, K] of the int8 file, as `run_pictures` gives them.
        reference: [N, K] of the fp32 form for the same pictures.
        target: [N] class indices.
        max_drop: largest loss of accuracy that is tolerated, 0.01 = one point.
        confidence: of the two-sided interval.

    Returns:
        The gate's record: `artifact, device, kind = "metric", passed, figure` (the drop)`, tolerance, reference, value,
        lost, won, p_value` (exact McNemar, one-sided: that int8 loses nothing)`, interval, evidence, pictures, text`.

    **Source:** interval: Tango 1998 (Statistics in Medicine 17:891); test: McNemar 1947 in its exact binomial form.
    """
    _same_length(artifact, probabilities, reference, target)
    right_before, right_after = reference.argmax(axis=1) == target, probabilities.argmax(axis=1) == target
    if not np.isfinite(probabilities).all():
        right_after = right_after & np.isfinite(probabilities).all(axis=1)
    lost, won = int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())
    pictures = len(target)
    drop = (lost - won) / pictures
    low, high = paired_interval(lost, won, pictures, confidence=confidence)
    evidence = _evidence(low, high, max_drop)
    passed = drop <= max_drop
    p_value = exact_mcnemar(lost, won)
    return {
        **_names(device, artifact),
        "kind": "metric",
        "passed": passed,
        "figure": drop,
        "tolerance": max_drop,
        "reference": float(right_before.mean()),
        "value": float(right_after.mean()),
        "lost": lost,
        "won": won,
        "p_value": p_value,
        "interval": [low, high],
        "evidence": evidence,
        "pictures": pictures,
        "text": f"{artifact.precision} metric {_verdict(passed)}: top-1 {right_after.mean():.4f} for "
        f"{right_before.mean():.4f}, drop {drop:+.4f} (tolerated {max_drop:g}; {confidence:.0%} interval {low:+.4f} to "
        f"{high:+.4f}, p = {p_value:.2g}, {lost} lost and {won} won of {pictures}: {evidence})",
    }


def check_drop(
    device: Device,
    artifact: Artifact,
    *,
    name: str,
    value: float,
    reference: float,
    paired: Mapping[str, Any],
    max_drop: float = 0.01,
    higher_is_better: bool = True,
) -> dict[str, Any]:
    """The int8 gate on a figure of a whole data set; it decides as `check_int8` does.

    Args:
        device: where the file was run.
        artifact: the int8 file.
        name: of the figure, in words.
        value: the figure by the int8 file.
        reference: by the fp32 file on the same pictures.
        paired: int8 minus fp32, of `paired_bootstrap`.
        max_drop: largest loss that is tolerated.
        higher_is_better: whether a fall of the figure is the loss; False = a rise.

    Returns:
        The gate's record: `artifact, device, kind = "metric", passed, figure` (the drop)`, tolerance, reference, value,
        p_value` (two-sided)`, interval` (of the drop)`, evidence, pictures, text`.
    """
    sign = 1 if higher_is_better else -1
    drop = sign * (reference - value)
    known = paired["low"] is not None
    ends = sorted((-sign * paired["high"], -sign * paired["low"])) if known else (-math.inf, math.inf)
    low, high = ends[0], ends[1]
    evidence, passed = _evidence(low, high, max_drop), bool(drop <= max_drop)
    word = "drop" if higher_is_better else "rise"
    told = f"95% interval {low:+.4f} to {high:+.4f}, p = {paired['p_value']:.2g}" if known else "no interval"
    return {
        **_names(device, artifact),
        "kind": "metric",
        "passed": passed,
        "figure": drop,
        "tolerance": max_drop,
        "reference": reference,
        "value": value,
        "p_value": paired["p_value"],
        "interval": [low, high] if known else None,
        "evidence": evidence,
        "pictures": paired["n"],
        "text": f"{artifact.precision} metric {_verdict(passed)}: {name} {value:.4f} for {reference:.4f}, {word} {drop:+.4f} "
        f"(tolerated {max_drop:g}; {told}, {paired['n']} pictures drawn anew: {evidence})",
    }


def _evidence(low: float, high: float, max_drop: float) -> str:
    """What the interval of a drop shows of what is tolerated."""
    return "shown within" if high <= max_drop else "shown beyond" if low > max_drop else "undecided"


def _names(device: Device, artifact: Artifact) -> dict[str, Any]:
    return {"artifact": artifact.path, "device": device.describe().target, "precision": artifact.precision}


def _verdict(passed: bool) -> str:
    return "passed" if passed else "FAILED"


def _same_length(artifact: Artifact, *arrays: Sequence[Any] | np.ndarray) -> None:
    lengths = {len(array) for array in arrays}
    if lengths == {0}:
        raise InputError(f"{artifact.path}: no pictures to prove it on; at least one is needed")
    if len(lengths) > 1:
        raise InputError(f"{artifact.path}: outputs and targets of different pictures ({sorted(lengths)} of them)")
