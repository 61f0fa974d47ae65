"""An opened model: pictures of any kind in, what it says of them out.

Not here: reading what a file is (`artifact`), other devices than this host (`measure`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from limbeck.deployed.artifact import Precision, describe, find_model, one_line, open_session, read_metadata
from limbeck.deployed.boxes import FoundBoxes, boxes_in_picture, choose_found
from limbeck.deployed.frames import as_frames
from limbeck.deployed.maps import ClassMaps, map_in_picture
from limbeck.deployed.points import Box, FoundPoints, as_boxes, cut_box, found_points
from limbeck.errors import InputError
from limbeck.pictures import decode, fit_affine, fit_picture, window_affine

__all__ = ["DeployedModel", "Prediction", "load"]

Fitted = tuple[np.ndarray, tuple[int, int], Box | None]
"""A picture as the model gets it, the (height, width) that it was given in, and the window that was cut out of it."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of N pictures.

    Attributes:
        probabilities: [N, K] float32, rows sum to 1.
        classes: [N] int64, the most probable class.
        labels: its name, per picture.
        confidence: [N] float32, its probability.
    """

    probabilities: np.ndarray
    classes: np.ndarray
    labels: list[str]
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


class DeployedModel:
    """An exported model, ready to predict. `load` makes one.

    Attributes:
        path: the ONNX file.
        task: `classification`, `segmentation`, `detection` or `landmarks`; what is none of these is taken for the first.
        metadata: what the file says of itself; empty where it was not made by Limbeck.
        artifact: the file as a record.
        input_size: (height, width) that pictures are fitted to; of signals (1, samples of a frame).
        takes_signals: whether it takes frames of signals.
        fit: how they are fitted (`crop`, `squash`, `pad`).
        class_names: [K] names; the classes' numbers where the file has none.
    """

    def __init__(
        self, path: str | Path, *, threads: int | None = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        self._session = open_session(self.path, threads=threads)
        self.metadata = {**read_metadata(self._session, self.path), **(metadata or {})}
        self.artifact = describe(self._session, self.path, self.metadata)
        self._is_bytes = self.artifact.input_dtype == "uint8"
        shape = self.artifact.input_shape
        self.takes_signals = len(shape) == 2 and shape[0] == 2 and not self._is_bytes
        if self.takes_signals:
            shape = (2, 1, shape[1])
        elif len(shape) != 3 or shape[2 if self._is_bytes else 0] != 3:
            raise InputError(
                f"{self.path}: takes {list(shape)}, neither RGB pictures ([H, W, 3] bytes or [3, H, W]) nor signals ([2, T])"
            )
        self.input_size = (shape[0], shape[1]) if self._is_bytes else (shape[1], shape[2])
        self.fit = str(self.metadata.get("fit", "crop"))
        task = str(self.metadata.get("task", "classification"))
        self.task = task if task in ("segmentation", "detection", "landmarks") else "classification"
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._class_names: tuple[str, ...] = tuple(str(name) for name in self.metadata.get("class_names") or ())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K outputs."""
        if not self._class_names:
            classes: Any = self.metadata.get("num_classes") or self._session.get_outputs()[0].shape[-1]
            if not isinstance(classes, int):  # a file whose output shape is open tells its classes only by running
                classes = self._run(self._blank()).shape[1]
            self._class_names = tuple(str(index) for index in range(classes))
        return self._class_names

    def _blank(self) -> np.ndarray:
        """One sample before `prepare`."""
        size = self.input_size
        return np.ones((1, 2, size[1]), np.float32) if self.takes_signals else np.zeros((1, *size, 3), np.uint8)

    def prepare(self, pictures: np.ndarray) -> np.ndarray:
        """Turn fitted pictures, [N, H, W, 3] uint8, into the array that the file takes; frames of signals are that already.

        A file of ours normalises inside. For other files `mean` and `std` in `metadata` are applied here.
        """
        if self._is_bytes or self.takes_signals:
            return np.ascontiguousarray(pictures)
        inputs = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)
        if "schema" not in self.metadata and {"mean", "std"} <= self.metadata.keys():
            mean, std = (np.asarray(self.metadata[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
            inputs = (inputs - mean) / std
        return inputs

    def finish(self, scores: np.ndarray) -> np.ndarray:
        """Turn what the file gives, on whatever device it ran, into what `task` has for an answer.

        Returns:
            of classification probabilities [N, K], which files of ours give already; of segmentation what the file gives,
            probabilities [N, K, H, W] or classes [N, H, W]; of detection [N, L, 6] rows of x1, y1, x2, y2 (shares of the
            fitted picture), score and label, score 0 = none; of landmarks [N, L, 2] shares of the fitted picture.

        Raises:
            InputError: it gives something else.
        """
        if self.task == "segmentation":
            if scores.ndim != (3 if scores.dtype == np.uint8 else 4):
                raise InputError(f"{self.path}: gives {list(scores.shape)}, neither class maps nor their probabilities")
            return scores
        if self.task == "landmarks":
            if scores.ndim != 3 or scores.shape[2] != 2:
                raise InputError(f"{self.path}: gives {list(scores.shape)}, not x and y of points per picture")
            return scores
        if self.task == "detection":
            if scores.ndim != 3:
                raise InputError(f"{self.path}: gives {list(scores.shape)}, not rows of boxes per picture")
            return (
                choose_found(scores, **self.metadata.get("choice", {}))
                if self.metadata.get("output") == "boxes"
                else scores
            )
        return _as_probabilities(scores, self.path, known="schema" in self.metadata)

    def predict(self, pictures: Any, *, batch_size: int = 32, boxes: Any = None) -> Any:
        """Say what is in pictures; one alone or any number of them, in order.

        Args:
            pictures: paths, encoded bytes, PIL images or [H, W, 3] uint8 arrays, mixed as you like; or one
                [N, H, W, 3] uint8 array. Those of another size are fitted as in training. Of signals frames [N, 2, T],
                or complex [N, T], of any power.
            batch_size: pictures run at once.
            boxes: of landmarks [N, 4] left, top, right, bottom in pixels: where in each picture the face or thing is, cut
                out as in training, padding included; None = each picture is such a crop already.

        Returns:
            of a classifier a `Prediction`, of a segmenter `ClassMaps`, of a detector `FoundBoxes`, of landmarks
            `FoundPoints`.

        Raises:
            InputError: a picture that cannot be read, or that is no RGB picture.
        """
        if batch_size < 1:
            raise InputError(f"batch_size = {batch_size}: at least 1 is needed")
        if boxes is not None and self.task != "landmarks":
            raise InputError(f"{self.path}: a model for {self.task} takes whole pictures; leave the boxes out")
        batches = _batches(self._fitted(pictures, boxes), batch_size)
        if self.task == "segmentation":
            return self._as_maps(batches)
        if self.task == "detection":
            return self._as_boxes(batches)
        if self.task == "landmarks":
            return self._as_points(batches)
        rows = [self._run(_stacked(batch)) for batch in batches]
        names = self._class_names or (self.class_names if rows else ())
        probabilities = np.concatenate(rows) if rows else np.zeros((0, len(self._class_names)), np.float32)
        classes = probabilities.argmax(axis=1) if rows else np.zeros(0, np.int64)
        if rows and len(names) != probabilities.shape[1]:
            raise InputError(f"{self.path}: gives {probabilities.shape[1]} classes, but has {len(names)} class names")
        return Prediction(
            probabilities=probabilities,
            classes=classes,
            labels=[names[index] for index in classes],
            confidence=probabilities.max(axis=1) if rows else np.zeros(0, np.float32),
        )

    def _as_maps(self, batches: Iterable[list[Fitted]]) -> ClassMaps:
        maps = []
        for batch in batches:
            found = self._run(_stacked(batch))
            for one, (_, size, _) in zip(found.argmax(1) if found.ndim == 4 else found, batch, strict=True):
                maps.append(map_in_picture(one, self._affine(size), size))
        return ClassMaps(maps, self.class_names)

    def _as_boxes(self, batches: Iterable[list[Fitted]]) -> FoundBoxes:
        found = []
        for batch in batches:
            for rows, (_, size, _) in zip(self._run(_stacked(batch)), batch, strict=True):
                rows = rows[rows[:, 4] > 0]
                boxes = boxes_in_picture(rows[:, :4], self._affine(size), fitted=self.input_size, size=size)
                found.append((boxes, rows[:, 4], rows[:, 5].astype(np.int64)))
        boxes, scores, classes = ([one[part] for one in found] for part in range(3))
        return FoundBoxes(boxes, scores, classes, self.class_names)

    def _as_points(self, batches: Iterable[list[Fitted]]) -> FoundPoints:
        found, affines = [], []
        for batch in batches:
            found += [*self._run(_stacked(batch))]
            affines += [
                self._affine(size) if window is None else window_affine(window, self.input_size)
                for _, size, window in batch
            ]
        return found_points(found, affines, self.input_size, self.metadata, self.class_names)

    def _affine(self, size: tuple[int, int]) -> np.ndarray:
        return fit_affine(size, self.input_size, self.fit)  # type: ignore[arg-type]

    def _fitted(self, pictures: Any, boxes: Any = None) -> Iterator[Fitted]:
        if self.takes_signals:
            yield from ((frame, frame.shape, None) for frame in as_frames(pictures, self.input_size[1]))
            return
        listed = _listed(pictures)
        known = as_boxes(boxes, len(listed) if isinstance(listed, Sized) else None)
        number = -1
        for number, picture in enumerate(listed):
            array = _as_array(picture, number)
            if known is None:
                yield fit_picture(array, self.input_size, self.fit), array.shape[:2], None  # type: ignore[arg-type]
            else:
                if number >= len(known):
                    raise InputError(f"boxes: {len(known)} for more pictures; expected one for each")
                crop = self.metadata.get("crop") or {}
                fitted, window = cut_box(array, known[number], self.input_size, crop, where=_name_of(picture, number))
                yield fitted, array.shape[:2], window
        if known is not None and number + 1 < len(known):
            raise InputError(f"boxes: {len(known)} for {number + 1} pictures; expected one for each")

    def _run(self, pictures: np.ndarray) -> np.ndarray:
        try:
            (scores,) = self._session.run([self._output], {self._input: self.prepare(pictures)})
        except Exception as error:  # the runtime's own exceptions share no base class
            raise InputError(f"{self.path}: the runtime could not run it ({one_line(error)})") from error
        return self.finish(scores)


def load(
    path: str | Path,
    *,
    precision: Precision = "fp32",
    threads: int | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> DeployedModel:
    """Open an exported model; needs onnxruntime, NumPy and Pillow, not torch.

    A file that Limbeck did not make is taken to want [N, 3, H, W] floats in [0, 1], or [N, H, W, 3] bytes, and to give
    logits or probabilities [N, K]; say more of it in `metadata` (`class_names`, `mean`, `std`, `fit`, `input_size`).

    Args:
        path: an ONNX file, an export folder or a run folder.
        precision: which file of a folder.
        threads: threads for one call; None = as many as the runtime likes.
        metadata: facts that replace or complete those in the file.

    Raises:
        InputError: no such file, not a usable ONNX file, or onnxruntime is missing or broken.
    """
    return DeployedModel(find_model(path, precision=precision), threads=threads, metadata=metadata)


def _listed(pictures: Any) -> Iterable[Any]:
    """The pictures one by one, where a single one may stand alone."""
    if isinstance(pictures, np.ndarray):
        if pictures.ndim not in (3, 4):
            raise InputError(f"pictures: an array must be [H, W, 3] or [N, H, W, 3], not {list(pictures.shape)}")
        return pictures if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, str | os.PathLike | bytes) or not isinstance(pictures, Iterable):
        return [pictures]
    return pictures


def _name_of(picture: Any, number: int) -> str:
    return str(picture) if isinstance(picture, str | os.PathLike) else f"picture {number}"


def _as_array(picture: Any, number: int) -> np.ndarray:
    if isinstance(picture, np.ndarray):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise InputError(f"picture {number}: {picture.dtype} {list(picture.shape)}; [H, W, 3] uint8 RGB is needed")
        if not picture.size:
            raise InputError(f"picture {number}: it is empty")
        return picture
    if isinstance(picture, bytes | bytearray | memoryview):
        return decode(bytes(picture))
    if isinstance(picture, str | os.PathLike):
        return decode(Path(picture))
    if isinstance(picture, Image.Image):
        return _decode_image(picture)
    raise InputError(
        f"picture {number}: {type(picture).__name__}; expected a path, bytes, a PIL image or a uint8 array"
    )


def _decode_image(image: Image.Image) -> np.ndarray:
    """As `decode`, so that an opened picture gives the same as its file: orientation, transparency, 16-bit grey."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "RGB" and "transparency" not in upright.info:
        return np.array(upright)
    buffer = io.BytesIO()
    lossless = "PNG" if upright.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16") else "TIFF"
    try:
        upright.save(buffer, lossless, compress_level=0) if lossless == "PNG" else upright.save(buffer, lossless)
    except (OSError, ValueError, KeyError):
        return np.array(upright.convert("RGB"))
    return decode(buffer.getvalue())


def _stacked(batch: list[Fitted]) -> np.ndarray:
    """[N, H, W, 3] uint8 as the model gets them."""
    return np.stack([fitted for fitted, _, _ in batch])


def _batches(pictures: Iterable[Fitted], size: int) -> Iterator[list[Fitted]]:
    batch: list[Fitted] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _as_probabilities(scores: np.ndarray, path: Path, *, known: bool) -> np.ndarray:
    scores = np.asarray(scores, np.float32)
    if scores.ndim != 2:
        raise InputError(f"{path}: gives {list(scores.shape)}, not one row of class scores per picture")
    if known or (scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3)):
        return scores
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
