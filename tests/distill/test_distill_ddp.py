"""Two processes by gloo: memories are the same everywhere, and so are the gradients."""

import socket
import sys
from pathlib import Path

import torch
import torch.multiprocessing as mp

sys.path.insert(0, str(Path(__file__).parent))
from two_ranks_distill import run_rank


def test_two_processes_share_memories_and_gradients(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(run_rank, args=(port, str(tmp_path)), nprocs=2, start_method="spawn")
    weights = [torch.load(tmp_path / f"weights{rank}.pt") for rank in (0, 1)]
    trained = [name for name in weights[0] if not name.startswith("sources.mean")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in trained)
    memories = [torch.load(tmp_path / f"memory{rank}.pt") for rank in (0, 1)]
    assert torch.equal(memories[0]["values"], memories[1]["values"])
    assert memories[0]["filled"].tolist() == [True] * 9 + [False] * 3
    assert [torch.load(tmp_path / f"resting{rank}.pt") for rank in (0, 1)] == [("peer",)] * 2  # by their mean, 0.55
    for rank in (0, 1):
        said = torch.load(tmp_path / f"said{rank}.pt")
        assert torch.allclose(memories[0]["values"][said["index"]], said["said"], atol=1e-6)
