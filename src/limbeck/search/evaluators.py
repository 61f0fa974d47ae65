"""Where evaluations run: in this process, or in long-lived ones beside it. Nothing here knows of studies."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import cache
from typing import Protocol

from limbeck.errors import InputError, LimbeckError, Stopped
from limbeck.search.space import Point
from limbeck.types import Evaluation

__all__ = ["Evaluate", "Evaluator", "InProcess", "WorkerPool", "open_evaluator", "tell_error"]


class Evaluate(Protocol):
    """A pure function of the point and the seed: whoever calls it, wherever, gets the same evaluation."""

    def __call__(self, point: Point, seed: int, **share: float) -> Evaluation:
        """Train a candidate for a short while and judge it on validation.

        `share`, of that training, comes only from a search with a halving: for so much of its epochs.
        """


class Evaluator(Protocol):
    """Runs evaluations and yields each as it ends, with the index of its point."""

    def evaluate(
        self, points: Sequence[Point], seed: int, share: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        """Evaluate all points; none is running any more when the iterator ends."""

    def close(self) -> None:
        """End every process that was started."""


def tell_error(error: BaseException) -> str:
    """An exception in one line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}{place}"


def judge(evaluate: Evaluate, point: Point, seed: int, share: float | None = None) -> Evaluation:
    """Call `evaluate`; an error, or an accuracy that is no number, makes a failed one. Fills in wall time."""
    start = time.perf_counter()
    try:
        evaluation = evaluate(point, seed) if share is None else evaluate(point, seed, share=share)
        if not isinstance(evaluation, Evaluation):
            raise TypeError(f"evaluate returned {type(evaluation).__name__}, not an Evaluation")
        if evaluation.state == "complete" and (evaluation.accuracy is None or not math.isfinite(evaluation.accuracy)):
            reason = f"accuracy is {evaluation.accuracy}, not a finite number"
            evaluation = replace(evaluation, state="failed", accuracy=None, reason=reason)
    except Stopped:
        raise
    except LimbeckError as error:
        evaluation = Evaluation("failed", reason=str(error))
    except Exception as error:
        evaluation = Evaluation("failed", reason=tell_error(error))
    return replace(evaluation, seconds=evaluation.seconds or time.perf_counter() - start)


class InProcess:
    """One evaluation after the other, here."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate

    def evaluate(
        self, points: Sequence[Point], seed: int, share: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        """Yield in the order of `points`."""
        for index, point in enumerate(points):
            yield index, judge(self._evaluate, point, seed, share)

    def close(self) -> None:
        """There is nothing to end."""


class WorkerPool:
    """Evaluations in `workers` processes that stay alive between generations.

    When a worker dies (killed, out of memory), every evaluation under way is lost with it, and nobody can tell whose
    fault it was: the lost ones run again, one at a time, so that only the one that kills its worker once more fails.
    """

    def __init__(self, evaluate: Evaluate, workers: int) -> None:
        try:
            self._payload = pickle.dumps(evaluate)
        except Exception as error:
            raise InputError(
                f"search.workers = {workers}: the evaluation cannot be sent to another process ({error}); "
                "use workers = 1, or an evaluate that lives at the top of a module"
            ) from error
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def evaluate(
        self, points: Sequence[Point], seed: int, share: float | None = None
    ) -> Iterator[tuple[int, Evaluation]]:
        """Yield in the order in which they end."""
        lost = []
        for index, evaluation in self._run(list(range(len(points))), points, seed, share):
            if evaluation is None:
                lost.append(index)
            else:
                yield index, evaluation
        for suspect in sorted(lost):
            for index, evaluation in self._run([suspect], points, seed, share):
                yield index, evaluation or Evaluation("failed", reason="its worker process died, twice")

    def close(self) -> None:
        """Kill the workers: an evaluation has nothing to save, and the driver may have been told to stop at once."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()

    def _run(
        self, indices: list[int], points: Sequence[Point], seed: int, share: float | None
    ) -> Iterator[tuple[int, Evaluation | None]]:
        """Yield each evaluation, None where the pool broke under it."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
            )
        waiting: dict[Future[Evaluation], int] = {}
        for index in indices:
            try:
                waiting[self._pool.submit(_evaluate_there, self._payload, points[index], seed, share)] = index
            except BrokenProcessPool:
                yield index, None
        broke = len(waiting) < len(indices)
        while waiting:
            done, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                index = waiting.pop(future)
                try:
                    yield index, future.result()
                except BrokenProcessPool:
                    broke = True
                    yield index, None
                except Exception as error:  # such as a result that cannot be pickled
                    yield index, Evaluation("failed", reason=tell_error(error))
        if broke:
            self.close()


def open_evaluator(evaluate: Evaluate, workers: int) -> Evaluator:
    """In this process for one worker, in others for several.

    Raises:
        InputError: fewer than one worker, or an evaluation that cannot be sent to another process.
    """
    if workers < 1:
        raise InputError(f"search.workers = {workers}: expected 1 or more")
    return InProcess(evaluate) if workers == 1 else WorkerPool(evaluate, workers)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides what ends
    threading.Thread(target=_end_with_the_driver, daemon=True).start()


def _end_with_the_driver() -> None:
    """Without this a worker would compute on after its driver was killed, while the next driver times candidates."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


@cache
def _unpickled(payload: bytes) -> Evaluate:
    """One copy of the evaluation per worker, with whatever it holds (a data set, a seed network)."""
    evaluate: Evaluate = pickle.loads(payload)
    return evaluate


def _evaluate_there(payload: bytes, point: Point, seed: int, share: float | None) -> Evaluation:
    try:
        evaluate = _unpickled(payload)
    except Exception as error:
        return Evaluation("failed", reason=f"the worker cannot load the evaluation: {tell_error(error)}")
    return judge(evaluate, point, seed, share)
