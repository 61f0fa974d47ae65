"""How much fits: the largest batch, and one clear line where a batch is too large or too small. Nothing here trains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psutil
import torch

from limbeck.errors import InputError
from limbeck.train.runtime import choose_device, choose_precision, keep_random_state, seed_step
from limbeck.train.settings import TrainSettings
from limbeck.types import Batch

__all__ = ["find_batch_size", "is_out_of_memory", "largest_batch", "saved_bytes", "wrong_batch_told"]

LARGEST = 256  # above this the rate that a recipe names would have to grow with the batch
SHARE_OF_CUDA = 0.9  # of the device's memory: evaluation and fragmentation need room too
SHARE_OF_RAM = 0.25  # of what is free now; other programs, workers and a second training (a teacher) share it
PROBE = 4


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that device or host memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)


@contextmanager
def wrong_batch_told(settings: TrainSettings, device: torch.device) -> Iterator[None]:
    """Turn running out of memory, and batches of one where norms need two, into one line that says what to change.

    Raises:
        InputError: either happened inside the block.
    """
    try:
        yield
    except ValueError as error:
        if "Expected more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"train.batch_size = {settings.batch_size}: a batch norm of a map of one pixel, or of none, needs two samples or "
            "more; set train.batch_size = 2 at least"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = settings.batch_size // 2 if isinstance(settings.batch_size, int) else 16
        keep = settings.accumulate * 2
        raise InputError(
            f"out of memory on {device} at train.batch_size = {settings.batch_size}: set train.batch_size = "
            f"{max(smaller, 1)} and train.accumulate = {keep} (the same steps in half the memory), "
            'a smaller data.image_size, or train.batch_size = "auto"'
        ) from error


def largest_batch(
    make_step: Callable[[int], None], *, limit: int = LARGEST, fits: Callable[[], bool] = lambda: True
) -> int:
    """Double the batch until a step runs out of memory; return the largest power of two that went well.

    Args:
        make_step: runs one training step with so many samples.
        limit: never more than this.
        fits: asked after each step that did not fail; False ends the search before that size.

    Raises:
        InputError: not even one sample fits.
    """
    best, size = 0, 1
    while size <= limit:
        try:
            make_step(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if not fits():
            break
        best, size = size, size * 2
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if best == 0:
        raise InputError("out of memory with a single sample: choose a smaller network or data.image_size")
    return best


def saved_bytes(make_step: Callable[[int], None], size: int) -> int:
    """Bytes of distinct storage that a step of `size` samples keeps for its backward pass, weights included."""
    storages: dict[int, int] = {}
    kept = []  # held until the end: a freed storage's address could come again

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        kept.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        make_step(size)
    return sum(storages.values())


def find_batch_size(objective: Any, example: Batch, settings: TrainSettings, *, limit: int | None = None) -> int:
    """Find the largest power of two that trains on `settings.device`; the objective is left as it was.

    On CUDA and MPS real steps of doubling size are run until memory runs out. A CPU would swap instead of failing, so
    there what one sample keeps for the backward pass is measured, and a quarter of the free memory may be filled.
    Never above 256 or `limit` (the size of the training set). Keep the number with the run: free memory differs from
    one start to the next, and another batch size is another training.

    Args:
        objective: what will be trained.
        settings: of the training.
        limit: never more than this.
        example: a batch of any size; its samples are repeated.

    Raises:
        InputError: not even one sample fits.
    """
    limit = min(limit or LARGEST, LARGEST)
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    trial = copy.deepcopy(objective).to(device).train()  # batch statistics and memories of the real one stay untouched

    def make_step(size: int) -> None:
        batch = _repeated(example, size).to(device, channels_last=settings.channels_last)
        seed_step(0, 0, 0, device)
        with precision.autocast():
            loss = trial(batch, torch.zeros((), device=device))["loss"]
        loss.backward()
        trial.zero_grad(set_to_none=True)
        _synchronize(device)

    with keep_random_state(device):
        if device.type != "cpu":
            return largest_batch(make_step, limit=limit, fits=lambda: _has_room(device))
        fixed, probed = saved_bytes(make_step, PROBE), saved_bytes(make_step, 2 * PROBE)
        per_sample = max((probed - fixed) / PROBE, 1.0)
        # Gradients of activations live beside the saved ones for a while: twice the count.
        room = psutil.virtual_memory().available * SHARE_OF_RAM / (2 * per_sample)
        return largest_batch(lambda size: None, limit=max(1, min(limit, int(room))))


def _repeated(batch: Batch, size: int) -> Batch:
    rows = torch.arange(size) % len(batch)
    further = {name: inputs[rows] for name, inputs in batch.further.items()}
    return replace(
        batch, index=batch.index[rows], inputs=batch.inputs[rows], target=batch.target[rows], further=further
    )


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _has_room(device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    return total - free <= SHARE_OF_CUDA * total
