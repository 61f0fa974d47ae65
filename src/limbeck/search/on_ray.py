"""Evaluations as work for the processes of a Ray cluster. The study and its ledger stay with the driver."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from limbeck.console import warn
from limbeck.errors import InputError
from limbeck.search.evaluators import Evaluate, tell_error
from limbeck.search.ray_nodes import (
    Facts,
    Node,
    Worker,
    ask_versions,
    connect,
    import_ray,
    list_nodes,
    on,
    versions_here,
)
from limbeck.search.space import Point
from limbeck.types import Evaluation

__all__ = ["RayCluster"]

DEATHS = 2  # of its worker, on a node that stays: the candidate is at fault
LOSSES = 5  # of its worker, for whatever reason
SHUNNED_SECONDS = 60.0  # a node to which a connection broke; Ray itself takes its time to call it dead
START_SECONDS = 5.0  # of a process, where the cluster has room for it
ANSWER_SECONDS = 10.0  # that workers wait for nodes to tell what is installed there
PATIENCE_SECONDS = 30.0  # until it is said that the cluster has no place free


def no_facts() -> dict[str, str]:
    """Nothing beside the installed versions must be the same everywhere."""
    return {}


@dataclass(eq=False)
class _Seat:
    """A worker process and what it is doing: opening, or evaluating, or neither."""

    node: Node
    actor: Any
    up: Any
    opening: Any
    running: Any = None
    index: int = -1

    @property
    def is_idle(self) -> bool:
        return self.opening is None and self.running is None


class RayCluster:
    """Evaluations in `workers` processes on the nodes of a cluster, which stay alive between generations.

    Before a node gets a candidate, what is installed there and what `facts` tells there are compared with the driver's: a
    node that differs is refused, and said. A candidate whose worker dies, or whose node vanishes, is evaluated again,
    on another node where there is one; it fails when its worker died twice on nodes that are still there. Between two
    calls of `evaluate` no process works on the driver's machine, so that it can time candidates there.

    Args:
        evaluate: sent to every worker once, by Ray's own pickle.
        workers: processes at most; fewer where the cluster has no room for them.
        cpus: processors that Ray counts for each.
        gpus: the same; None = 1 where the cluster has any, else 0.
        facts: told by the driver and by each worker as it starts, sent together with `evaluate`.

    Raises:
        InputError: Ray is missing, no cluster answers at the environment's `RAY_ADDRESS`, or the evaluation cannot be sent.
    """

    def __init__(
        self, evaluate: Evaluate, workers: int, *, cpus: int = 1, gpus: float | None = None, facts: Facts = no_facts
    ) -> None:
        if workers < 1:
            raise InputError(f"workers = {workers}: expected 1 or more")
        self._ray = import_ray()
        try:
            self._payload: bytes = self._ray.cloudpickle.dumps((evaluate, facts))
        except Exception as error:
            raise InputError(
                f"engine = 'ray': the evaluation cannot be sent to a worker ({tell_error(error)})"
            ) from error
        self._workers, self._cpus, self._wanted_gpus = workers, cpus, gpus
        self._versions, self._facts = versions_here(), dict(facts())
        self._is_ours = connect(workers * cpus)
        self._seats: list[_Seat] = []
        self._asked: dict[
            str, tuple[Node, Any, float]
        ] = {}  # nodes that have yet to tell their versions, and since when
        self._admitted: set[str] = set()
        self._refused: dict[str, str] = {}
        self._shunned: dict[str, float] = {}  # until when
        self._starts_lost: Counter[str] = Counter()
        self._is_patient = True

    def evaluate(
        self, points: Sequence[Point], seed: int, share: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        """Yield in the order in which they end.

        Raises:
            InputError: no node is left that a worker can be started on.
        """
        waiting = deque(range(len(points)))
        lost: dict[int, list[_Seat]] = {}
        deaths: Counter[int] = Counter()
        since = time.monotonic()
        while waiting or any(seat.running is not None for seat in self._seats):
            if waiting:
                self._fill(len(waiting))
            self._hand_out(waiting, lost, points, seed, share)
            for seat in self._settled():
                index = seat.index
                evaluation, is_at_fault = self._outcome(seat)
                if evaluation is not None:
                    yield index, evaluation
                    continue
                lost.setdefault(index, []).append(seat)
                deaths[index] += is_at_fault
                if deaths[index] >= DEATHS:
                    yield index, Evaluation("failed", reason="its worker process died, twice")
                elif len(lost[index]) >= LOSSES:
                    yield index, Evaluation("failed", reason=f"its worker was lost {LOSSES} times")
                else:
                    waiting.append(index)
            if any(seat.opening is None for seat in self._seats):
                since = time.monotonic()
            elif self._is_patient and time.monotonic() - since > PATIENCE_SECONDS:
                self._is_patient = False
                warn(f"ray: no worker after {PATIENCE_SECONDS:.0f} s; waits for free processors of the cluster")
        self._settle_here()

    def close(self) -> None:
        """End every worker: an evaluation has nothing to save, and the driver may have been told to stop at once."""
        running = [seat.running for seat in self._seats if seat.running is not None]
        for seat in list(self._seats):
            self._end(seat)
        with suppress(Exception):  # the cluster may be gone
            if running:
                self._ray.wait(running, num_returns=len(running), timeout=10.0)
        if self._is_ours:
            self._ray.shutdown()
            self._is_ours = False

    # -- workers -----------------------------------------------------------------------------------------------------

    def _fill(self, waiting: int) -> None:
        """Start workers for what waits, on the emptiest nodes, as far as there is room."""
        nodes, gpus = list_nodes(self._cpus, self._wanted_gpus)
        for seat in [one for one in self._seats if one.running is None and one.node.id not in {n.id for n in nodes}]:
            self._end(seat)
        roomy = [node for node in nodes if node.room and node.id not in self._refused]
        for node in roomy:
            if node.id not in self._admitted and node.id not in self._asked:
                self._asked[node.id] = (node, ask_versions(node), time.monotonic())
        now = time.monotonic()
        if any(now - since < ANSWER_SECONDS for _, _, since in self._asked.values()):
            return  # workers are spread over all nodes, not only over that which answers first
        admitted = [node for node in roomy if node.id in self._admitted]
        admitted = [node for node in admitted if self._shunned.get(node.id, 0.0) < now] or admitted
        busy = sum(seat.running is not None for seat in self._seats)
        while admitted and len(self._seats) < min(self._workers, busy + waiting):
            node = min(admitted, key=lambda one: self._on(one) / one.room)
            if self._on(node) >= node.room:
                break
            self._start(node, gpus)
        if not self._seats and not self._asked:
            raise InputError(f"ray: no node can take a worker: {self._why_none(nodes, gpus)}")

    def _why_none(self, nodes: list[Node], gpus: float) -> str:
        needed = f"{self._cpus} processors" + (f" and {gpus:g} GPUs" if gpus else "")
        told = [f"{n.name}: {self._refused.get(n.id) or f'less than the {needed} of a worker'}" for n in nodes]
        return "; ".join(told) or "none is alive"

    def _on(self, node: Node) -> int:
        return sum(seat.node.id == node.id for seat in self._seats)

    def _start(self, node: Node, gpus: float) -> None:
        remote = self._ray.remote(num_cpus=self._cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)(Worker)
        actor = remote.options(scheduling_strategy=on(node)).remote()
        up, opening = actor.is_up.remote(), actor.open.remote(self._payload, os.getcwd(), list(sys.path))
        self._seats.append(_Seat(node, actor, up, opening))

    def _settle_here(self) -> None:
        """Let workers on the driver's machine open to the end, and end those that the cluster has not even started."""
        starting = [seat for seat in self._seats if seat.opening is not None and seat.node.is_here]
        if starting:
            _, not_up = self._ray.wait([seat.up for seat in starting], num_returns=len(starting), timeout=START_SECONDS)
            for seat in [one for one in starting if one.up in not_up]:
                self._end(seat)
        while any(seat.opening is not None and seat.node.is_here for seat in self._seats):
            self._settled()

    def _end(self, seat: _Seat) -> None:
        self._seats.remove(seat)
        with suppress(Exception):  # it may be dead, and its node too
            self._ray.kill(seat.actor, no_restart=True)

    def _refuse(self, node: Node, why: str) -> None:
        if node.id not in self._refused:
            self._refused[node.id] = why
            warn(f"ray: node {node.name}: {why}; it gets no candidates")
        for seat in [one for one in self._seats if one.node.id == node.id and one.running is None]:
            self._end(seat)

    # -- what they report --------------------------------------------------------------------------------------------

    def _hand_out(
        self,
        waiting: deque[int],
        lost: dict[int, list[_Seat]],
        points: Sequence[Point],
        seed: int,
        share: float | None,
    ) -> None:
        for _ in range(len(waiting)):
            idle = [seat for seat in self._seats if seat.is_idle]
            if not idle:
                return
            index = waiting.popleft()
            avoided = {seat.node.id for seat in lost.get(index, ())}
            seat = min(idle, key=lambda one: one.node.id in avoided)
            seat.index, seat.running = index, seat.actor.evaluate.remote(points[index], seed, share)

    def _settled(self) -> list[_Seat]:
        """Wait a moment; take in nodes and workers that are ready, and return those whose evaluation ended."""
        watched: dict[Any, _Seat | Node] = {ref: node for node, ref, _ in self._asked.values()}
        watched |= {seat.opening or seat.running: seat for seat in self._seats if not seat.is_idle}
        if not watched:
            return []
        done, _ = self._ray.wait(list(watched), num_returns=1, timeout=1.0)
        ended = []
        for ref in done:
            found = watched[ref]
            if isinstance(found, Node):
                self._admit(found, ref)
            elif found.opening is not None:
                self._welcome(found)
            else:
                ended.append(found)
        return ended

    def _admit(self, node: Node, ref: Any) -> None:
        del self._asked[node.id]
        try:
            versions = self._ray.get(ref)
        except self._ray.exceptions.RayError:  # it vanished as it was asked; if it did not, it is asked again
            return
        if different := _differences(versions, self._versions):
            self._refuse(node, different)
        else:
            self._admitted.add(node.id)

    def _welcome(self, seat: _Seat) -> None:
        """Take in a worker that has opened the evaluation, if it found there what the driver has."""
        try:
            wrong, facts = self._ray.get(seat.opening)
        except self._ray.exceptions.RayError as error:
            self._starts_lost[seat.node.id] += self._lose(seat, error)
            if self._starts_lost[seat.node.id] >= DEATHS:
                self._refuse(seat.node, "its worker died as it started, twice")
            return
        if wrong := wrong or _differences(facts, self._facts):
            self._refuse(seat.node, wrong)
        else:
            seat.opening = None
            self._starts_lost.pop(seat.node.id, None)

    def _outcome(self, seat: _Seat) -> tuple[Evaluation | None, bool]:
        """What an evaluation came to; None where its worker was lost, and then whether that may be its own fault."""
        ended, seat.running = seat.running, None
        try:
            evaluation: Evaluation = self._ray.get(ended)
        except self._ray.exceptions.RayTaskError as error:  # such as a result that cannot be pickled
            return Evaluation("failed", reason=tell_error(error.cause or error)), False
        except self._ray.exceptions.RayError as error:
            return None, self._lose(seat, error)
        return evaluation, False

    def _lose(self, seat: _Seat, error: Exception) -> bool:
        """Give a worker up; whether it died by itself, and not with its node or the way there."""
        self._end(seat)
        stays = any(node.id == seat.node.id for node in list_nodes(self._cpus, self._wanted_gpus)[0])
        if stays and not isinstance(error, self._ray.exceptions.ActorUnavailableError):
            return True
        self._shunned[seat.node.id] = time.monotonic() + SHUNNED_SECONDS
        return False


def _differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    told = [f"{n} {there.get(n, 'unknown')} there, {here.get(n, 'unknown')} here" for n in {**here, **there}]
    return "; ".join(one for one, n in zip(told, {**here, **there}, strict=True) if there.get(n) != here.get(n))
