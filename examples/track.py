"""Follow a face through a video: each frame is cut out around the points of the one before, with no detector between.

The frames are pictures in a folder, in the order of their names (ffmpeg -i video.mp4 frames/%06d.png makes them).
Run: python examples/track.py RUN FRAMES --box LEFT TOP RIGHT BOTTOM -o points.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import limbeck
from limbeck.errors import InputError
from limbeck.pictures import PICTURE_SUFFIXES, decode

SMALLEST = 8.0  # pixels of a box below which the face is lost
LARGEST = 2.0  # sides of the frame beyond which it is


def main(
    run: str, frames: str, *, box: Sequence[float] | None = None, output: str | None = None, threads: int = 1
) -> dict[str, float]:
    model = limbeck.load(run, threads=threads)
    if "crop" not in model.metadata:
        raise InputError(
            f"{model.path}: was not trained on crops of its points; train with data.options.crop = 'gt_box'"
        )
    for place, folder in (("frames", Path(frames)), ("output", Path(output or ".").parent)):
        if not folder.is_dir():
            raise InputError(f"{place}: {folder}: no such folder")
    paths = sorted(path for path in Path(frames).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise InputError(f"{frames}: no pictures in it")

    # Without a box the whole first frame is taken, which is right where it shows little else than the face.
    found, lost, here = [], 0, box
    for path in paths:
        frame = decode(path)
        try:
            points = model.predict(frame, boxes=here).points[0]
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        found.append(points)
        here = [*points.min(axis=0), *points.max(axis=0)]
        if is_lost(here, frame.shape[:2]):
            lost, here = lost + 1, box

    points = np.stack(found)
    if output is not None:
        write_points(output, paths, points)
    figures = {"frames": len(paths), "lost": lost, **steadiness(points)}
    print(
        f"{len(paths)} frames, lost {lost} times; points move {figures['motion']:.2f} pixels from frame to frame and "
        f"tremble by {figures['jitter']:.2f} ({figures['jitter_share']:.2%} of the box)"
    )
    return figures


def is_lost(box: Sequence[float], size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    middle = ((left + right) / 2, (top + bottom) / 2)
    inside = 0 <= middle[0] <= size[1] and 0 <= middle[1] <= size[0]
    wide, tall = right - left, bottom - top
    return not inside or min(wide, tall) < SMALLEST or max(wide, tall) > LARGEST * max(size)


def steadiness(points: np.ndarray) -> dict[str, float]:
    """How far points move, and how much of that is trembling.

    Of [T, L, 2] points, the second difference in time is free of steady motion; noise of standard deviation s in each
    coordinate gives it the variance 6 s^2.
    """
    sides = np.sqrt(np.prod(np.ptp(points, axis=1), axis=1)).mean()
    motion = np.linalg.norm(np.diff(points, axis=0), axis=2).mean() if len(points) > 1 else 0.0
    trembling = np.sqrt(np.square(np.diff(points, n=2, axis=0)).mean() / 6) if len(points) > 2 else 0.0
    return {"motion": float(motion), "jitter": float(trembling), "jitter_share": float(trembling / sides)}


def write_points(output: str, paths: Sequence[Path], points: np.ndarray) -> None:
    with open(output, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["frame", *(f"{axis}{i}" for i in range(points.shape[1]) for axis in "xy")])
        writer.writerows(
            [path.name, *row.round(3).tolist()]
            for path, row in zip(paths, points.reshape(len(points), -1), strict=True)
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run folder, an export folder or an ONNX file")
    parser.add_argument("frames", help="folder of pictures")
    parser.add_argument("--box", nargs=4, type=float, help="around the points in the first frame, in pixels")
    parser.add_argument("-o", "--output", help="CSV of points to write")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    try:
        main(given.run, given.frames, box=given.box, output=given.output, threads=given.threads)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
