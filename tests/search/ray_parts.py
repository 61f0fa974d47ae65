"""What runs on the nodes of a test's Ray cluster, and a driver process to be stopped."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import toy_search as toy

from limbeck.search import Ceilings, RayCluster
from limbeck.search.ray_nodes import import_ray
from limbeck.types import Evaluation

ray = import_ray()  # as a run does, which keeps Ray's own messages off stdout

DATA = "LIMBECK_TEST_DATA"  # of a node: what it says that its data is


def data_here():
    return {"data": os.environ.get(DATA, "digits")}


@dataclass(frozen=True)
class Witness:
    """Writes a line as it begins and one as it ends: when, where, in which process."""

    log: str
    sleep: float = 0.0
    stuck_with: str = ""  # evaluations on a node with such data do not end

    def __call__(self, point, seed):
        self.note("begun", point)
        time.sleep(600.0 if self.stuck_with == data_here()["data"] else self.sleep)
        self.note("ended", point)
        return Evaluation("complete", accuracy=toy.accuracy(point))

    def note(self, what, point):
        node = ray.get_runtime_context().get_node_id()
        line = {"what": what, "point": point, "node": node, "pid": os.getpid(), "at": time.time(), **data_here()}
        with open(self.log, "a") as handle:
            handle.write(json.dumps(line) + "\n")


def seen(log):
    return [json.loads(line) for line in Path(log).read_text().splitlines()] if Path(log).exists() else []


if __name__ == "__main__":  # FOLDER SLEEP
    folder = Path(sys.argv[1])
    witness = Witness(str(folder / "seen.log"), sleep=float(sys.argv[2]))
    evaluator = partial(RayCluster, facts=data_here)
    toy.search(folder, trials=8, workers=2, ceilings=Ceilings(), evaluate=witness, evaluator=evaluator)
