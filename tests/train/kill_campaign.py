"""Started by test_resume: trains once in peace, then again in forked children that are killed at random moments.

Usage: kill_campaign.py FOLDER SEED KILLS. Leaves FOLDER/<objective>/peace and war, and prints how many were killed.
Children are forked so that a kill costs milliseconds and not an import of torch.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter  # noqa: F401 - imported here once, not in every child
from train_toys import ToyBatches, accuracy, pair, settings, supervised

from limbeck.train import loop

OBJECTIVES = {
    "supervised": lambda: (supervised(), settings(epochs=6, ema=0.9, clip_norm=1.0, checkpoint_seconds=0.001)),
    "pair": lambda: (
        pair(),
        settings(epochs=6, optimizer="adamw", learning_rate=0.003, accumulate=2, checkpoint_seconds=0.001),
    ),
}


class SlowBatches(ToyBatches):
    """Leaves time for a kill: the whole training takes about half a second."""

    def epoch(self, epoch, start=0):
        for batch in super().epoch(epoch, start):
            time.sleep(0.01)
            yield batch


def start(folder: Path, kind: str, batches: ToyBatches) -> int:
    """Fork a child that trains; return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        loop.SAVE_REST = 0  # save as often as asked: every kill shall find another checkpoint
        objective, wishes = OBJECTIVES[kind]()
        loop.fit(objective, batches, wishes, folder=folder, seed=3, evaluate=accuracy)
    except BaseException as error:
        print(f"child failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def campaign(folder: Path, kind: str, draw: random.Random, kills: int) -> int:
    """Train in peace, then at war; return how many children died."""
    os.waitpid(start(folder / "peace", kind, ToyBatches(steps=7)), 0)
    killed = 0
    for _ in range(kills):
        child = start(folder / "war", kind, SlowBatches(steps=7))
        time.sleep(draw.uniform(0.02, 0.25))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    os.waitpid(start(folder / "war", kind, SlowBatches(steps=7)), 0)
    return killed


def main() -> None:
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    # What torch imports at the first step (a second) is imported here, not by every child.
    loop.fit(supervised(), ToyBatches(), settings(), folder=folder / "warm", seed=0, tensorboard=False)
    draw = random.Random(seed)
    print(json.dumps({kind: campaign(folder / kind, kind, draw, kills) for kind in OBJECTIVES}))


if __name__ == "__main__":
    main()
