from __future__ import annotations

import os
import platform
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from limbeck.errors import InputError
from limbeck.train.runtime import (
    World,
    choose_device,
    choose_precision,
    join_world,
    keep_random_state,
    seed_step,
    use_threads,
)

CPU = torch.device("cpu")


def test_auto_is_a_device_that_is_there():
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(("name", "message"), [("gpu", "did you mean 'cpu'?"), ("cuda:x", "unknown device")])
def test_unknown_devices_are_named(name, message):
    with pytest.raises(InputError) as caught:
        choose_device(name)
    assert message in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_said():
    with pytest.raises(InputError, match="torch finds no CUDA device here; use auto or cpu"):
        choose_device("cuda")


def test_precision_of_a_cpu():
    assert choose_precision("auto", CPU).dtype is None
    assert choose_precision("fp32", CPU).dtype is None
    assert choose_precision("bf16", CPU).dtype == torch.bfloat16
    assert not choose_precision("bf16", CPU).scaler().is_enabled()
    assert choose_precision("fp16", CPU).scaler().is_enabled()


@pytest.mark.parametrize(("bf16", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_precision_of_cuda_is_what_it_computes_in(monkeypatch, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
    assert choose_precision("auto", torch.device("cuda", 0)).dtype == expected


def draw() -> tuple:
    return torch.rand(3).tolist(), random.random(), np.random.rand(2).tolist()


def test_randomness_is_a_function_of_seed_step_and_rank():
    seed_step(1, 2, 0, CPU)
    first = draw()
    seed_step(1, 2, 0, CPU)
    assert draw() == first
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1), (1, 22, 0), (12, 2, 0)):
        seed_step(*other, CPU)
        second = draw()
        assert all(a != b for a, b in zip(first, second, strict=True))


def test_random_states_are_given_back():
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    expected = draw()
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    with pytest.raises(KeyError), keep_random_state(CPU):  # noqa: PT012
        seed_step(5, 5, 0, CPU)
        raise KeyError
    assert draw() == expected


def test_threads_are_given_back():
    with use_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


def test_alone_there_is_nothing_to_agree_on(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    world, device = join_world("cpu", distributed=False)
    assert (world, device) == (World(0, 1), CPU)
    assert world.writes
    assert world.share("x") == "x"
    assert world.any(True, CPU)
    assert not world.any(False, CPU)


def test_freed_memory_is_kept_where_the_user_did_not_set_it_otherwise():
    script = "from limbeck.train.runtime import keep_freed_memory; print(keep_freed_memory())"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    for set_by_user, expected in (({}, platform.libc_ver()[0] == "glibc"), ({"MALLOC_TRIM_THRESHOLD_": "1"}, False)):
        done = subprocess.run([sys.executable, "-c", script], env=plain | set_by_user, capture_output=True, text=True)
        assert done.stdout.strip() == str(expected), done.stderr
