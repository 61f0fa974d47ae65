"""Learners that rest in a step, chosen by figures of its batches. Which figures, and who rests, is the method's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from limbeck.types import Batch, Outputs

__all__ = ["Pause"]


class Pause:
    """A rule by which learners rest: every process finds the same, and a step of several batches is judged as one.

    Args:
        measure: (outputs by source, batch, progress) -> figures of one batch, a float tensor of one axis.
        choose: those figures, mean over the step's batches and processes -> names of the learners that rest.
    """

    def __init__(
        self,
        measure: Callable[[Mapping[str, Outputs], Batch, Tensor], Tensor],
        choose: Callable[[Sequence[float]], Iterable[str]],
    ) -> None:
        self.measure, self.choose = measure, choose
        self._noted: list[Tensor] = []

    def note(self, seen: Mapping[str, Outputs], batch: Batch, progress: Tensor) -> None:
        """Take the figures of one batch down."""
        with torch.no_grad():
            self._noted.append(self.measure(seen, batch, progress))

    def resting(self) -> tuple[str, ...]:
        """Who rests in the step whose batches were noted; called by every process alike. Nobody without any."""
        if not self._noted:
            return ()
        figures = torch.stack(self._noted).mean(0)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(figures)
            figures /= dist.get_world_size()
        return tuple(self.choose(figures.tolist()))

    def forget(self) -> None:
        """Begin the next step."""
        self._noted.clear()
