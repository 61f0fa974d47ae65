"""Gates: does an exported file, on the device that will run it, say what the network said?

fp32 is judged on tensors and must leave the metric unchanged; int8 only on the metric, by a paired test. Not here: what
becomes of a file that fails (the pipeline withholds it), computing metrics for reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import InputError
from limbeck.export.paired import exact_mcnemar, paired_interval
from limbeck.types import Artifact

if TYPE_CHECKING:
    from limbeck.protocols import Device

__all__ = ["check_int8", "check_metric", "check_tensors", "run_pictures"]


def run_pictures(device: Device, artifact: Artifact, inputs: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
    """The artifact's outputs on the device, [N, K], for inputs as the file takes them."""
    if len(inputs) == 0:
        raise InputError(f"{artifact.path}: no pictures to prove it on; at least one is needed")
    return np.concatenate(
        [device.run(artifact, inputs[start : start + batch_size]) for start in range(0, len(inputs), batch_size)]
    )


def check_tensors(
    device: Device,
    artifact: Artifact,
    inputs: np.ndarray,
    expected: np.ndarray,
    *,
    tolerance: float = 1e-3,
    batch_size: int = 32,
) -> dict[str, Any]:
    """The fp32 gate on tensors: passes when no probability of any picture differs by more than `tolerance`.

    Args:
        device: where the file has to be right.
        artifact: the file.
        inputs: real pictures as the file takes them.
        expected: [N, K] probabilities of the network itself, temperature included, for the same pictures.
        tolerance: largest difference that is let through.
        batch_size: pictures per call; the last call takes the rest, so that an open batch axis is proven too.

    Returns:
        The gate's record: `artifact, device, kind = "tensor", passed, figure` (the largest difference)`, tolerance,
        pictures, text`.

    Raises:
        InputError: no pictures, or shapes that do not fit.
    """
    got = run_pictures(device, artifact, inputs, batch_size=batch_size)
    if got.shape != expected.shape:
        raise InputError(f"{artifact.path}: gives {list(got.shape)} where the network gives {list(expected.shape)}")
    difference = np.abs(got.astype(np.float64) - expected)
    # NaN compares false with everything: it must fail the gate, and JSON has no NaN to report it by
    worst = float(difference.max()) if np.isfinite(difference).all() else None
    passed = worst is not None and worst <= tolerance
    told = "it gives values that are not finite" if worst is None else f"largest difference {worst:.2g}"
    return {
        **_names(device, artifact),
        "kind": "tensor",
        "passed": passed,
        "figure": worst,
        "tolerance": tolerance,
        "pictures": len(inputs),
        "text": f"{artifact.precision} tensors {_verdict(passed)}: {told} on {len(inputs)} pictures "
        f"(tolerance {tolerance:g})",
    }


def check_metric(
    device: Device,
    artifact: Artifact,
    probabilities: np.ndarray,
    expected: np.ndarray,
    target: np.ndarray,
    *,
    tolerance: float = 1e-3,
) -> dict[str, Any]:
    """The fp32 gate on the metric: passes when no decision changed but where the network itself was undecided.

    A picture whose two best classes lie within twice the tolerance may change sides without the tensors being wrong;
    any other change fails the gate.

    Args:
        device: where `probabilities` were computed.
        artifact: the file.
        probabilities: [N, K] of the file, as `run_pictures` gives them.
        expected: [N, K] of the network itself.
        target: [N] class indices.
        tolerance: that of the tensor gate.

    Returns:
        The gate's record: `artifact, device, kind = "metric", passed, figure` (the change of accuracy)`, reference,
        value, changed, undecided, pictures, text`.
    """
    _same_length(artifact, probabilities, expected, target)
    changed = probabilities.argmax(axis=1) != expected.argmax(axis=1)
    best = np.sort(expected, axis=1)[:, -2:]
    undecided = best[:, -1] - best[:, 0] <= 2 * tolerance if expected.shape[1] > 1 else np.zeros(len(target), bool)
    passed = bool(not (changed & ~undecided).any() and np.isfinite(probabilities).all())
    before = float((expected.argmax(axis=1) == target).mean())
    after = float((probabilities.argmax(axis=1) == target).mean())
    return {
        **_names(device, artifact),
        "kind": "metric",
        "passed": passed,
        "figure": after - before,
        "reference": before,
        "value": after,
        "changed": int(changed.sum()),
        "undecided": int((changed & undecided).sum()),
        "pictures": len(target),
        "text": f"{artifact.precision} metric {_verdict(passed)}: top-1 {after:.4f} for {before:.4f}, "
        f"{int(changed.sum())} of {len(target)} decisions changed, {int((changed & undecided).sum())} of them ties",
    }


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
    evidence = "shown within" if high <= max_drop else "shown beyond" if low > max_drop else "undecided"
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
