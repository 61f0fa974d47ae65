"""A Ray cluster as it is found: reaching it, its nodes, what is installed there, and a worker process on one of them.

Not here: which candidate goes where (`on_ray`). Ray is imported only when a cluster is asked for.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.errors import InputError, LimbeckError
from limbeck.search.evaluators import Evaluate, judge, tell_error
from limbeck.search.space import Point
from limbeck.types import Evaluation

__all__ = ["Facts", "Node", "Worker", "ask_versions", "connect", "import_ray", "list_nodes", "on", "versions_here"]

ADDRESS = "RAY_ADDRESS"
Facts = Callable[[], Mapping[str, str]]
"""What must be the same wherever candidates are evaluated, by name."""


def import_ray() -> Any:
    """Ray itself.

    Raises:
        InputError: it is not installed.
    """
    # A driver prints what nodes say of lost workers to stdout, which may carry our JSON; we say it ourselves, in a line.
    skipped = os.environ.get("RAY_DEDUP_LOGS_SKIP_REGEX")
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."
    try:
        import ray
    except ImportError as error:
        raise InputError(f"engine = 'ray': needs Ray ({error}); install it with pip install 'limbeck[ray]'") from error
    finally:
        if skipped is None:
            del os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"]
        else:
            os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = skipped
    return ray


def connect(processors: int) -> bool:
    """Reach the cluster at `RAY_ADDRESS`, or start one on this machine where it is not set.

    Args:
        processors: that a cluster of our own has room for at least.

    Returns:
        Whether the connection is ours to end; False = this process had one already.

    Raises:
        InputError: no cluster answers there, or it is one of another version.
    """
    ray = import_ray()
    if ray.is_initialized():
        return False
    address = os.environ.get(ADDRESS, "")
    if address.startswith("ray://"):
        raise InputError(f"{ADDRESS}: the search must run on a node of the cluster; give host:port, not ray://")
    options: dict[str, Any] = {"address": address or "local"}
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked for statistics to be sent
        options |= {"num_cpus": max(os.cpu_count() or 1, processors), "include_dashboard": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, configure_logging=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"{ADDRESS}: no cluster to work with there" if address else "engine = 'ray': Ray cannot be started here"
        raise InputError(f"{where} ({tell_error(error)})") from error
    finally:
        if is_main:  # Ray puts a handler there that ends the process
            signal.signal(signal.SIGTERM, before)
    return True


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: Ray's own.
        name: host name, for people.
        room: workers that fit on it when nothing else of the cluster runs.
        is_here: whether the driver runs on it.
    """

    id: str
    name: str
    room: int
    is_here: bool


def list_nodes(cpus: int, gpus: float | None) -> tuple[list[Node], float]:
    """The living nodes, and the GPUs of each worker: as given, or by default one where any node has one."""
    ray = import_ray()
    living = [node for node in ray.nodes() if node["Alive"]]
    if gpus is None:
        gpus = 1.0 if any(node["Resources"].get("GPU", 0) >= 1 for node in living) else 0.0
    here = ray.get_runtime_context().get_node_id()
    nodes = []
    for node in living:
        room = int(node["Resources"].get("CPU", 0) // cpus)
        if gpus:
            room = min(room, int(node["Resources"].get("GPU", 0) / gpus + 1e-6))
        nodes.append(Node(node["NodeID"], node["NodeManagerHostname"], room, node["NodeID"] == here))
    return nodes, gpus


def on(node: Node) -> Any:
    """The scheduling strategy that keeps a task or an actor on a node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def versions_here() -> dict[str, str]:
    """What is installed here of what every node must have."""
    return _asker()()


def ask_versions(node: Node) -> Any:
    """Ask a node for what `versions_here` tells, also one without Limbeck or with an older one."""
    return import_ray().remote(num_cpus=0, max_retries=0)(_asker()).options(scheduling_strategy=on(node)).remote()


def _asker() -> Callable[[], dict[str, str]]:
    def ask() -> dict[str, str]:  # nested, so that Ray sends its code: it must not need our package where it runs
        from importlib.metadata import PackageNotFoundError, version

        found = {}
        for name in ("limbeck", "torch"):
            try:
                found[name] = version(name).partition("+")[0]  # builds for CPU and CUDA may mix
            except PackageNotFoundError:
                found[name] = "not installed"
        return found

    return ask


class Worker:
    """A process of the cluster that opens the evaluation once and then takes one candidate at a time."""

    _evaluate: Evaluate

    def is_up(self) -> bool:
        """Answered as soon as the process runs."""
        return True

    def open(self, payload: bytes, folder: str, path: Sequence[str]) -> tuple[str, dict[str, str]]:
        """Make ready to evaluate.

        Args:
            payload: the pickled evaluation and its `Facts`.
            folder: working directory of the driver, to which relative paths are relative.
            path: the driver's module search path; its modules are found here too, after those that are installed.

        Returns:
            What went wrong, or an empty text; the facts as they are here.
        """
        try:
            os.chdir(folder)
        except OSError as error:
            return f"{folder}: {error.strerror} there; the search must run in a folder that all nodes share", {}
        sys.path += [entry for entry in path if entry not in sys.path]
        try:
            self._evaluate, facts = pickle.loads(payload)
            return "", dict(facts())
        except LimbeckError as error:
            return str(error), {}
        except Exception as error:
            return f"cannot open the evaluation: {tell_error(error)}", {}

    def evaluate(self, point: Point, seed: int, share: float | None) -> Evaluation:
        """Evaluate a candidate; what it raises makes a failed one."""
        return judge(self._evaluate, point, seed, share)
