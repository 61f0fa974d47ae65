"""An opened model: pictures of any kind in, a `Prediction` out.

Not here: reading what a file is (`artifact`), other devices than this host (`measure`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from limbeck.deployed.artifact import Precision, describe, find_model, one_line, open_session, read_metadata
from limbeck.errors import InputError
from limbeck.pictures import decode, fit_picture

__all__ = ["DeployedModel", "Prediction", "load"]


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
    """An exported classifier, ready to predict. `load` makes one.

    Attributes:
        path: the ONNX file.
        metadata: what the file says of itself; empty where it was not made by Limbeck.
        artifact: the file as a record.
        input_size: (height, width) that pictures are fitted to.
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
        if len(shape) != 3 or shape[2 if self._is_bytes else 0] != 3:
            raise InputError(f"{self.path}: takes {list(shape)}, not RGB pictures ([H, W, 3] bytes or [3, H, W])")
        self.input_size = (shape[0], shape[1]) if self._is_bytes else (shape[1], shape[2])
        self.fit = str(self.metadata.get("fit", "crop"))
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        self._class_names: tuple[str, ...] = tuple(str(name) for name in self.metadata.get("class_names") or ())

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K outputs."""
        if not self._class_names:
            classes = self._session.get_outputs()[0].shape[-1]
            if not isinstance(classes, int):  # a file whose output shape is open tells its classes only by running
                classes = self.predict(np.zeros((1, *self.input_size, 3), np.uint8)).probabilities.shape[1]
            self._class_names = tuple(str(index) for index in range(classes))
        return self._class_names

    def prepare(self, pictures: np.ndarray) -> np.ndarray:
        """Turn fitted pictures, [N, H, W, 3] uint8, into the array that the file takes.

        A file of ours normalises inside. For other files `mean` and `std` in `metadata` are applied here.
        """
        if self._is_bytes:
            return np.ascontiguousarray(pictures)
        inputs = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)
        if "schema" not in self.metadata and {"mean", "std"} <= self.metadata.keys():
            mean, std = (np.asarray(self.metadata[key], np.float32).reshape(-1, 1, 1) for key in ("mean", "std"))
            inputs = (inputs - mean) / std
        return inputs

    def finish(self, scores: np.ndarray) -> np.ndarray:
        """Turn what the file gives, on whatever device it ran, into probabilities [N, K]; ours gives them already.

        Raises:
            InputError: it gives something else than one row of scores per picture.
        """
        return _as_probabilities(scores, self.path, known="schema" in self.metadata)

    def predict(self, pictures: Any, *, batch_size: int = 32) -> Prediction:
        """Classify pictures; one alone or any number of them, in order.

        Args:
            pictures: paths, encoded bytes, PIL images or [H, W, 3] uint8 arrays, mixed as you like; or one
                [N, H, W, 3] uint8 array. Those of another size are fitted as in training.
            batch_size: pictures run at once.

        Raises:
            InputError: a picture that cannot be read, or that is no RGB picture.
        """
        if batch_size < 1:
            raise InputError(f"batch_size = {batch_size}: at least 1 is needed")
        rows = [self._run(batch) for batch in _batches(self._fitted(pictures), batch_size)]
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

    def _fitted(self, pictures: Any) -> Iterator[np.ndarray]:
        for number, picture in enumerate(_listed(pictures)):
            yield fit_picture(_as_array(picture, number), self.input_size, self.fit)  # type: ignore[arg-type]

    def _run(self, batch: list[np.ndarray]) -> np.ndarray:
        try:
            (scores,) = self._session.run([self._output], {self._input: self.prepare(np.stack(batch))})
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
    """Open an exported classifier; needs onnxruntime, NumPy and Pillow, not torch.

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


def _batches(pictures: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    batch: list[np.ndarray] = []
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
