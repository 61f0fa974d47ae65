from __future__ import annotations

import psutil
import pytest
import torch
from torch import nn
from train_toys import ToyBatches, pair, same_bits, settings

from limbeck.errors import InputError
from limbeck.train import find_batch_size, largest_batch
from limbeck.train.memory import is_out_of_memory, saved_bytes


def fits_up_to(most: int):
    def make_step(size: int) -> None:
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return make_step


@pytest.mark.parametrize(
    ("most", "limit", "expected"), [(100, 256, 64), (64, 256, 64), (1000, 256, 256), (1000, 100, 64), (1, 8, 1)]
)
def test_the_largest_power_of_two_that_fits(most, limit, expected):
    assert largest_batch(fits_up_to(most), limit=limit) == expected


def test_not_even_one_sample_is_said():
    with pytest.raises(InputError, match="out of memory with a single sample"):
        largest_batch(fits_up_to(0))


def test_other_errors_are_not_taken_for_memory():
    def broken(size: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        largest_batch(broken)


def test_a_size_that_leaves_no_room_is_not_taken():
    answers = iter([True, True, False])
    assert largest_batch(fits_up_to(1000), fits=lambda: next(answers)) == 2


def test_what_counts_as_out_of_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you")
    )
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_allocators_own_error_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_saved_bytes_are_counted_once_per_storage():
    layer = nn.Linear(10, 20, bias=False)

    def make_step(size: int) -> None:
        inputs = torch.ones(size, 10)
        (layer(inputs).sum() + layer(inputs).sum()).backward()

    small, large = saved_bytes(make_step, 4), saved_bytes(make_step, 8)
    assert large - small == 4 * 10 * 4  # four more rows of ten floats, saved by both calls but one storage


def test_on_a_cpu_the_free_memory_decides(monkeypatch):
    objective, before = pair(), pair()
    example = next(ToyBatches().epoch(0))
    state = torch.get_rng_state()
    assert find_batch_size(objective, example, settings()) == 256
    assert find_batch_size(objective, example, settings(), limit=100) == 64
    memory = psutil.virtual_memory()
    found = []
    for available in (2**20, 2**21, 2**22):
        monkeypatch.setattr(psutil, "virtual_memory", lambda available=available: memory._replace(available=available))
        found.append(find_batch_size(objective, example, settings()))
    assert found == [found[0], 2 * found[0], 4 * found[0]]
    assert 1 <= found[0] <= 64
    assert same_bits(objective, before)
    assert all(p.grad is None for p in objective.parameters())
    assert torch.equal(torch.get_rng_state(), state)
