"""Rows of all processes of a distributed training, for what must remember the same everywhere. No memory itself."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_rows", "last_of_each"]


def gather_rows(*columns: Tensor) -> tuple[Tensor, ...]:
    """Every process's rows, those of rank 0 first; the processes may hold different numbers of them, none included.

    All processes must call it. Without several of them the columns come back as they are.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return columns
    world, own = dist.get_world_size(), len(columns[0])
    counts = [torch.zeros(1, dtype=torch.int64, device=columns[0].device) for _ in range(world)]
    dist.all_gather(counts, torch.tensor([own], device=columns[0].device))
    numbers = [int(count) for count in counts]

    def collect(rows: Tensor) -> Tensor:
        padded = torch.cat([rows, rows.new_zeros(max(numbers) - own, *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:number] for part, number in zip(parts, numbers, strict=True)])

    return tuple(collect(rows) for rows in columns)


def last_of_each(index: Tensor) -> Tensor:
    """Positions in [N] `index` of the last entry of each value: writing several rows to one place has no order on
    accelerators.
    """
    values, place = torch.unique(index, return_inverse=True)
    positions = torch.arange(len(index), device=index.device)
    return values.new_zeros(len(values)).scatter_reduce(0, place, positions, "amax")
