"""CRD in two processes by gloo: the banks hold what both saw, and are the same everywhere."""

import socket
import sys
from pathlib import Path

import torch
import torch.multiprocessing as mp

sys.path.insert(0, str(Path(__file__).parent))
from two_ranks_crd import make_objective, run_rank


def test_banks_of_two_processes_are_the_same(tmp_path):
    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(run_rank, args=(port, str(tmp_path)), nprocs=2, start_method="spawn")
    before = make_objective().losses["crd"].student_bank
    for step in range(4):
        ranks = [torch.load(tmp_path / f"step{step}_rank{rank}.pt") for rank in (0, 1)]
        banks = [rank["bank"] for rank in ranks]
        assert all(torch.equal(banks[0][name], banks[1][name]) for name in banks[0])
        wrote = [rank for rank in ranks if (rank["target"] >= 0).all()]
        assert len(wrote) == (2 if step < 2 else 1)
        expected = before.clone()
        for rank in wrote:
            said = torch.nn.functional.normalize(rank["said"])
            expected[rank["index"]] = torch.nn.functional.normalize(0.25 * before[rank["index"]] + 0.75 * said)
            assert torch.equal(banks[0]["labels"][rank["index"]], rank["target"])
        assert torch.allclose(banks[0]["student_bank"], expected, atol=1e-5)
        before = banks[0]["student_bank"]
    assert banks[0]["log_constants"].isfinite().all()
    assert banks[0]["labels"][9:].tolist() == [-1] * 3
