"""One proposal: truncated from the network before, tuned for a short while, judged, and left on disk. Not here: the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.adapt.truncate import regroup, truncate
from limbeck.adapt.widths import join_rows, split_rows
from limbeck.errors import InputError
from limbeck.files import write_json
from limbeck.models import Table, TableNetwork, load_network, save_network
from limbeck.types import Evaluation

__all__ = ["OUTCOME", "FinetuneAndJudge", "JudgeProposal", "open_split", "save_joined"]

OUTCOME = "outcome.json"

FinetuneAndJudge = Callable[[TableNetwork, int, int], float]


@dataclass(frozen=True)
class JudgeProposal:
    """A pure function of a proposal and a seed, which worker processes can be sent where `finetune_and_judge` can.

    Attributes:
        finetune_and_judge: (network, number of the proposal, seed) -> accuracy on validation; tunes the network in place.
    """

    finetune_and_judge: FinetuneAndJudge

    def __call__(self, point: dict[str, Any], seed: int) -> Evaluation:
        """Make, tune, judge and keep one proposal; its outcome is written last.

        Args:
            point: `source` (folder of the network before), `table` (JSON, one block per row), `index`, `folder`.
            seed: of the tuning.

        Raises:
            InputError: the accuracy is no finite number.
        """
        started = time.perf_counter()
        folder = Path(point["folder"])
        network = truncate(open_split(point["source"]), Table.from_json(point["table"]))
        accuracy = float(self.finetune_and_judge(network, point["index"], seed))
        if not math.isfinite(accuracy):
            raise InputError(f"accuracy is {accuracy}, not a finite number")
        save_joined(network, folder)
        seconds = round(time.perf_counter() - started, 3)
        write_json(folder / OUTCOME, {"state": "complete", "accuracy": accuracy, "seconds": seconds})
        return Evaluation("complete", accuracy=accuracy, seconds=seconds)


def open_split(folder: str | Path) -> TableNetwork:
    """Load a network and give every block a row of its own.

    Raises:
        InputError: it cannot be read, or is not built from a table.
    """
    network = load_network(folder)
    if not isinstance(network, TableNetwork):
        raise InputError(f"{folder}: adapt needs a network that is built from a table")
    return regroup(network, split_rows(network.table))


def save_joined(network: TableNetwork, folder: str | Path) -> None:
    """Save a network under as few rows as can say it."""
    save_network(regroup(network, join_rows(network.table)), folder)
