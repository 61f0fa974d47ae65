"""Where and how a training computes: device, precision, processes, threads, random states. Not what it computes."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from limbeck.errors import InputError, LimbeckError, unknown_name

__all__ = [
    "Precision",
    "World",
    "choose_device",
    "choose_precision",
    "join_world",
    "keep_freed_memory",
    "keep_random_state",
    "module_device",
    "seed_step",
    "use_threads",
]

DEVICES = ("auto", "cpu", "cuda", "mps")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
# Rank 0 searches, evaluates and writes while the others wait: that may take days, and is no sign of a hang.
PATIENCE = timedelta(days=30)


def choose_device(name: str | torch.device) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:N` or `mps` into a device that is there.

    Raises:
        InputError: no such kind of device, or none in this machine.
    """
    kind, _, number = str(name).partition(":")
    if kind not in DEVICES or (number and not number.isdigit()):
        raise unknown_name("device", str(name), DEVICES, where="train.device")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cuda":
        if not torch.cuda.is_available():
            raise InputError(f"train.device = {name}: torch finds no CUDA device here; use auto or cpu")
        index = int(number) if number else torch.cuda.current_device()
        if index >= torch.cuda.device_count():
            raise InputError(f"train.device = {name}: {torch.cuda.device_count()} CUDA devices are here, from 0 on")
        return torch.device("cuda", index)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"train.device = {name}: torch finds no MPS device here; use auto or cpu")
    return torch.device(kind)


def module_device(module: nn.Module) -> torch.device:
    """The device of a module's first tensor; the CPU where it has none."""
    tensor = next(module.parameters(), next(module.buffers(), None))
    return torch.device("cpu") if tensor is None else tensor.device


@dataclass(frozen=True)
class Precision:
    """Number format of the forward pass: `dtype` None is plain float32."""

    device: torch.device
    dtype: torch.dtype | None

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of one forward pass."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling where float16's small range needs it, and a pass-through elsewhere."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)


def choose_precision(name: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> Precision:
    """Settle `auto`: bf16 on CUDA where the device computes in it, else fp16; float32 on CPU and MPS."""
    if name == "auto":
        name = "fp32"
        if device.type == "cuda":
            name = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return Precision(device, {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name])


def keep_freed_memory() -> bool:
    """Have the process keep what its tensors free, so that a step on the CPU need not ask the system for it again.

    By default glibc hands every large block back and takes a new one, whose pages the system fills with zeros: a fifth
    of a training's processor time (`benchmarks/freed_memory.py`). The process's peak stays what it is.

    Returns:
        Whether that was done: not where the C library is another one, nor where the user set `MALLOC_...` himself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


@dataclass(frozen=True)
class World:
    """The processes of one training: this one's rank, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process evaluates and writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            with self._lost_told():
                dist.barrier()

    def share(self, value: Any) -> Any:
        """Return rank 0's plain value in every process."""
        if self.size == 1:
            return value
        box = [value]
        with self._lost_told():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, claim: bool, device: torch.device) -> bool:
        """Whether the claim holds in at least one process."""
        if self.size == 1:
            return claim
        flag = torch.tensor(float(claim), device=device)
        with self._lost_told():
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())

    @contextmanager
    def _lost_told(self) -> Iterator[None]:
        """What a process says whose partner is gone: the partner knows why, and has said so."""
        try:
            yield
        except RuntimeError as error:
            raise LimbeckError(
                f"process {self.rank}: another process of this run has ended; see its message"
            ) from error


def join_world(device: str = "auto", *, distributed: bool | None = None) -> tuple[World, torch.device]:
    """Join the processes that `torchrun` started (once), and choose this one's device.

    Args:
        device: as in `choose_device`; with several processes on CUDA each takes the one of its local rank.
        distributed: False = train alone even under torchrun; None = as the environment says.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if distributed is False or (size == 1 and not dist.is_initialized()):
        return World(), choose_device(device)
    place = choose_device(device)
    if place.type == "cuda":
        place = choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
        torch.cuda.set_device(place)
    elif place.type == "mps":
        raise InputError("train.device: several processes cannot train on MPS; start one, or set train.device = cpu")
    if not dist.is_initialized():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
        atexit.register(_leave_world)
    return World(dist.get_rank(), dist.get_world_size()), place


def _leave_world() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Set every random state to a function of (seed, step, rank): dropout after a resume is what it would have been."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little") >> 1  # generators take signed 64-bit numbers
    torch.default_generator.manual_seed(number)
    # Not torch.manual_seed: on a machine whose CUDA device is unused that queues one more call per step, without end.
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)
    random.seed(number)
    np.random.seed(number % 2**32)


@contextmanager
def keep_random_state(device: torch.device) -> Iterator[None]:
    """Give the caller its random states back: what follows is the same after a whole or a resumed training."""
    numbers = random.getstate(), np.random.get_state()
    metal = torch.mps.get_rng_state() if device.type == "mps" else None  # its one state is not fork_rng's to keep
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(numbers[0])
            np.random.set_state(numbers[1])
            if metal is not None:
                torch.mps.set_rng_state(metal)


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Compute with `count` CPU threads for the length of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def fixed_shapes(device: torch.device) -> Iterator[None]:
    """Let cuDNN choose its kernels by trial for the length of the block: batches of one shape repay it."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
