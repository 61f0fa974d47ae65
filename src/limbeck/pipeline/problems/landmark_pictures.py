"""What the report shows of landmarks beside figures: faces with both sets of points, and what inexact boxes cost.

Not here: keeping, judging and proving points (`landmarks`).
"""

from __future__ import annotations

import math

import numpy as np
import torch

from limbeck.data import PictureSet
from limbeck.data.placement import combine, warp
from limbeck.models import Network
from limbeck.pipeline.pictured import draw_points, side_by_side
from limbeck.tasks import Landmarks
from limbeck.train import evaluating

__all__ = ["JITTERS", "faces_of", "jitter_affine", "jittered", "jittered_figures"]

WORST, TYPICAL = 8, 4
JITTERS = (0.0, 0.025, 0.05, 0.075, 0.1)
"""How far boxes are off, as a share of their side; a tenth is what face detectors differ by from each other and from tight
boxes of points."""

MOST = 1000  # pictures that jitter is tried on: more tell no more
BATCH = 64


def faces_of(
    points: np.ndarray, truth: np.ndarray, errors: np.ndarray, pictures: PictureSet
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The worst pictures, then some from the middle: as text, and with an image of both sets of points each.

    Args:
        points: [N, L, 2] as shares of the fitted pictures, found.
        truth: the same, NaN = unknown.
        errors: [N] by which they are ordered; pictures with NaN are left out.
        pictures: the pictures.
    """
    order = np.argsort(-errors, kind="stable")
    order = order[~np.isnan(errors[order])]
    middle = order[WORST:][max(0, (len(order) - WORST - TYPICAL) // 2) :][:TYPICAL]
    plain, pictured = [], []
    for kind, rows in (("worst", order[:WORST]), ("typical", middle)):
        for row in rows.tolist():
            entry = {"picture": pictures.source(row), "text": f"NME {100 * errors[row]:.2f} %"}
            plain.append(entry)
            image = side_by_side([draw_points(pictures.picture(row), truth[row], points[row])], side=220)
            pictured.append({**entry, "kind": kind, "image": image})
    return plain, pictured


def jittered_figures(task: Landmarks, network: Network, pictures: PictureSet) -> list[dict[str, float]]:
    """`shift`, and the task's figures on crops that are off by up to so much of their side, either way, in place and size.

    What lies beyond the eighth of a side that is kept around a crop, or beyond the picture, is black.
    """
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(MOST, len(pictures))).astype(np.int64))
    sizes = pictures.shown_sizes()[rows]  # a box that is off is off in size by the same factor on both sides
    found = []
    with torch.no_grad(), evaluating(network):
        for shift in JITTERS:
            metric = task.metric(sizes=sizes)
            for start in range(0, len(rows), BATCH):
                chunk = [jittered(pictures, row, shift) for row in rows[start : start + BATCH].tolist()]
                inputs = torch.from_numpy(np.stack([picture for picture, _ in chunk])).permute(0, 3, 1, 2).float() / 255
                metric.update(network(inputs), torch.from_numpy(np.stack([truth for _, truth in chunk])))
            found.append({"shift": shift, **{name: float(value) for name, value in metric.compute().items()}})
    return found


def jitter_affine(shift: float, size: tuple[int, int], draw: np.random.Generator) -> np.ndarray:
    """[2, 3] from coordinates of a crop of `size` to those of one whose box is off.

    Args:
        shift: the most that its middle lies off, as a share of each side, and that its sides are longer or shorter.
        size: (height, width).
        draw: what it is drawn from.
    """
    right, down, larger = (shift * draw.uniform(-1, 1, 3)).tolist()
    factor = math.exp(-larger)
    middle = np.array([size[1], size[0]]) / 2
    moved = middle - factor * (middle + np.array([right * size[1], down * size[0]]))
    return np.array([[factor, 0.0, moved[0]], [0.0, factor, moved[1]]])


def jittered(pictures: PictureSet, row: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """[H, W, 3] uint8 crop whose box is off, and [L, 2] where its points then lie."""
    assert pictures.targets is not None
    size = pictures.image_size
    change = jitter_affine(shift, size, np.random.default_rng([row, round(1000 * shift)]))
    placed = combine(pictures.picture_affine(row), change)
    truth = pictures.targets.changed(row, placed, size)
    if not shift:
        return pictures.picture(row), truth
    # from what is kept around the crop, by way of the picture as it was found
    across, down = (pictures.context_affine(row)[axis, axis] for axis in (0, 1))
    back = np.array([[1 / across, 0.0, 0.0], [0.0, 1 / down, 0.0]])
    back[:, 2] = -pictures.context_affine(row)[:, 2] * np.array([1 / across, 1 / down])
    return warp(pictures.context(row), combine(back, placed), size), truth
