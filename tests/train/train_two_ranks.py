"""Started by test_distributed: two forked processes train together over gloo, as `torchrun` would have started them.

Usage: train_two_ranks.py FOLDER. Every process writes what it ended with to FOLDER/<case>.<rank>.pt.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch
from train_toys import Pair, ToyBatches, accuracy, pair, settings, supervised

from limbeck.console import set_quiet
from limbeck.errors import Stopped
from limbeck.train import fit, join_world


class Noted:
    """Counts evaluations: only one process may do them."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, network):
        self.calls += 1
        return accuracy(network)


class Interrupted(ToyBatches):
    """One of the two processes is told to stop."""

    def epoch(self, epoch, start=0):
        for step, batch in enumerate(super().epoch(epoch, start), start=start):
            if (epoch, step, self.rank) == (1, 1, 1):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def write(folder: Path, case: str, rank: int, objective, **more) -> None:
    torch.save({"state": dict(objective.state_dict()), **more}, folder / f"{case}.{rank}.pt")


def work(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    set_quiet(True)
    world, _ = join_world("cpu")
    assert (world.rank, world.size) == (rank, 2)
    batches = ToyBatches(rank=rank, world=2)

    evaluate = Noted()
    objective = supervised(seed=rank, norm=False, dropout=0.0)  # rank 0's start weights are everyone's
    report = fit(objective, batches, settings(accumulate=2), folder=folder / "together", seed=1, evaluate=evaluate)
    write(folder, "together", rank, objective, report=report.as_json(), evaluations=evaluate.calls)

    wishes = settings(ema=0.9, clip_norm=1.0)
    whole: Pair = pair()
    fit(whole, batches, wishes, folder=folder / "whole", seed=1, evaluate=accuracy)
    write(folder, "whole", rank, whole)
    halting = pair()
    try:
        fit(halting, Interrupted(rank=rank, world=2), wishes, folder=folder / "halting", seed=1, evaluate=accuracy)
    except Stopped as stopped:
        message = str(stopped)
    halting = pair(seed=7)
    resumed = fit(halting, batches, wishes, folder=folder / "halting", seed=1, evaluate=accuracy)
    write(folder, "halting", rank, halting, stopped=message, report=resumed.as_json())

    again = pair(seed=8)
    fit(again, batches, wishes, folder=folder / "halting", seed=1, evaluate=accuracy)
    write(folder, "again", rank, again)

    if rank == 0:  # a stage that only one process runs
        lone = supervised()
        fit(lone, ToyBatches(), settings(), folder=folder / "alone", seed=1, distributed=False)
        write(folder, "alone", rank, lone)
    world.wait()


def main() -> None:
    folder = Path(sys.argv[1])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1")
            os.environ.update(MASTER_PORT=str(port))
            try:
                work(folder, rank)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    failed = False
    for _ in children:
        child, status = os.wait()
        if status and not failed:  # the other would wait for it for ever
            failed = True
            for other in children:
                if other != child:
                    os.kill(other, signal.SIGKILL)
    sys.exit(failed)


if __name__ == "__main__":
    main()
