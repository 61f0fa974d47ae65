"""A teacher's logits on disk: a file per view, a row per picture, in a folder named by all that a row depends on.

What does not live here: the pass that writes them (`filling`), the source that reads them in a graph (`cached`).
"""

from __future__ import annotations

import hashlib
import math
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from limbeck.distill.rows import FullRows, TopRows
from limbeck.errors import InputError
from limbeck.files import fingerprint, read_json, write_json
from limbeck.train import choose_device, choose_precision
from limbeck.train.runtime import Precision

if TYPE_CHECKING:
    from limbeck.data import Loader

__all__ = ["TeacherCache", "network_key"]

FORMAT = 1  # raised when what a file holds changes its meaning
PACKAGES = ("limbeck", "numpy", "pillow", "scipy", "timm", "torch", "torchvision")  # what pictures and logits come from


class TeacherCache:
    """What one teacher says of every picture of a training set in K augmented views, by (view, index).

    The name of its folder is a key of the teacher's weights, normalisation and input size, the data, augmentation and
    seed, the number format of the pass, and the libraries' versions: a cache is never out of date, it is another one.
    K is not in the key, so that more views are added to those that are there.

    Args:
        home: folder that caches lie in side by side.
        teacher: a network with `num_classes`; not held.
        batches: the training's `Loader`; not held.
        data: fingerprint of the pictures and labels behind it (`DataSplits.fingerprint`).
        precision: of the teacher's pass, as `train.precision`.
        device: where it runs.
        top_k: keep only so many classes of each row (see `TopRows`); None = all, in float16.

    Attributes:
        folder: where the files lie.
        identity: what the key is made of, kept as `identity.json`.
        samples: rows of a view.
        classes: K.
        rows: how logits become a row.

    Raises:
        InputError: the pictures are streamed, `top_k` does not fit the classes, or the device is not there.
    """

    def __init__(
        self,
        home: str | Path,
        teacher: nn.Module,
        batches: Loader,
        *,
        data: str,
        precision: Any = "auto",
        device: str | torch.device = "auto",
        top_k: int | None = None,
    ) -> None:
        batches.whole(1)  # refuses a stream
        self.samples = batches.samples
        classes: Any = teacher.num_classes
        self.classes: int = classes
        self.rows: FullRows | TopRows = FullRows(self.classes) if top_k is None else TopRows(self.classes, top_k)
        self.precision: Precision = choose_precision(precision, choose_device(device))
        self.identity: dict[str, Any] = {
            "format": FORMAT,
            "teacher": network_key(teacher),
            "data": data,
            "views": batches.identity(),
            "classes": self.classes,
            "top_k": top_k,
            "precision": str(self.precision.dtype or torch.float32).removeprefix("torch."),
            "versions": {name: version(name) for name in PACKAGES},
        }
        self.folder = Path(home) / fingerprint(self.identity)
        self._tables: dict[int, np.ndarray] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> TeacherCache:
        return self  # a copied objective reads the same files

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.rows.dtype.itemsize * math.prod(self.rows.shape)

    def read(self, view: int, index: np.ndarray) -> Tensor:
        """[N, K] float32 logits of the pictures `index` in one view.

        Raises:
            InputError: the view is not filled.
        """
        return self.rows.decode(np.take(self.table(view), index, axis=0))

    def table(self, view: int) -> np.ndarray:
        """One view's rows as they lie on disk, mapped into memory.

        Raises:
            InputError: the view is not filled.
        """
        if view not in self._tables:
            if self.done(view) < self.samples:
                raise InputError(
                    f"teacher cache {self.folder}: view {view} is not filled; fill K views and make the batches with "
                    "Loader(views=K)"
                )
            # as a plain array: a memmap's own bookkeeping would cost more than looking a batch up
            self._tables[view] = np.asarray(np.load(self.path(view), mmap_mode="r"))
        return self._tables[view]

    def missing(self, views: int) -> list[int]:
        """Those of the first `views` views that are not whole."""
        return [view for view in range(views) if self.done(view) < self.samples]

    def done(self, view: int) -> int:
        """Rows of a view that are on the disk; none where its file was taken away or cut."""
        if not self._note(view).exists() or not self.path(view).exists():
            return 0
        rows = read_json(self._note(view))["rows"]
        return rows if self.path(view).stat().st_size >= rows * self.row_bytes else 0

    def distortion(self, view: int) -> float | None:
        """Mean of `rows.distortion` over what is there of a view; None for whole rows."""
        return read_json(self._note(view))["distortion"]

    def path(self, view: int) -> Path:
        """A view's file: an npy of [samples, ...]."""
        return self.folder / f"view-{view:04}.npy"

    def begin(self, handle: BinaryIO) -> None:
        """Write the header of a view's file."""
        descr = np.lib.format.dtype_to_descr(self.rows.dtype)
        shape = (self.samples, *self.rows.shape)
        np.lib.format.write_array_header_1_0(handle, {"descr": descr, "fortran_order": False, "shape": shape})

    def resume(self, handle: BinaryIO, row: int) -> None:
        """Move to a row of a view's file."""
        np.lib.format.read_magic(handle)
        np.lib.format.read_array_header_1_0(handle)
        handle.seek(row * self.row_bytes, os.SEEK_CUR)

    def settle(self, handle: BinaryIO, view: int, rows: int, distortion: float | None) -> None:
        """Bring the rows to the disk, then their number: what is counted is there, whatever happens in between."""
        handle.flush()
        os.fsync(handle.fileno())
        write_json(self._note(view), {"rows": rows, "distortion": distortion})

    def _note(self, view: int) -> Path:
        return self.folder / f"view-{view:04}.json"


def network_key(network: nn.Module) -> str:
    """Hash of everything that decides what a network says: weights, buffers (its normalisation), architecture."""
    described: Any = repr(network)
    if hasattr(network, "architecture"):
        described = {key: value for key, value in network.architecture().items() if key != "origin"}  # type: ignore[operator]
    digest = hashlib.sha256(fingerprint(described).encode())
    # buffers by themselves too: those that are not saved with the weights are in no state dict
    for name, tensor in sorted({**network.state_dict(), **dict(network.named_buffers())}.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
